"""The estimate finds errors that depend on the device, the time and the spread; the rest is in test_bands.py."""

import json

import numpy as np
import pytest
import torch

from memflux.training import difficulty
from memflux.training.difficulty import Difficulty


@pytest.fixture(scope="module")
def example():
    generator = np.random.default_rng(0)
    unit = generator.random((400, 2))
    phase = np.linspace(0.0, 2.0 * np.pi, 25)
    current = np.sin(phase) * (1.0 + unit[:, :1])
    size = 1e-2 * np.exp(2.0 * unit[:, :1]) * (1.1 + np.cos(phase))
    return unit, current, size, np.abs(size * generator.standard_normal(size.shape))


def test_sizes_are_found_up_to_a_few_per_cent(example):
    unit, current, size, error = example
    found = Difficulty.fit(unit, current, error, None, cycles=1, seed=0)(unit, current, None)
    off = np.log(found / size)
    assert off.std() < 0.12
    assert abs(off.mean()) < 0.1


def test_a_spread_that_tells_the_size_is_used(example):
    unit, current, _, error = example
    hidden = np.exp(np.random.default_rng(1).standard_normal((400, 1))) * np.ones(25)
    fitted = Difficulty.fit(unit, current, error * hidden, hidden, cycles=1, seed=0)
    up = fitted(unit, current, 2.0 * hidden) / fitted(unit, current, hidden)
    assert np.median(up) == pytest.approx(2.0, rel=0.15)


def test_global_random_state_stays_and_the_seed_decides(example, monkeypatch):
    monkeypatch.setattr(difficulty, "STEPS", 20)
    unit, current, _, error = example
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, third = (Difficulty.fit(unit, current, error, None, 1, seed).to_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert first == second != third


def test_round_trip_and_factors(example, monkeypatch):
    monkeypatch.setattr(difficulty, "STEPS", 20)
    unit, current, _, error = example
    fitted = Difficulty.fit(unit, current, error, None, 1, 0)
    again = Difficulty.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    sizes = fitted(unit, current, None)
    np.testing.assert_array_equal(again(unit, current, None), sizes)
    np.testing.assert_allclose(fitted.scaled(np.full(25, 3.0))(unit, current, None), 3.0 * sizes)
