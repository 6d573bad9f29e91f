"""The loops over time levels, with a scalar equation in place of a device."""

import dataclasses
import math

import numpy as np
import pytest

from memflux.solvers.control import AdaptiveSteps
from memflux.solvers.timestep import March, march_adaptive, march_levels, next_step


@dataclasses.dataclass
class Point:
    time: float
    value: float


def euler(state, time):
    """Implicit Euler for y' = -y."""
    return Point(time, state.value / (1.0 + time - state.time))


def levels_of(march, *arguments):
    seen = []
    result = March(rejected=[], failure=None)
    march(*arguments, lambda old, new: seen.append(new.time), result)
    return result, seen


def test_implicit_euler_is_first_order():
    errors = []
    for count in (50, 100, 200):
        last = Point(0.0, 1.0)
        for level in np.linspace(0, 1, count + 1)[1:]:
            last = euler(last, level)
        errors.append(abs(last.value - math.exp(-1.0)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 1.0, atol=0.05)


def test_adaptive_steps_grow_stay_bounded_and_end_exactly():
    steps = AdaptiveSteps(initial=1e-3, smallest=1e-3, largest=0.1, growth=1.3)
    result, seen = levels_of(march_adaptive, euler, Point(0.0, 1.0), 2.0, steps)
    h = np.diff([0.0, *seen])
    assert result.failure is None
    assert seen[-1] == 2.0
    assert h[0] == 1e-3
    np.testing.assert_allclose(h[1:15] / h[:14], 1.3, rtol=1e-9)
    assert h.max() <= 0.1 * (1 + 1e-12)


def test_a_rejected_step_is_halved_and_recorded():
    def picky(state, time):
        return None if time - state.time > 0.05 else euler(state, time)

    steps = AdaptiveSteps(initial=0.04, smallest=1e-3, largest=1.0, growth=1.5)
    result, seen = levels_of(march_adaptive, picky, Point(0.0, 1.0), 0.5, steps)
    assert result.failure is None
    assert result.rejected[0] == pytest.approx(0.04)
    assert max(np.diff([0.0, *seen])) <= 0.05 + 1e-12


def test_a_step_that_cannot_shrink_is_an_underflow():
    steps = AdaptiveSteps(initial=1e-3, smallest=1e-3, largest=1.0, growth=1.5)
    result, seen = levels_of(march_adaptive, lambda *a: None, Point(0.0, 1.0), 1.0, steps)
    assert result.failure == "step_underflow"
    assert seen == []


def test_final_steps_share_what_is_left():
    steps = AdaptiveSteps(initial=1.0, smallest=0.1, largest=0.3, growth=1.0, final_steps=5)
    assert next_step(0.3, 9.0, 10.0, steps) == pytest.approx(0.25)
    assert next_step(0.3, 5.0, 10.0, steps) == pytest.approx(0.3)


def test_prescribed_levels_are_visited_as_they_are():
    pairs = []
    result = March(rejected=[], failure=None)
    wanted = [0.02, 0.12, 0.14, 0.3]
    march_levels(euler, Point(0.0, 1.0), wanted, lambda old, new: pairs.append((old.time, new.time)), result)
    assert result.failure is None
    assert result.rejected == []
    assert pairs == list(zip([0.0, *wanted[:-1]], wanted, strict=True))


def test_a_prescribed_level_that_fails_ends_the_march_and_keeps_what_was_reached():
    def picky(state, time):
        return None if time - state.time > 0.05 else euler(state, time)

    result, seen = levels_of(march_levels, picky, Point(0.0, 1.0), [0.02, 0.05, 0.12, 0.13])
    assert result.failure == "step_underflow"
    assert seen == [0.02, 0.05]
    assert result.rejected == [0.05]
