import dataclasses

import numpy as np
import pytest

from memflux.analysis.crossbar.arrays import ARMS, Arm, ArraysResult, fill_arrays
from memflux.analysis.crossbar.cells import CellOptions, Pulses
from memflux.analysis.crossbar.distributions import PRINTED, SCRIPT
from memflux.analysis.crossbar.networks import Training, train_quantised
from memflux.analysis.crossbar.storage import Writing
from memflux.errors import InvalidValue
from own_digits import own_digits

IMAGES = own_digits()


@pytest.fixture(scope="module")
def quantised():
    return train_quantised(IMAGES.inputs, IMAGES.labels, Training(epochs=400), 3, starts=4)[1]


@pytest.fixture(scope="module")
def results(quantised):
    return {name: fill_arrays(quantised, IMAGES, arm, arrays=40) for name, arm in ARMS.items()}


def test_faultless_cells_tell_every_digit(quantised):
    assert quantised.network().accuracy(IMAGES.inputs, IMAGES.labels) == 1.0


def test_as_published_fails_at_the_rates_that_are_implied(results):
    result = results["as-published"]
    assert result.cells == 3 * (20 * 20 + 20 + 20 * 20 + 20 + 20 * 10 + 10)
    for count, wrong, implied in (
        (result.ones, result.ones_wrong, result.ones_implied),
        (result.zeros, result.zeros_wrong, result.zeros_implied),
    ):
        assert abs(wrong - implied) < 5 * np.sqrt(implied / count)
    assert result.flawless < 20


def test_verifying_leaves_the_cells_that_5_volts_do_not_set(results):
    result = results["write-verify"]
    assert result.ones_wrong == pytest.approx(PRINTED.set_fails(5.0), rel=0.1)
    assert result.zeros_wrong < 0.001


def test_spares_cure_every_array(results):
    result = results["spares"]
    assert result.flawless == 40
    assert not result.wrong.any()
    assert result.flips == pytest.approx(result.ideal_flips)
    assert result.cells == 3150 + 158
    assert 10 < result.spares_used.mean() < 80
    assert set(np.unique(result.flip_map)) <= {0.0, 1.0}
    assert result.flip_map.mean() == pytest.approx(result.ideal_flips)


def test_spares_do_not_help_against_a_yield_of_40_percent(quantised):
    arm = dataclasses.replace(ARMS["spares"], options=CellOptions(redraw="resistance", working=0.4))
    assert fill_arrays(quantised, IMAGES, arm, arrays=5, flips=False).flawless == 0
    many = dataclasses.replace(arm, writing=Writing(attempts=5, spares=1.0))
    assert fill_arrays(quantised, IMAGES, many, arrays=5, flips=False).flawless == 5


def test_the_scripts_variant_fails_by_its_resistances_alone(quantised):
    result = fill_arrays(quantised, IMAGES, ARMS["as-published"], distributions=SCRIPT, arrays=40, flips=False)
    assert result.ones_implied == pytest.approx(SCRIPT.lrs_above(1e4), rel=1e-6)
    assert result.ones_wrong < 0.005
    assert (result.flips, result.flip_map, result.ideal_flips) == (None, None, None)


def test_arrays_do_not_depend_on_how_many_there_are(quantised, results):
    few = fill_arrays(quantised, IMAGES, ARMS["as-published"], arrays=3)
    assert np.array_equal(few.accuracy, results["as-published"].accuracy[:3])
    other = fill_arrays(quantised, IMAGES, ARMS["as-published"], arrays=3, seed=1)
    assert not np.array_equal(few.wrong, other.wrong)


def test_an_array_that_was_rewritten_too_often_is_stuck(quantised):
    found = {}
    for rewrites in (10, 200):
        arm = dataclasses.replace(ARMS["spares"], rewrites=rewrites)
        found[rewrites] = fill_arrays(quantised, IMAGES, arm, arrays=4, flips=False)
    assert found[10].flawless == 4
    assert found[200].flawless == 0
    assert found[200].zeros_wrong > 0.9  # every cell is in the low state for good


@pytest.mark.parametrize(
    "arm",
    [
        Arm(options=CellOptions(redraw="all")),
        Arm(options=CellOptions(worn=0.1)),
        Arm(rewrites=1),
        Arm(writing=Writing(pulses=Pulses(compliance=20e-6))),
        Arm(options=CellOptions(endurance=3), writing=Writing(attempts=9)),
    ],
)
def test_rates_without_a_closed_form_are_not_told(quantised, arm):
    result = fill_arrays(quantised, IMAGES, arm, arrays=1, flips=False)
    assert (result.ones_implied, result.zeros_implied) == (None, None)


def test_results_are_written_and_read(results, tmp_path):
    results["spares"].to_json(tmp_path / "r.json")
    assert ArraysResult.from_json(tmp_path / "r.json").to_dict() == results["spares"].to_dict()


def test_misuse_is_one_sentence(quantised):
    with pytest.raises(InvalidValue, match="arrays = 0"):
        fill_arrays(quantised, IMAGES, Arm(), arrays=0)
    with pytest.raises(InvalidValue, match="seed"):
        fill_arrays(quantised, IMAGES, Arm(), arrays=1, seed=-1)
