"""The factor follows the large scores of a device's kind, not the usual ones."""

import json

import numpy as np
import pytest

from memflux.training.tail import POWER, RIDGE, Tail


@pytest.fixture(scope="module")
def example():
    generator = np.random.default_rng(0)
    unit = generator.random((2000, 2))
    size = np.exp(generator.standard_normal((2000, 1))) * np.ones(9)
    # as large as elsewhere most of the time, and three times larger once in ten where the first parameter is high
    heavy = (generator.random(2000) < 0.1) & (unit[:, 0] > 0.5)
    return unit, size, generator.uniform(0.9, 1.1, 2000) * np.where(heavy, 3.0, 1.0)


def test_kinds_of_devices_with_heavy_tails_get_more(example):
    unit, size, score = example
    factor = Tail.fit(*example)(unit, size)[:, 0]
    high = unit[:, 0] > 0.5
    assert np.median(factor[high]) > 1.5 * np.median(factor[~high])
    assert (score[high] <= factor[high]).mean() > 0.85


def test_the_fit_is_a_minimum(example):
    unit, size, score = example
    tail = Tail.fit(*example)

    def cost(weights):
        log_factor = np.log(Tail(mean=tail.mean, deviation=tail.deviation, weights=weights)(unit, size))[:, 0]
        fit = np.mean((score / np.exp(log_factor)) ** POWER / POWER + log_factor)
        return fit + 0.5 * RIDGE * (weights[1:] ** 2).sum()

    best = cost(tail.weights)
    for column in range(tail.weights.size):
        for step in (-1e-2, 1e-2):
            moved = tail.weights.copy()
            moved[column] += step
            assert cost(moved) > best


def test_scores_of_very_different_size_do_no_harm(example):
    unit, size, score = example
    score = np.where(np.arange(2000) == 7, 1e9, score)
    assert np.isfinite(Tail.fit(unit, size, score)(unit, size)).all()
    assert np.isfinite(Tail.fit(unit, size, np.zeros(2000))(unit, size)).all()


def test_round_trip(example):
    tail = Tail.fit(*example)
    again = Tail.from_dict(json.loads(json.dumps(tail.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(again(*example[:2]), tail(*example[:2]))
