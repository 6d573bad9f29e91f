"""Compiled marches of compact models in their circuit v_s = R_s i + v: steps, periodic states, derivatives.

The state is eliminated to dx/dt = f(x, v(x, v_s)), with v from Newton's method on the monotone R_s i(x, v) + v = v_s,
which is what a differential-algebraic equation asks for (eq. 15 of Bednarz, Garda and Galias). It is marched by ROS2
of J. G. Verwer et al., doi 10.1137/S1064827597326651: two stages at the samples of the source, L-stable, of second
order whatever approximates the Jacobian. Derivatives are those of the marched numbers, by the complex step (J. N.
Lyness and C. B. Moler, doi 10.1137/0704019): the same code runs with complex parameters.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
from numba.extending import register_jitable

from memflux import compact_equations as equations

GAMMA = 1.0 - np.sqrt(0.5)  # of ROS2, L-stable
NUDGE = 1e-6  # of the state, for the Jacobian's difference
NEWTON_STEPS = 100  # bisections among them
ACCURATE = 1e-11  # V, and of the source: the step after which Newton's method ends, with the square of that to go
STEADY = 1e-9  # 1 - dx(T)/dx(0), below which the start of the period does not follow the parameters

MMS, GMMS, VTEAM, YAKOPCIC, DRIFT = range(5)  # places in MODELS

for _part in (equations.sigmoid, equations.power, equations.mixed_conductance):
    register_jitable(_part)
for _model in (equations.MMS, equations.GMMS, equations.VTEAM, equations.YAKOPCIC, equations.ION_DRIFT):
    for _part in _model:
        register_jitable(_part)


@register_jitable
@no_type_check
def _rate(kind, x, v, p):
    if kind <= GMMS:
        return equations.mms_rate(x, v, p)
    if kind == VTEAM:
        return equations.vteam_rate(x, v, p)
    if kind == YAKOPCIC:
        return equations.yakopcic_rate(x, v, p)
    return equations.drift_rate(x, v, p)


@register_jitable
@no_type_check
def _current(kind, x, v, p):
    if kind == MMS:
        return equations.mms_current(x, v, p)
    if kind == GMMS:
        return equations.gmms_current(x, v, p)
    if kind == VTEAM:
        return equations.vteam_current(x, v, p)
    if kind == YAKOPCIC:
        return equations.yakopcic_current(x, v, p)
    return equations.drift_current(x, v, p)


@register_jitable
@no_type_check
def _conductance(kind, x, v, p):
    if kind == MMS:
        return equations.mms_conductance(x, v, p)
    if kind == GMMS:
        return equations.gmms_conductance(x, v, p)
    if kind == VTEAM:
        return equations.vteam_conductance(x, v, p)
    if kind == YAKOPCIC:
        return equations.yakopcic_conductance(x, v, p)
    return equations.drift_conductance(x, v, p)


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


class Kernels(NamedTuple):
    march: Any
    settle: Any
    follow: Any


@functools.cache
def kernels() -> Kernels:
    """The compiled kernels. Machine code is kept under the text of the equations too, which is in another file."""
    return _compiled(hashlib.sha256(Path(equations.__file__).read_bytes()).hexdigest())


def _compiled(text: str) -> Kernels:
    @numba.njit(cache=True, nogil=True, error_model="numpy")
    @no_type_check
    def march(kind, p, source, step, resistance, start, states, voltages, currents, ends):
        text  # noqa: B018  # part of the key of the cache
        for r in range(step.size):
            ends[r] = _march(
                kind, p[r], source[r], source[r, -1], step[r], resistance, start[r], states[r], voltages[r], currents[r]
            )

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    @no_type_check
    def settle(kind, p, source, step, resistance, start, tolerance, periods, states, voltages, currents, marched):
        text  # noqa: B018
        for n in range(p.shape[0]):
            for r in range(step.size):
                marched[n, r] = _settle(
                    kind, p[n], source[r], step[r], resistance, start[n, r], tolerance, periods,
                    states[n, r], voltages[n, r], currents[n, r],
                )  # fmt: skip

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    @no_type_check
    def follow(kind, p, nudges, source, step, resistance, start, periodic, weights, gradient, work):
        text  # noqa: B018
        for r in range(step.size):
            _follow(kind, p, nudges, source[r], step[r], resistance, start[r], periodic, weights[r], gradient[r], work)

    return Kernels(march, settle, follow)


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
