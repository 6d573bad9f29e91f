"""Time levels: loops that know nothing of physics. A `step` takes a state to a time, or fails."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from memflux.solvers.control import AdaptiveSteps


@runtime_checkable
class Timed(Protocol):
    """A state that knows its time."""

    time: float  # s


Step = Callable[[Any, float, Any], Any]
"""step(state, time, earlier) -> the state at `time`, or None; `earlier` may serve a predictor."""


@dataclasses.dataclass(kw_only=True, slots=True)
class March:
    """What a loop over time levels does, kept while it runs: an exception loses nothing."""

    rejected: list[float]  # s, times of the levels from which a step failed
    rescues: int  # prescribed levels that needed more than one step
    failure: str | None  # status class, or None


def next_step(dt: float, time: float, end: float, steps: AdaptiveSteps) -> float:
    """The step after a success: grown, bounded, and fitted to the end."""
    dt = min(steps.largest, dt * steps.growth, end - time)
    remaining = math.ceil((end - time) / dt) if dt > 0 else 0
    if 0 < remaining < steps.final_steps:
        dt = (end - time) / remaining
    return dt


def march_adaptive(
    step: Step, start: Timed, end: float, steps: AdaptiveSteps, accept: Callable[[Any, Any], None], result: March
) -> None:
    """Advance to `end` with the published controller; `accept(old, new)` sees every level."""
    state = start
    dt = min(max(steps.initial, steps.smallest), end - start.time)
    while state.time < end:
        time = end if dt >= end - state.time else state.time + dt
        new = step(state, time, None)
        if new is None:
            result.rejected.append(state.time)
            if dt <= steps.smallest:
                result.failure = "step_underflow"
                return
            dt = max(steps.smallest, 0.5 * dt)
            continue
        accept(state, new)
        state = new
        dt = next_step(dt, state.time, end, steps)


def march_levels(
    step: Step,
    start: Timed,
    levels: Sequence[float],
    max_halvings: int,
    accept: Callable[[Any, Any], None],
    result: March,
) -> None:
    """Visit the prescribed `levels`, bisecting those that fail; `accept` sees the levels alone."""
    earlier, state = None, start
    for level in levels:
        new = step(state, level, earlier)
        if new is None:
            result.rejected.append(state.time)
            result.rescues += 1
            last = _bisect(step, state, level, max_halvings, result)
            if last is None:
                result.failure = "step_underflow"
                return
            accept(*last)
            earlier, state = None, last[1]  # no straight line through a rescued level
            continue
        accept(state, new)
        earlier, state = state, new


def _bisect(step: Step, state: Timed, level: float, halvings: int, result: March) -> tuple[Timed, Timed] | None:
    """Reach `level` in smaller steps; the last step's (old, new), or None."""
    if halvings == 0:
        return None
    middle = 0.5 * (state.time + level)
    if not state.time < middle < level:
        return None
    halves = [middle, level]
    last = None
    for target in halves:
        new = step(state, target, None)
        if new is None:
            result.rejected.append(state.time)
            last = _bisect(step, state, target, halvings - 1, result)
            if last is None:
                return None
        else:
            last = (state, new)
        state = last[1]
    return last
