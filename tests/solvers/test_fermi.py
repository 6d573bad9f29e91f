import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from mpmath import exp, inf, log, mpf, pi, polylog, quad, sqrt, workdps

from memflux.solvers import fermi
from memflux.solvers.fermi import excess_half, fermi_dirac_half
from memflux.solvers.statistics import fermi_half

DIGITS = 40
BOUNDARIES = [4.0, 16.0, 50.0]
PIECES = [(1e-12, 1e-3), (1e-3, 4.0), (4.0, 16.0), (16.0, 50.0), (50.0, 1e3), (1e3, 1e6)]
SCRIPT = Path(__file__).parents[2] / "scripts" / "fermi_coefficients.py"


def polylogarithms(eta):
    """F(eta) and dF/d eta to forty digits (DLMF 25.12.16)."""
    return -polylog(mpf(1.5), -exp(mpf(eta))).real, -polylog(mpf(0.5), -exp(mpf(eta))).real


def exact(c):
    """eta, x and dx/d ln c at the double c: Newton's method from the tested value, which only shortens it."""
    eta = log(mpf(c)) + excess_half(c)[0]
    for _ in range(2):
        value, slope = polylogarithms(eta)
        eta -= (log(value) - log(mpf(c))) * value / slope
    value, slope = polylogarithms(eta)
    return eta, eta - log(mpf(c)), value / slope - 1


def random_densities(low, high, count):
    rng = np.random.default_rng(0)
    return [float(c) for c in np.exp(rng.uniform(np.log(low), np.log(high), count))]


@pytest.mark.parametrize("eta", [-3.0, 0.0, 2.0, 25.0])
def test_the_reference_is_the_integral(eta):
    with workdps(DIGITS):
        points = [0, *(sqrt(max(eta, 0) + k) for k in (0, 1, 5, 20, 60)), inf]
        integral = quad(lambda s: 4 / sqrt(pi) * s * s / (1 + exp(s * s - eta)), points)
        assert abs(integral / polylogarithms(eta)[0] - 1) < mpf(10) ** -25


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES, ids=str)
def test_excess_against_forty_digits(piece):
    with workdps(DIGITS):
        for c in random_densities(*piece, 40):
            eta, x, slope = exact(c)
            value, derivative = excess_half(c)
            assert abs(value - x) <= 3e-15 * max(1, eta)
            if c <= 50.0:
                assert abs(value - x) <= 1e-15 * x  # relative, so the limit of small densities holds
            assert abs(derivative - slope) <= 1e-13 * max(1, slope)


@pytest.mark.parametrize("c", [b for edge in BOUNDARIES for b in (edge, math.nextafter(edge, math.inf))])
def test_both_sides_of_a_boundary_are_right(c):
    with workdps(DIGITS):
        eta, x, slope = exact(c)
        assert abs(excess_half(c)[0] - x) <= 1e-15 * eta
        assert abs(excess_half(c)[1] - slope) <= 1e-13 * slope


@pytest.mark.parametrize("edge", BOUNDARIES)
def test_pieces_meet(edge):
    below, above = excess_half(edge), excess_half(math.nextafter(edge, math.inf))
    assert abs(above[0] - below[0]) < 2e-15
    assert above[1] == pytest.approx(below[1], rel=5e-14)


def test_boltzmann_limit_keeps_its_relative_accuracy():
    assert excess_half(0.0) == (0.0, 0.0)
    for c in (1e-300, 1e-100, 1e-20):
        assert excess_half(c) == pytest.approx((c / math.sqrt(8.0), c / math.sqrt(8.0)), rel=4e-16, abs=0.0)


def test_slope_at_zero_is_that_of_joyce_and_dixon():
    c = 1e-5
    second = (excess_half(c)[0] / c - 1.0 / math.sqrt(8.0)) / c
    assert second == pytest.approx(3.0 / 16.0 - math.sqrt(3.0) / 9.0, rel=1e-5)


@pytest.mark.parametrize("c", [1e6, 1e9, 1e15, 1e100, 1e300, 1.7e308])
def test_degenerate_limit_is_sommerfelds(c):
    u = 0.75 ** (2.0 / 3.0) * math.pi ** (1.0 / 3.0) * c ** (2.0 / 3.0)
    value, slope = excess_half(c)
    assert value == pytest.approx(u - math.pi**2 / (12.0 * u) - math.log(c), rel=1e-13)
    assert slope == pytest.approx(2.0 / 3.0 * u - 1.0, rel=1e-8)


def test_infinite_density_is_infinite_and_undefined_stays_undefined():
    assert excess_half(math.inf) == (math.inf, math.inf)
    assert all(math.isnan(v) for v in excess_half(math.nan))


def test_excess_and_its_slope_rise():
    c = np.geomspace(1e-8, 1e7, 20001)
    values = np.array([excess_half(v) for v in c])
    assert (np.diff(values, axis=0) > 0.0).all()


def test_slightly_negative_densities_meet_the_continuation():
    value, slope = excess_half(-1e-3)
    step = excess_half(1e-3)
    assert value + step[0] == pytest.approx(2.0 * (3.0 / 16.0 - math.sqrt(3.0) / 9.0) * 1e-6, rel=1e-6)
    assert slope < 0.0


@pytest.mark.slow
@pytest.mark.parametrize("span", [(-700.0, -37.0), (-37.0, 0.0), (0.0, 8.0), (8.0, 30.0), (30.0, 1e4)], ids=str)
def test_integral_against_forty_digits(span):
    with workdps(DIGITS):
        for eta in np.random.default_rng(1).uniform(*span, 40):
            f, lnf, slope = fermi_dirac_half(float(eta))
            value, derivative = polylogarithms(float(eta))
            assert abs(f / value - 1) <= 1e-14
            assert abs(lnf - log(value)) <= 1e-15 * max(1, abs(log(value)))
            assert abs(slope * value / derivative - 1) <= 5e-14


@pytest.mark.parametrize("eta", [-700.0, -38.0, -36.9, -5.0, 0.0, 1.6107, 1.62, 4.0, 7.7, 16.3, 344.7, 345.0, 1e4])
def test_the_two_are_inverse(eta):
    f, lnf, slope = fermi_dirac_half(eta)
    x, dx = excess_half(f)
    assert x == pytest.approx(eta - lnf, abs=1e-13 * max(1.0, abs(eta)))
    assert slope * (1.0 + dx) == pytest.approx(1.0, rel=1e-15)


def test_deep_depletion_keeps_its_logarithm():
    assert fermi_dirac_half(-800.0) == (0.0, -800.0, 1.0)


def test_how_far_the_published_fit_is_from_it():
    etas = np.linspace(-20.0, 60.0, 8001)
    error = np.array([fermi_half(e)[0] / fermi_dirac_half(e)[0] - 1.0 for e in etas])
    assert np.abs(error).max() == pytest.approx(0.0093, abs=1e-4)
    assert etas[np.abs(error).argmax()] == pytest.approx(1.6, abs=0.1)


@pytest.mark.slow
def test_the_script_makes_the_tables():
    spec = importlib.util.spec_from_file_location("fermi_coefficients", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, numbers in script.tables().items():
        assert [x for row in getattr(fermi, name) for x in row] == numbers, name
