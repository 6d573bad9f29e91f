"""Compact models under any drive behind a resistor: from a given state, or in the periodic state, with derivatives."""

import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from memflux.analysis.memristor_kernels import kernels
from memflux.compact import MODELS, AbstractCompact
from memflux.errors import check_integer, check_number, check_numbers

COMPLEX_STEP = 1e-30  # relative to the parameter
OFF = 0.0  # the state that the way to a periodic one starts from: where there are several, that of a fresh device
SETTLED = 1e-9  # change of the state over a period
PERIODS = 60  # at most, on the way to the periodic state


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Marched:
    """R marches of T samples each."""

    state: Float[np.ndarray, "R T"]  # 1
    voltage: Float[np.ndarray, "R T"]  # V, of the memristor
    current: Float[np.ndarray, "R T"]  # A
    periods: Int[np.ndarray, " R"]  # that were marched to the periodic state; 0: it was not reached, or not sought

    @property
    def ok(self) -> np.ndarray:
        """Which marches stayed finite, [R]."""
        return np.isfinite(self.voltage).all(-1) & np.isfinite(self.current).all(-1)


def march(
    model: AbstractCompact,
    source: Float[np.ndarray, "R T"],
    step: float | Float[np.ndarray, " R"],
    series_resistance: float,
    start: float | Float[np.ndarray, " R"],
) -> Marched:
    """Any drive from a given state: samples of the source [V] every `step` [s], the state at the first of them.

    Raises InvalidValue for a step that is not positive, a state outside [0, 1] or a source that is not finite.
    """
    source = _checked_source(source)
    count = len(source)
    steps = check_numbers("step", np.broadcast_to(step, (count,)), low=1e-300, high=1e9, unit="s")
    starts = check_numbers("start", np.broadcast_to(start, (count,)), low=0.0, high=1.0)
    resistance = check_number("series_resistance", series_resistance, low=0.0, high=1e18, unit="Ohm")
    states, voltages, currents = np.empty((3, *source.shape))
    kernels().march(
        MODELS.index(type(model)), np.tile(model.values, (count, 1)), model.polarity * source, steps, resistance,
        starts, states, voltages, currents, np.empty(count),
    )  # fmt: skip
    sign = model.polarity
    return Marched(state=states, voltage=sign * voltages, current=sign * currents, periods=np.zeros(count, np.int64))


def periodic(
    model: AbstractCompact,
    source: Float[np.ndarray, "R T"],
    frequency: Float[np.ndarray, " R"],
    series_resistance: float,
) -> Marched:
    """The periodic state under a periodic source: samples of one period, its end left out.

    Where there are several, the one that a device comes to that was off; one that nothing moves stays off. Raises
    InvalidValue as `march`.
    """
    source = _checked_source(source)
    frequencies = check_numbers("frequency", frequency, low=1e-12, high=1e12, unit="Hz")
    resistance = check_number("series_resistance", series_resistance, low=0.0, high=1e18, unit="Ohm")
    found = periodic_population(
        type(model),
        model.values[None],
        model.polarity * source,
        frequencies,
        resistance,
        np.full((1, len(source)), OFF),
    )
    sign = model.polarity
    return Marched(
        state=found.state[0], voltage=sign * found.voltage[0], current=sign * found.current[0], periods=found.periods[0]
    )


def _checked_source(source: np.ndarray) -> np.ndarray:
    array = check_numbers("source", source, low=-1e9, high=1e9, unit="V", ndim=2)
    check_integer("samples of the source", array.shape[1], low=2, high=100_000_000)
    return array


class Population(NamedTuple):
    """N parameter sets by R records by T samples, of one polarity."""

    state: np.ndarray  # [N, R, T]
    voltage: np.ndarray  # [N, R, T], V
    current: np.ndarray  # [N, R, T], A
    periods: np.ndarray  # [N, R], 0: not settled


def periodic_population(
    kind: type[AbstractCompact],
    values: Float[np.ndarray, "N P"],
    source: Float[np.ndarray, "R T"],
    frequency: Float[np.ndarray, " R"],
    series_resistance: float,
    start: Float[np.ndarray, "N R"],
    tolerance: float = SETTLED,
    periods: int = PERIODS,
) -> Population:
    """`periodic` for many parameter sets at once, of polarity 1 and unchecked, on all cores: what a search calls.

    With `periods` = 1 the records are marched from `start` as they are.
    """
    step = 1.0 / (frequency * source.shape[1])
    states, voltages, currents = np.empty((3, len(values), *source.shape))
    marched = np.empty((len(values), len(source)), np.int64)
    settle, place = kernels().settle, MODELS.index(kind)

    def run(rows: slice) -> None:
        settle(
            place, values[rows], source, step, series_resistance, start[rows], tolerance, periods,
            states[rows], voltages[rows], currents[rows], marched[rows],
        )  # fmt: skip

    _on_all_cores(run, len(values))
    return Population(states, voltages, currents, marched)


def gradient(
    kind: type[AbstractCompact],
    values: Float[np.ndarray, " P"],
    source: Float[np.ndarray, "R T"],
    frequency: Float[np.ndarray, " R"],
    series_resistance: float,
    start: Float[np.ndarray, " R"],
    weights: Float[np.ndarray, "R 2 T"],
    periodic: bool = True,
) -> Float[np.ndarray, "R Q"]:
    """Derivatives of the sum over t of weights[:, 0] v + weights[:, 1] i by P parameters and the start: Q = P + 1.

    `start` is that of periodic states, which follow the parameters, or else of marches that begin there.
    """
    step = 1.0 / (frequency * source.shape[1])
    result = np.empty((len(source), len(values) + 1))
    follow, place = kernels().follow, MODELS.index(kind)
    nudges = COMPLEX_STEP * np.where(values == 0.0, 1.0, np.abs(values))

    def run(rows: slice) -> None:
        follow(
            place, values.astype(complex), nudges, source[rows], step[rows], series_resistance, start[rows],
            periodic, weights[rows], result[rows], np.empty((3, source.shape[1]), complex),
        )  # fmt: skip

    _on_all_cores(run, len(source))
    return result


def _on_all_cores(run: Callable[[slice], None], count: int) -> None:
    """`run` the rows 0 to count in threads; the kernels let go of the interpreter."""
    workers = min(len(os.sched_getaffinity(0)), count)
    if workers <= 1:
        return run(slice(0, count))
    pieces = min(4 * workers, count)  # more than threads, because rows take unequal times
    ends = np.linspace(0, count, pieces + 1).astype(int)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, [slice(a, b) for a, b in itertools.pairwise(ends)]))
