"""Make the coefficients that stand in src/memflux/solvers/fermi.py: `python scripts/fermi_coefficients.py`.

Needs mpmath alone. Takes a few seconds and writes the four tables as Python text.
"""

import sys
from collections.abc import Callable

from mpmath import cos, cosh, exp, log, mpc, mpf, pi, sqrt, workdps

DIGITS = 40
NODES = 28  # more than any table keeps, so that aliasing stays below the rounding of the coefficients


def fermi(eta: mpf) -> tuple[mpf, mpf]:
    """F(eta) and dF/d eta by the trapezoidal rule in s = sqrt(t), faster than polylogarithms and independent of them.

    The integrand is even and analytic up to the poles s^2 = eta +- i pi, so the error falls as
    exp(-2 pi d / h) with their height d (Trefethen and Weideman 2014, doi:10.1137/130932132).
    """
    decay = (DIGITS + 5) * log(10)
    h = 2 * pi * sqrt(mpc(eta, pi)).imag / decay
    value = slope = mpf(0)
    for k in range(1, int(sqrt(max(eta, 0) + decay) / h) + 1):
        s2 = (k * h) ** 2
        value += s2 / (1 + exp(s2 - eta))
        slope += s2 / (2 + 2 * cosh(s2 - eta))
    return 4 * h / sqrt(pi) * value, 4 * h / sqrt(pi) * slope


def degenerate_limit(c: mpf) -> mpf:
    """u = (3 sqrt(pi) c / 4)^(2/3), the leading term of eta for large c."""
    return (3 * sqrt(pi) * c / 4) ** (mpf(2) / 3)


def inverse(c: mpf) -> mpf:
    """eta with F(eta) = c: Newton's method on ln F from the Boltzmann or the degenerate limit."""
    eta = log(c) + c / sqrt(8) if c < 4 else degenerate_limit(c)
    while True:
        value, slope = fermi(eta)
        step = (log(value) - log(c)) * value / slope
        eta -= step
        if abs(step) < mpf(10) ** (5 - DIGITS) * max(1, eta):
            return eta


def polynomial(f: Callable[[mpf], mpf], low: mpf, high: mpf, centre: float, terms: int) -> list[float]:
    """The Chebyshev series of f on [low, high], cut off after `terms`, in powers of t - centre, highest first."""
    middle, half = (mpf(low) + high) / 2, (mpf(high) - low) / 2
    angles = [pi * (2 * k + 1) / (2 * NODES) for k in range(NODES)]
    values = [f(middle + half * cos(w)) for w in angles]
    total, older, newer = [mpf(0)] * terms, [mpf(0)] * terms, [mpf(1)] + [mpf(0)] * (terms - 1)
    for j in range(terms):  # newer holds T_j, older T_(j-1), lowest power first
        weight = (2 if j else 1) * sum(v * cos(j * w) for v, w in zip(values, angles, strict=True)) / NODES
        total = [a + weight * b for a, b in zip(total, newer, strict=True)]
        shifted = [b * (centre - middle) + a for a, b in zip([0, *newer], newer, strict=False)]
        older, newer = newer, [(2 if j else 1) * s / half - a for s, a in zip(shifted, older, strict=True)]
    return [float(a) for a in reversed(total)]


def tables() -> dict[str, list[float]]:
    """The four tables by name, as fermi.py explains them."""
    with workdps(DIGITS):
        edge = 256 / degenerate_limit(mpf(50)) ** 2
        return {
            "DILUTE": polynomial(lambda c: (inverse(c) - log(c)) / c, 0, 4, 0, 12),
            "MIDDLE": polynomial(lambda c: inverse(c) - log(c), 4, 16, 10, 16),
            "DENSE": polynomial(lambda r: inverse(r * r) - 2 * log(r), 4, sqrt(50), 5.5, 16),
            "DEGENERATE": polynomial(scaled, 0, edge, 0, 12),
        }


def scaled(z: mpf) -> mpf:
    """eta / u at z = (16 / u)^2."""
    u = 16 / sqrt(z)
    return inverse(4 / (3 * sqrt(pi)) * u ** mpf(1.5)) / u


def main() -> None:
    """Write the tables in rows of four, as they stand in fermi.py."""
    for name, numbers in tables().items():
        rows = [", ".join(map(repr, numbers[k : k + 4])) for k in range(0, len(numbers), 4)]
        sys.stdout.write(f"{name} = (\n" + "".join(f"    ({row}),\n" for row in rows) + ")\n")


if __name__ == "__main__":
    main()
