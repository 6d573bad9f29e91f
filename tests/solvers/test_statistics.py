import math

import numpy as np
import pytest
from scipy.integrate import quad

from memflux.solvers.statistics import fermi_half, fermi_minus_one


@pytest.mark.parametrize(
    ("eta", "value"),
    [
        (-10.0, 4.539922898647266e-05),
        (0.0, 0.7700196627868575),
        (1.0, 1.5892066891027365),
        (5.0, 8.803787399452444),
        (20.0, 67.31108342645264),
    ],
)
def test_tesca_check_values(eta, value):
    assert fermi_half(eta)[0] == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("eta", [-20.0, -5.0, -1.0, 0.0, 1.6, 3.0, 10.0, 40.0])
def test_tesca_stays_within_its_stated_error_of_the_integral(eta):
    top = math.sqrt(max(eta, 0.0) + 60.0)  # t = s^2 removes the root at the origin
    exact, _ = quad(lambda s: 2.0 * s * s / (1.0 + math.exp(min(s * s - eta, 700.0))), 0.0, top)
    assert fermi_half(eta)[0] == pytest.approx(2.0 / math.sqrt(math.pi) * exact, rel=0.0095)


@pytest.mark.parametrize("function", [fermi_half, fermi_minus_one])
@pytest.mark.parametrize("eta", [-600.0, -150.0, -37.5, -36.5, -3.0, 0.0, 1.0, 1.7, 30.0, 200.0, 344.0, 346.0])
def test_logarithm_and_its_slope_agree_with_the_value(function, eta):
    f, lnf, slope = function(eta)
    if f > 0.0:
        assert lnf == pytest.approx(math.log(f), rel=1e-13, abs=1e-13)
    step = 1e-5 * max(1.0, abs(eta))
    difference = (function(eta + step)[1] - function(eta - step)[1]) / (2.0 * step)
    assert slope == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_deep_depletion_keeps_its_logarithm():
    f, lnf, slope = fermi_minus_one(-760.0)
    assert f == 0.0
    assert lnf == -760.0
    assert slope == 1.0


def test_sites_fill_up_but_never_beyond():
    values = np.array([fermi_minus_one(e)[0] for e in np.linspace(-50, 50, 101)])
    assert (np.diff(values) >= 0).all()
    assert values.max() <= 1.0
