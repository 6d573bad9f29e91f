"""Errors are those of the metrics, and the rows they name are the right ones."""

import dataclasses
import json

import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.metrics import nmae, nmae_scaled, on_off_ratio, symmetry
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.evaluate import compare, cycle_errors, evaluate, felt, worst_devices
from memflux.training.scaling import PublishedScaling
from memflux.waveform import Triangle


@pytest.fixture
def example():
    devices, drive = Space.preset("5d-parametric").sample(9, seed=0)
    truth = StandIn(samples=16)(devices, drive)
    factor = 1.0 + 0.01 * np.array([5, 1, 4, 2, 0, 3, 8, 7, 6])[:, None]
    guess = dataclasses.replace(truth, current=truth.current * factor)
    return devices, drive, truth, guess


def test_summary_and_rows(example):
    devices, drive, truth, guess = example
    scaling = PublishedScaling.fit(truth.current)
    result = evaluate(lambda d, w: guess, devices, drive, truth, scaling)
    np.testing.assert_array_equal(result.nmae, nmae(guess.current, truth.current))
    np.testing.assert_array_equal(result.nmae_scaled, nmae_scaled(guess.current, truth.current, scaling))
    assert (result.best, result.worst) == (4, 6)
    summary = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert summary["nmae"]["mean"] == pytest.approx(result.nmae.mean())
    assert summary["nmae"]["max"] == result.nmae[6]
    assert summary["median"] == int(np.argsort(result.nmae)[4])


def test_failed_rows_are_left_out(example):
    devices, drive, truth, guess = example
    status_class = truth.status_class.copy()
    status_class[6] = "diverged"
    failed = dataclasses.replace(truth, status_class=status_class)
    result = evaluate(lambda d, w: guess, devices, drive, failed)
    assert result.left_out == 1
    assert 6 not in result.rows
    assert result.worst == 7
    assert result.nmae_scaled is None


def test_unlike_grids_and_empty_sets_are_refused(example):
    devices, drive, truth, _ = example
    with pytest.raises(InvalidValue, match="has shape"):
        evaluate(StandIn(samples=8), devices, drive, truth)
    none = dataclasses.replace(truth, status_class=np.full(9, "diverged", dtype=object))
    with pytest.raises(InvalidValue, match="none of the 9 rows"):
        evaluate(StandIn(samples=16), devices, drive, none)


def test_quantiles_are_devices_in_the_order_of_their_errors(example):
    _, _, truth, guess = example
    result = compare(guess, truth)
    np.testing.assert_array_equal(result.nmae[result.order], np.sort(result.nmae))
    assert [result.at_quantile(q) for q in (0.0, 0.5, 0.99, 1.0)] == [result.order[k] for k in (0, 4, 7, 8)]


def test_designs_feel_the_last_cycle_and_the_peak(example):
    _, _, truth, guess = example
    found = felt(guess, truth)
    np.testing.assert_allclose(found.on_off_ratio, on_off_ratio(guess) - on_off_ratio(truth))
    np.testing.assert_allclose(found.symmetry, symmetry(guess) - symmetry(truth))
    np.testing.assert_allclose(found.log10_peak, np.log10(1.0 + 0.01 * np.array([5, 1, 4, 2, 0, 3, 8, 7, 6])))
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert summary["log10_peak"]["count"] == 9
    assert summary["log10_peak"]["median"] == pytest.approx(np.log10(1.04))
    assert summary["log10_peak"]["p99"] == pytest.approx(np.percentile(np.abs(found.log10_peak), 99))


@pytest.mark.filterwarnings("error")
def test_weak_drives_have_no_ratio_and_dead_devices_no_peak(example):
    devices, _, _, _ = example
    truth = StandIn(samples=16)(devices, Triangle(amplitude=np.linspace(1.0, 9.0, 9), period=8.0, cycles=2))
    current = truth.current.copy()
    current[0] = 0.0
    truth = dataclasses.replace(truth, current=current)
    found = felt(truth, truth)
    np.testing.assert_array_equal(np.isfinite(found.on_off_ratio), np.arange(9) >= 4)  # 5 V itself is enough
    np.testing.assert_array_equal(np.isfinite(found.log10_peak), np.arange(9) > 0)
    weak = felt(truth[:3], truth[:3]).to_dict()
    assert weak["on_off_ratio"] == {"count": 0, "median": None, "p99": None}


def test_each_cycle_has_an_error_of_its_own(example):
    _, _, truth, _ = example
    factor = np.where(np.arange(truth.current.shape[1]) > 16, 1.1, 1.0)  # the second cycle alone
    errors = cycle_errors(dataclasses.replace(truth, current=truth.current * factor), truth)
    assert errors.shape == (9, 2)
    np.testing.assert_array_equal(errors[:, 0], 0.0)
    assert (errors[:, 1] > 0.0).all()


def test_the_worst_devices_are_named_with_their_parameters(example):
    devices, drive, truth, guess = example
    space = Space.preset("5d-parametric")
    values = space.values(space.coordinates(devices, drive))
    result = compare(guess, truth)
    keys = np.array([f"key {i}" for i in range(9)], dtype=object)
    found = json.loads(json.dumps(worst_devices(result, space.names, values, 100 + np.arange(9), keys, count=2)))
    assert [(d["row"], d["index"], d["key"]) for d in found] == [(6, 106, "key 6"), (7, 107, "key 7")]
    assert found[0]["nmae"] == result.nmae[6]
    assert found[0]["parameters"] == pytest.approx(dict(zip(space.names, values[6], strict=True)))
    assert len(worst_devices(result, space.names, values, np.arange(9), keys)) == 9
