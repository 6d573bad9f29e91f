"""The equations of compact models of memristors: dx/dt = f(x, v), the current i(x, v) and di/dv.

Plain functions of a state x in [0, 1], a voltage v and a sequence p of parameters, with NumPy's elementary functions
alone: one text serves arrays in `compact`, real or complex, the compiler in `analysis.memristor_kernels` and the
circuit languages of `netlist`. Unchecked, because a compiler takes them as they are.
"""

from typing import Any, NamedTuple, no_type_check

import numpy as np

TINY = 1e-30  # base of a power that stands for 0
STEEP = 300.0  # argument of an exponential that stands for infinity


@no_type_check
def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return 1.0 / (1.0 + np.exp(np.minimum(-z, STEEP)))


@no_type_check
def power(base, exponent):
    """base**exponent of a base that counts as 0 where it is negative."""
    return np.exp(exponent * np.log(np.maximum(base, TINY)))


@no_type_check
def mixed_conductance(x, r_on, r_off):
    """G(x) of both states side by side [S]: eq. 10 of Bednarz, Garda and Galias."""
    return x / r_on + (1.0 - x) / r_off


@no_type_check
def mms_rate(x, v, p):
    """Eqs. 11-13; p = tau, beta, v_on, v_off, ..."""
    return (sigmoid(p[1] * (v - p[2])) * (1.0 - x) - sigmoid(p[1] * (p[3] - v)) * x) / p[0]


@no_type_check
def mms_current(x, v, p):
    """Eq. 10; p = ..., r_on, r_off."""
    return mixed_conductance(x, p[4], p[5]) * v


@no_type_check
def mms_conductance(x, v, p):
    """di/dv."""
    return mixed_conductance(x, p[4], p[5]) + 0.0 * v


@no_type_check
def gmms_current(x, v, p):
    """Eq. 14; p = (those of MMS), phi, alpha_f, beta_f, alpha_r, beta_r."""
    schottky = p[7] * np.exp(np.minimum(p[8] * v, STEEP)) - p[9] * np.exp(np.minimum(-p[10] * v, STEEP))
    return p[6] * mixed_conductance(x, p[4], p[5]) * v + (1.0 - p[6]) * schottky


@no_type_check
def gmms_conductance(x, v, p):
    """di/dv."""
    forward = p[7] * p[8] * np.exp(np.minimum(p[8] * v, STEEP))
    reverse = p[9] * p[10] * np.exp(np.minimum(-p[10] * v, STEEP))
    return p[6] * mixed_conductance(x, p[4], p[5]) + (1.0 - p[6]) * (forward + reverse)


@no_type_check
def vteam_rate(x, v, p):
    """0 between the thresholds, a power of the excess beyond; p = k_on, k_off, v_on, v_off, a_on, a_off, w, ..."""
    rise = p[0] * power(v / p[2] - 1.0, p[4]) * (1.0 - power(x, 2.0 * p[6]))
    fall = p[1] * power(v / p[3] - 1.0, p[5]) * (1.0 - power(1.0 - x, 2.0 * p[6]))
    return rise - fall


@no_type_check
def vteam_current(x, v, p):
    """A resistance linear in the state; p = ..., r_on, r_off."""
    return v / (p[7] * x + p[8] * (1.0 - x))


@no_type_check
def vteam_conductance(x, v, p):
    """di/dv."""
    return 1.0 / (p[7] * x + p[8] * (1.0 - x)) + 0.0 * v


@no_type_check
def yakopcic_rate(x, v, p):
    """g(v) f(x) of the paper, with the branches as maxima; p = A_p, A_n, V_p, V_n, alpha_p, alpha_n, x_p, x_n, ..."""
    up = p[0] * np.maximum(np.exp(np.minimum(v, STEEP)) - np.exp(p[2]), 0.0)
    down = p[1] * np.maximum(np.exp(np.minimum(-v, STEEP)) - np.exp(p[3]), 0.0)
    over, under = np.maximum(x - p[6], 0.0), np.maximum(1.0 - p[7] - x, 0.0)
    damped = np.exp(-p[4] * over) * (1.0 - over / (1.0 - p[6]))
    return up * damped - down * np.exp(-p[5] * under) * (1.0 - under / (1.0 - p[7]))


@no_type_check
def yakopcic_current(x, v, p):
    """A hyperbolic sine with an amplitude for either sign; p = ..., a_1, a_2, b."""
    forward, reverse = np.minimum(np.maximum(p[10] * v, 0.0), STEEP), np.minimum(np.maximum(-p[10] * v, 0.0), STEEP)
    return x * (p[8] * np.sinh(forward) - p[9] * np.sinh(reverse))


@no_type_check
def yakopcic_conductance(x, v, p):
    """di/dv: that of the reverse branch at 0 V."""
    forward, reverse = np.minimum(np.maximum(p[10] * v, 0.0), STEEP), np.minimum(np.maximum(-p[10] * v, 0.0), STEEP)
    ahead = forward / (forward + reverse + TINY)  # 1 in forward, 0 in reverse
    return x * p[10] * (p[8] * ahead * np.cosh(forward) + p[9] * (1.0 - ahead) * np.cosh(reverse))


@no_type_check
def drift_rate(x, v, p):
    """Proportional to the current, which the window stops at either end; p = drift, w, r_on, r_off."""
    current = drift_current(x, v, p)
    rise = np.maximum(current, 0.0) * (1.0 - power(x, 2.0 * p[1]))
    fall = np.maximum(-current, 0.0) * (1.0 - power(1.0 - x, 2.0 * p[1]))
    return p[0] * (rise - fall)


@no_type_check
def drift_current(x, v, p):
    """Two resistances in series."""
    return v / (p[2] * x + p[3] * (1.0 - x))


@no_type_check
def drift_conductance(x, v, p):
    """di/dv."""
    return 1.0 / (p[2] * x + p[3] * (1.0 - x)) + 0.0 * v


class Equations(NamedTuple):
    """f(x, v, p) [1/s], i(x, v, p) [A] and di/dv [S] of a model whose parameters are the sequence p."""

    rate: Any
    current: Any
    conductance: Any


MMS = Equations(mms_rate, mms_current, mms_conductance)
GMMS = Equations(mms_rate, gmms_current, gmms_conductance)
VTEAM = Equations(vteam_rate, vteam_current, vteam_conductance)
YAKOPCIC = Equations(yakopcic_rate, yakopcic_current, yakopcic_conductance)
ION_DRIFT = Equations(drift_rate, drift_current, drift_conductance)
