import math

import mpmath
import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE, thermal_voltage
from memflux.solvers.flux import bernoulli, edge_flux
from memflux.solvers.statistics import fermi_half, fermi_minus_one
from memflux.solvers.system import band_density

POINTS = np.concatenate(
    [[0.0], *[s * np.logspace(-12, 2.8, 120) for s in (-1, 1)], [0.25, -0.25, 0.2499999, 0.2500001]]
)


def _exact(x: float) -> tuple[float, float]:
    with mpmath.workdps(60):
        if x == 0:
            return 1.0, -0.5
        y = mpmath.mpf(x)
        e = mpmath.expm1(y)
        return float(y / e), float((e - y * (e + 1)) / e**2)


@pytest.mark.parametrize("x", POINTS)
def test_bernoulli_and_its_derivative_against_sixty_digits(x):
    value, slope = bernoulli(float(x))
    exact_value, exact_slope = _exact(float(x))
    assert value == pytest.approx(exact_value, rel=4e-15, abs=1e-300)
    assert slope == pytest.approx(exact_slope, rel=4e-14, abs=1e-300)


@pytest.mark.parametrize("x", [1e-9, 0.1, 0.3, 5.0, 80.0, 800.0])
def test_bernoulli_identity(x):
    assert bernoulli(-x)[0] == pytest.approx(bernoulli(x)[0] + x, rel=1e-14)


def _between(z, mobility, band, level, statistics, psi, phi, h=1e-9):
    unit = thermal_voltage(300.0)
    eta = [z * (p - s + level) / unit for p, s in zip(phi, psi, strict=True)]
    (f_k, ln_k, _), (f_l, ln_l, _) = (statistics(e) for e in eta)
    q = z * (psi[1] - psi[0]) / unit + (eta[1] - eta[0]) - (ln_l - ln_k)
    return q, edge_flux(-z * ELEMENTARY_CHARGE * unit * mobility / h, q, band * f_k, band * f_l)[0]


def test_published_numbers_for_electrons():
    q, j = _between(-1, 2.15e-3, band_density(0.55, 300.0), -4.0, fermi_half, (-4.10, -4.08), (0.0, 0.01))
    assert q == pytest.approx(-0.77033681, abs=5e-9)
    assert j == pytest.approx(-8.70109112e8, rel=5e-9)


def test_published_numbers_for_vacancies():
    q, j = _between(1, 1.15e-13, 1e28, -4.33, fermi_minus_one, (-4.10, -4.08), (0.0, 0.01))
    assert q == pytest.approx(0.77359065, abs=5e-9)
    assert j == pytest.approx(-0.20392039, rel=5e-8)


@pytest.mark.parametrize("drop", [-2.0, -0.1, 0.0, 1e-6, 0.3, 4.0])
def test_no_flux_where_the_quasi_fermi_potential_is_constant(drop):
    # the two terms of J cancel to round-off; compare with the size of either
    unit = thermal_voltage(300.0)
    z, level, phi = -1.0, 0.0, 0.1
    eta = [z * (phi - s + level) / unit for s in (0.0, drop)]
    n = [fermi_half(e)[0] for e in eta]
    q = -(math.log(n[1]) - math.log(n[0]))
    j, _, to_k, _ = edge_flux(1.0, q, n[0], n[1])
    assert abs(j) <= 1e-14 * max(abs(to_k * n[0]), n[0], n[1]) * (1 + abs(q))


def test_flux_changes_sign_with_the_direction_of_the_edge():
    forward = edge_flux(2.0, 0.7, 3.0, 5.0)[0]
    assert edge_flux(2.0, -0.7, 5.0, 3.0)[0] == pytest.approx(-forward, rel=1e-14)


@pytest.mark.parametrize("q", [-30.0, -0.3, 0.0, 1e-3, 0.2, 12.0])
def test_flux_derivatives_match_differences(q):
    j, d_q, d_k, d_l = edge_flux(1.7, q, 2.0, 3.0)
    e = 1e-6
    assert d_q == pytest.approx(
        (edge_flux(1.7, q + e, 2.0, 3.0)[0] - edge_flux(1.7, q - e, 2.0, 3.0)[0]) / (2 * e), rel=1e-7
    )
    assert j == pytest.approx(d_k * 2.0 + d_l * 3.0, rel=1e-14)
