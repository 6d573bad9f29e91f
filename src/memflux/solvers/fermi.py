"""The Fermi-Dirac integral of order 1/2 to rounding accuracy, for solvers whose unknowns are densities.

    F(eta) = (2/sqrt(pi)) Int_0^inf sqrt(t) / (1 + exp(t - eta)) dt,   c = F(eta) = n / N_c

With the density as the unknown one needs the inverse, in the form of the excess chemical potential
x(c) = eta - ln c in units of k_B T: what Pauli's principle adds to Boltzmann's ln c. For small c,
x = c/sqrt(8) - (sqrt(3)/9 - 3/16) c^2 + ... is analytic (Joyce and Dixon 1977, doi:10.1063/1.89697);
for large c, eta = u (1 - pi^2/(12 u^2) - pi^4/(80 u^4) - ...) with u = (3 sqrt(pi) c / 4)^(2/3)
(Sommerfeld 1928, doi:10.1007/BF01391052). Fukushima 2015, doi:10.1016/j.amc.2015.03.015, fits eta(c)
in a similar way; x does without the logarithm where c is small, and keeps its relative accuracy.

The tables are truncated Chebyshev series in powers of the variable named with each, highest power
first; scripts/fermi_coefficients.py makes them. Compiled scalar functions, for processors and
graphics cards alike (hence no loops over tuples and no min()); all quantities are dimensionless.
"""

import math
from typing import no_type_check

import numba

from memflux.solvers.statistics import fermi_half

# x / c in powers of c, for c <= 4.
DILUTE = (
    (-6.904216190088243e-18, 9.563402598326617e-17, 5.609158524665653e-15, -3.0256556458411316e-13),
    (7.946982767801246e-12, -1.175090034741513e-10, -4.2722281127807367e-10, 1.006361522263366e-07),
    (-4.425630113987299e-06, 0.00014838577128766227, -0.004950089729875167, 0.3535533905932738),
)
# x in powers of c - 10, for 4 < c <= 16.
MIDDLE = (
    (-1.780819907633589e-24, 3.1555649587681204e-22, -1.512763424595479e-20, 5.02571879455981e-19),
    (-1.342435999523527e-17, 2.6024039924156333e-16, -1.0392718947365535e-15, -2.279673514093444e-13),
    (1.5627098273779836e-11, -7.4546742146068e-10, 3.087249470435809e-08, -1.2079767243411743e-06),
    (4.832490291489037e-05, -0.002318573601431189, 0.28573986770305726, 3.153666821530083),
)
# x in powers of sqrt(c) - 5.5, for 16 < c <= 50.
DENSE = (
    (-2.3572557562804886e-13, 2.211375944627155e-12, -8.470631665867924e-12, -9.568035685010802e-12),
    (4.132760668703461e-10, -3.5995067604694483e-09, 1.9249920746359632e-08, -5.1195808359718484e-08),
    (-2.779758836950105e-07, 5.838190786510804e-06, -6.409595575914838e-05, 0.0006250575103294418),
    (-0.006643169142448568, 0.11537926767971611, 2.4994130095496683, 8.25709472432474),
)
# eta / u in powers of (16 / u)^2, for c > 50.
DEGENERATE = (
    (8.26621468994224e-09, -4.788350988477401e-08, 1.1344460573772788e-07, -1.3698521389255351e-07),
    (8.993065014090113e-08, -3.945576262379934e-08, 1.0978211382301548e-09, -4.773693395284847e-08),
    (-5.459300759573575e-07, -1.857931571901917e-05, -0.003212761849203708, 0.9999999999999997),
)
FEW = 1e-4
THIRDS = 2.0 / 3.0
LOG_U = THIRDS * math.log(0.75 * math.sqrt(math.pi))  # ln u - (2/3) ln c
LARGEST_LOG = 710.0  # above ln of the largest double: keeps x infinite, not undefined, for infinite c


@numba.njit(cache=True, inline="always")
@no_type_check
def _four(value, slope, t, row):
    """Four steps of Horner's scheme and of its derivative, written out: loops over tuples stay loops."""
    slope = slope * t + value
    value = value * t + row[0]
    slope = slope * t + value
    value = value * t + row[1]
    slope = slope * t + value
    value = value * t + row[2]
    slope = slope * t + value
    value = value * t + row[3]
    return value, slope


@numba.njit(cache=True, inline="always")
@no_type_check
def _twelve(table, t):
    """Value and derivative at t of a polynomial of twelve coefficients (the first twelve of a table)."""
    value, slope = _four(0.0, 0.0, t, table[0])
    value, slope = _four(value, slope, t, table[1])
    return _four(value, slope, t, table[2])


@numba.njit(cache=True, inline="always")
@no_type_check
def _sixteen(table, t):
    """Value and derivative at t of a polynomial of sixteen coefficients."""
    value, slope = _twelve(table, t)
    return _four(value, slope, t, table[3])


@numba.njit(cache=True, inline="always")
@no_type_check
def excess_half(c: float) -> tuple[float, float]:
    """x = eta - ln c and dx / d ln c at the reduced density c = F(eta) = n / N_c >= 0.

    Largest error of x against mpmath: 5e-16 of x up to c = 50 (so x/c -> 1/sqrt(8) holds down to
    c = 1e-300), 2.5e-15 of eta up to c = 1e6. The derivative is that of the same polynomials, within
    5e-14 of max(1, dx). Jumps where two of them meet: below 1e-15. No logarithm up to c = 50.

    (0, 0) at c = 0, infinities at c = inf. A slightly negative c meets the analytic continuation.
    1 + dx / d ln c = d eta / d ln c is the factor of the generalised Einstein relation.
    """
    if c <= FEW:  # holes, nearly always: the last four terms are exact
        value, slope = _four(0.0, 0.0, c, DILUTE[2])
        return c * value, c * (value + c * slope)
    if c <= 4.0:
        value, slope = _twelve(DILUTE, c)
        return c * value, c * (value + c * slope)
    if c <= 16.0:
        value, slope = _sixteen(MIDDLE, c - 10.0)
        return value, c * slope
    if c <= 50.0:
        root = math.sqrt(c)
        value, slope = _sixteen(DENSE, root - 5.5)
        return value, 0.5 * root * slope
    log_c = math.log(c)
    u = math.exp(THIRDS * log_c + LOG_U)
    finite_log = log_c if log_c < LARGEST_LOG else LARGEST_LOG
    z = (16.0 / u) * (16.0 / u)
    value, slope = _twelve(DEGENERATE, z)
    return u * value - finite_log, THIRDS * u * (value - 2.0 * z * slope) - 1.0


@numba.njit(cache=True, inline="always")
@no_type_check
def fermi_dirac_half(eta: float) -> tuple[float, float, float]:
    """F(eta), ln F and d ln F / d eta, as the inverse of `excess_half`, for finite eta up to 1e200.

    Three Newton steps for ln F in ln F + x(F) = eta, from the TeSCA fit: its error of 0.93 % falls to
    2e-5, 1e-10 and below rounding. Largest relative errors against mpmath for
    -700 <= eta <= 1e4: F 4e-15, ln F 3e-16 of max(1, |ln F|), derivative 4e-14.
    Where F underflows (eta < -745), ln F = eta is still right.
    """
    f, lnf, _ = fermi_half(eta)
    x, dx = excess_half(f)
    for _ in range(3):
        lnf -= (lnf + x - eta) / (1.0 + dx)
        f = math.exp(lnf)
        x, dx = excess_half(f)
    return f, lnf, 1.0 / (1.0 + dx)
