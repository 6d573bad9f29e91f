"""Compact models in their circuit v_s = R_s i + v, marched in time, to the periodic state, and with derivatives.

The state is eliminated to dx/dt = f(x, v(x, v_s)), with v from Newton's method on the monotone R_s i(x, v) + v = v_s,
which is what a differential-algebraic equation asks for (eq. 15 of Bednarz, Garda and Galias). It is marched by ROS2
of J. G. Verwer et al., doi 10.1137/S1064827597326651: two stages at the samples of the source, L-stable, of second
order whatever approximates the Jacobian. Derivatives are those of the marched numbers, by the complex step (J. N.
Lyness and C. B. Moler, doi 10.1137/0704019): the same code runs with complex parameters.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int
from numba.extending import register_jitable

from memflux import compact
from memflux.compact import MODELS, AbstractCompact
from memflux.errors import check_integer, check_number, check_numbers

GAMMA = 1.0 - np.sqrt(0.5)  # of ROS2, L-stable
NUDGE = 1e-6  # of the state, for the Jacobian's difference
NEWTON_STEPS = 100  # bisections among them
ACCURATE = 1e-11  # V, and of the source: the step after which Newton's method ends, with the square of that to go
COMPLEX_STEP = 1e-30  # relative to the parameter
OFF = 0.0  # the state that the way to a periodic one starts from: where there are several, that of a fresh device
SETTLED = 1e-9  # change of the state over a period
PERIODS = 60  # at most, on the way to the periodic state
STEADY = 1e-9  # 1 - dx(T)/dx(0), below which the start of the period does not follow the parameters

MMS, GMMS, VTEAM, YAKOPCIC, DRIFT = range(5)  # places in MODELS

for _function in (compact.sigmoid, compact.power, compact.mixed_conductance):
    register_jitable(_function)
for _model in MODELS:
    for _function in _model.EQUATIONS:
        register_jitable(_function)


@register_jitable
@no_type_check
def _rate(kind, x, v, p):
    if kind <= GMMS:
        return compact.mms_rate(x, v, p)
    if kind == VTEAM:
        return compact.vteam_rate(x, v, p)
    if kind == YAKOPCIC:
        return compact.yakopcic_rate(x, v, p)
    return compact.drift_rate(x, v, p)


@register_jitable
@no_type_check
def _current(kind, x, v, p):
    if kind == MMS:
        return compact.mms_current(x, v, p)
    if kind == GMMS:
        return compact.gmms_current(x, v, p)
    if kind == VTEAM:
        return compact.vteam_current(x, v, p)
    if kind == YAKOPCIC:
        return compact.yakopcic_current(x, v, p)
    return compact.drift_current(x, v, p)


@register_jitable
@no_type_check
def _conductance(kind, x, v, p):
    if kind == MMS:
        return compact.mms_conductance(x, v, p)
    if kind == GMMS:
        return compact.gmms_conductance(x, v, p)
    if kind == VTEAM:
        return compact.vteam_conductance(x, v, p)
    if kind == YAKOPCIC:
        return compact.yakopcic_conductance(x, v, p)
    return compact.drift_conductance(x, v, p)


@register_jitable
@no_type_check
def _voltage(kind, x, source, resistance, p, guess):
    """v of R_s i(x, v) + v = v_s, by Newton's method kept within a bracket; the left side rises with v."""
    low, high = -np.inf, np.inf
    v = guess + 0.0 * x
    for _ in range(NEWTON_STEPS):
        off = resistance * _current(kind, x, v, p) + v - source
        if off.real > 0.0:
            high = min(high, v.real)
        else:
            low = max(low, v.real)
        step = off / (1.0 + resistance * _conductance(kind, x, v, p))
        inside = low <= v.real - step.real <= high
        small = abs(step.real) <= ACCURATE * (1.0 + abs(source))
        v = v - step if inside or small else 0.5 * (low + high) + 0.0 * v
        if small:
            break
    return v


@register_jitable
@no_type_check
def _limited(x):
    """x within [0, 1]; where it is not, its derivatives are 0."""
    if x.real < 0.0:
        return 0.0 * x
    if x.real > 1.0:
        return 0.0 * x + 1.0
    return x


@register_jitable
@no_type_check
def _slope(kind, x, v, current, rate, resistance, p):
    """d/dx of f(x, v(x)), not above 0: what the scheme takes for the Jacobian."""
    nudge = NUDGE if x.real < 0.5 else -NUDGE
    di = _current(kind, x + nudge, v, p) - current
    dv = -resistance * di / (1.0 + resistance * _conductance(kind, x, v, p))
    slope = (_rate(kind, x + nudge, v + dv, p) - rate) / nudge
    return slope if slope.real < 0.0 else 0.0 * slope


