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


Step = Callable[[Any, float], Any]
"""step(state, time) -> the state at `time`, or None."""


@dataclasses.dataclass(kw_only=True, slots=True)
class March:
    """What a loop over time levels does, kept while it runs: an exception loses nothing."""

    rejected: list[float]  # s, times of the levels from which a step failed
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
        new = step(state, time)
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
    step: Step, start: Timed, levels: Sequence[float], accept: Callable[[Any, Any], None], result: March
) -> None:
    """Visit the prescribed `levels` as they are; `accept(old, new)` sees every level."""
    state = start
    for level in levels:
        new = step(state, level)
        if new is None:
            result.rejected.append(state.time)
            result.failure = "step_underflow"
            return
        accept(state, new)
        state = new
