"""Errors are those of the metrics, and the rows they name are the right ones."""

import dataclasses
import json

import numpy as np
import pytest

from memflux.compact import CompactModel
from memflux.errors import InvalidValue
from memflux.metrics import nmae, nmae_scaled
from memflux.space import Space
from memflux.training.evaluate import evaluate
from memflux.training.scaling import PublishedScaling


@pytest.fixture
def example():
    devices, drive = Space.preset("5d-parametric").sample(9, seed=0)
    truth = CompactModel(samples=16)(devices, drive)
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
        evaluate(CompactModel(samples=8), devices, drive, truth)
    none = dataclasses.replace(truth, status_class=np.full(9, "diverged", dtype=object))
    with pytest.raises(InvalidValue, match="none of the 9 rows"):
        evaluate(CompactModel(samples=16), devices, drive, none)