@register_jitable
@no_type_check
def _march(kind, p, source, after, step, resistance, x, states, voltages, currents):
    """From state x over the steps between the samples of the source, and from the last to `after`; the state there."""
    v = _voltage(kind, x, source[0], resistance, p, 0.0)
    for k in range(source.size):
        current, rate = _current(kind, x, v, p), _rate(kind, x, v, p)
        states[k], voltages[k], currents[k] = x, v, current
        ahead = source[k + 1] if k + 1 < source.size else after
        damped = 1.0 / (1.0 - GAMMA * step * _slope(kind, x, v, current, rate, resistance, p))
        first = damped * rate
        middle = _limited(x + step * first)
        second = damped * (_rate(kind, middle, _voltage(kind, middle, ahead, resistance, p, v), p) - 2.0 * first)
        x = _limited(x + step * (1.5 * first + 0.5 * second))
        v = _voltage(kind, x, ahead, resistance, p, v)
    return x


@register_jitable
@no_type_check
def _settle(kind, p, source, step, resistance, start, tolerance, periods, states, voltages, currents):
    """One period that ends where it began, by safeguarded secants on x(T) - x(0); how many were marched, 0: too many.

    The flow keeps the order of states, so that x(T) > x(0) has a periodic state above x(0), and else below. With
    `periods` = 1 there is no search: the march from `start` is what is asked for.
    """
    if periods == 1:
        _march(kind, p, source, source[0], step, resistance, start, states, voltages, currents)
        return 1
    low, high, x = 0.0, 1.0, start
    x_before, gain_before, known = 0.0, 0.0, False
    for count in range(1, periods + 1):
        end = _march(kind, p, source, source[0], step, resistance, x, states, voltages, currents)
        gain = end - x
        if not abs(gain) > tolerance:
            return count if gain == gain else 0
        if gain > 0.0:
            low = max(low, x)
        else:
            high = min(high, x)
        guess = x - gain * (x - x_before) / (gain - gain_before) if known and gain != gain_before else end
        x_before, gain_before, known = x, gain, True
        x = guess if low < guess < high else (end if low < end < high else 0.5 * (low + high))
    return 0


class _Kernels(NamedTuple):
    march: Any
    settle: Any
    follow: Any


@functools.cache
def _kernels() -> _Kernels:
    """The compiled kernels. Machine code is kept under the text of the equations too, which is in another file."""
    return _compiled(hashlib.sha256(Path(compact.__file__).read_bytes()).hexdigest())


def _compiled(equations: str) -> _Kernels:
    @numba.njit(cache=True, nogil=True, error_model="numpy")
    @no_type_check
    def march(kind, p, source, step, resistance, start, states, voltages, currents, ends):
        equations  # noqa: B018  # part of the key of the cache
        for r in range(step.size):
            ends[r] = _march(
                kind, p[r], source[r], source[r, -1], step[r], resistance, start[r], states[r], voltages[r], currents[r]
            )

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    @no_type_check
    def settle(kind, p, source, step, resistance, start, tolerance, periods, states, voltages, currents, marched):
        equations  # noqa: B018
        for n in range(p.shape[0]):
            for r in range(step.size):
                marched[n, r] = _settle(
                    kind, p[n], source[r], step[r], resistance, start[n, r], tolerance, periods,
                    states[n, r], voltages[n, r], currents[n, r],
                )  # fmt: skip

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    @no_type_check
    def follow(kind, p, nudges, source, step, resistance, start, periodic, weights, gradient, work):
        equations  # noqa: B018
        for r in range(step.size):
            _follow(kind, p, nudges, source[r], step[r], resistance, start[r], periodic, weights[r], gradient[r], work)

    return _Kernels(march, settle, follow)


@register_jitable
@no_type_check
def _follow(kind, p, nudges, source, step, resistance, start, periodic, weights, gradient, work):
    """Derivative of a weighted sum of voltages and currents by p, which a periodic state's start follows, and by it."""
    states, voltages, currents = work[0], work[1], work[2]
    end = _march(kind, p, source, source[0], step, resistance, start + 1e-30j, states, voltages, currents)
    of_start = _weighed(voltages, currents, weights) / 1e-30
    slack = 1.0 - end.imag / 1e-30
    for j in range(nudges.size):
        p[j] += 1j * nudges[j]
        end = _march(kind, p, source, source[0], step, resistance, start + 0j, states, voltages, currents)
        p[j] = p[j].real
        start_follows = end.imag / nudges[j] / slack if periodic and slack > STEADY else 0.0
        gradient[j] = _weighed(voltages, currents, weights) / nudges[j] + of_start * start_follows
    gradient[nudges.size] = of_start


@register_jitable
@no_type_check
def _weighed(voltages, currents, weights):
    total = 0.0
    for k in range(voltages.size):
        total += weights[0, k] * voltages[k].imag + weights[1, k] * currents[k].imag
    return total


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
    _kernels().march(
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
    settle, place = _kernels().settle, MODELS.index(kind)

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
    follow, place = _kernels().follow, MODELS.index(kind)
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
