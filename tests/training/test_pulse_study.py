"""Cross-validated errors of pulse perceptrons."""

import numpy as np
import pytest

from measured_trains import made_up
from memflux.pulse_curves import PulseCurves
from memflux.training.pulse_folds import folds
from memflux.training.pulse_mlp import PulseConfig
from memflux.training.pulse_study import (
    FoldErrors,
    absolute_errors,
    band_coverage,
    cross_validate,
    learning_curve,
    mean_curve,
    replicate_scatter,
    residuals,
)
from memflux.training.pulse_training import RECIPES, SummedRecipe


def test_errors_are_pooled_over_pulses_and_medians_over_curves():
    error = np.zeros((1, 3, 2))
    error[0, 0], error[0, 1, 0] = 2.0, 1.0
    mask = np.ones((1, 3, 2), dtype=bool)
    mask[0, 1, 1] = False
    found = FoldErrors.of(error, mask)
    assert found.pooled == pytest.approx(9.0 / 5.0)
    assert found.median == 1.0
    assert found.of_fold.tolist() == [found.pooled]


def test_scatter_of_replicates_is_unbiased():
    random = np.random.default_rng(0)
    settings = np.repeat(np.arange(1.0, 301.0), 2)[:, None] * np.ones(5)
    # a minimum and a maximum that are the same for all, so that scaling changes nothing
    current = np.column_stack([np.zeros(600), np.ones(600), 0.5 + 0.1 * random.standard_normal((600, 40))])
    curves = PulseCurves(ids=np.arange(600), settings=settings, current=current)
    assert replicate_scatter(curves) == pytest.approx(0.01 * 40 / 42, rel=0.05)


def test_the_perceptron_beats_the_mean_curve():
    curves = made_up(replicates=12)
    parts = folds(curves, "curves")
    fitted, found = cross_validate(curves, parts, PulseConfig(), SummedRecipe(steps=120))
    assert found.pooled < 0.5 * mean_curve(curves, parts).pooled
    assert 0.75 < band_coverage(curves, parts, residuals(fitted, curves)) <= 1.0
    amperes = absolute_errors(curves, parts, fitted)
    assert amperes.known_first < amperes.unknown_device < 0.5


def test_more_data_err_less():
    curves = made_up(replicates=12)
    parts = folds(curves, "curves")
    found = learning_curve(curves, parts, PulseConfig(), SummedRecipe(steps=60), (0.05, 1.0))
    assert found[1.0].pooled < found[0.05].pooled


@pytest.mark.reference
def test_published_record_one_repetition(reference_data):
    curves = PulseCurves.read(reference_data / "measured_hfo2_tio2_pulse")
    assert 0.005 < replicate_scatter(curves) < 0.007
    parts = folds(curves, "curves")
    found = cross_validate(curves, parts, PulseConfig(), RECIPES["summed"])[1]
    assert found.pooled < 0.0085
    assert found.median < 0.0012
    assert mean_curve(curves, parts).pooled == pytest.approx(0.0115, abs=0.0005)
