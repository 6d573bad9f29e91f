"""Folds of pulse curves."""

import numpy as np
import pytest

from measured_trains import made_up
from memflux.errors import InvalidValue
from memflux.training.pulse_folds import SPLITS, folds, thinned


@pytest.mark.parametrize("split", SPLITS)
def test_each_pulse_is_tested_once_a_repetition(split):
    parts = folds(made_up(), split, repetitions=2)
    assert len(parts) == 10
    total = parts.train.astype(int) + parts.validation + parts.test
    assert (total == 1).all()
    assert (parts.test[:5].sum(axis=0) == 1).all()
    assert parts.train.mean() == pytest.approx(0.6, abs=0.02)


def test_no_setting_and_no_curve_is_in_two_parts():
    curves = made_up()
    for split in ("curves", "settings"):
        parts = folds(curves, split)
        for masks in zip(parts.train, parts.validation, parts.test, strict=True):
            assert all((m.all(axis=1) == m.any(axis=1)).all() for m in masks)
            if split == "settings":
                found = [set(curves.setting[m.any(axis=1)]) for m in masks]
                assert sum(len(f) for f in found) == len(set.union(*found))


def test_a_repetition_depends_on_its_number_alone():
    curves = made_up()
    np.testing.assert_array_equal(folds(curves, "curves", 3).test[:5], folds(curves, "curves", 1).test)
    assert (folds(curves, "curves", seed=1).test != folds(curves, "curves").test).any()


@pytest.mark.parametrize("split", SPLITS)
def test_thinned_keeps_some_of_the_training_and_all_of_the_test(split):
    parts = folds(made_up(), split)
    few = thinned(parts, 0.2, seed=1)
    assert not (few.train & ~parts.train).any()
    assert few.train.sum() == pytest.approx(0.2 * parts.train.sum(), rel=0.2)
    np.testing.assert_array_equal(few.test, parts.test)
    np.testing.assert_array_equal(thinned(parts, 1.0).train, parts.train)
    assert thinned(parts, 1e-9).train.reshape(5, -1).any(axis=1).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("devices",), "split = 'devices'"),
        (("settings", 1, 6), "there are 5 settings for 6 folds"),
        (("curves", 0), "repetitions = 0"),
        (("curves", 1, 2), "count = 2"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(InvalidValue, match=message):
        folds(made_up(), *words)


@pytest.mark.parametrize("fraction", [0.0, 1.1, float("nan")])
def test_fractions(fraction):
    with pytest.raises(InvalidValue, match="fraction"):
        thinned(folds(made_up(), "curves"), fraction)
