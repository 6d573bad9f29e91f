"""The compact models' equations: as published, within their bounds, and real or complex."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memflux.compact import GMMS, KEYS, MMS, VTEAM, IonDrift, Yakopcic
from memristors import EXAMPLES

states = st.floats(0.0, 1.0)
voltages = st.floats(-2.0, 2.0)
every_model = pytest.mark.parametrize("model", EXAMPLES, ids=KEYS)


@every_model
@given(x=states, v=voltages)
def test_the_current_rises_with_the_voltage_and_its_conductance_is_the_derivative(model, x, v):
    slope = model.EQUATIONS.conductance(x, v, model.values)
    assert slope >= 0.0
    step = 1e-6
    if abs(v) > step:  # one of Yakopcic's amplitudes on either side of 0
        difference = (model.current(x, v + step) - model.current(x, v - step)) / (2 * step)
        assert slope == pytest.approx(float(difference), rel=1e-5, abs=1e-12)


@every_model
@given(v=voltages)
def test_the_state_does_not_leave_its_bounds(model, v):
    assert model.rate(0.0, v) >= 0.0
    assert model.rate(1.0, v) <= 0.0


@every_model
def test_a_positive_voltage_switches_on_and_a_negative_one_off(model):
    assert model.rate(0.5, 1.0) > 0.0 > model.rate(0.5, -1.0)


@every_model
def test_equations_take_complex_numbers(model):
    x, v, h = 0.4, 0.37, 1e-30
    for function in model.EQUATIONS[:2]:
        exact = function(x, v + 1j * h, model.values).imag / h
        difference = (function(x, v + 1e-6, model.values) - function(x, v - 1e-6, model.values)) / 2e-6
        assert exact == pytest.approx(difference, rel=1e-6)


def test_mms_is_as_published_but_for_the_sign_of_f_on():
    model = MMS(tau=0.1, beta=20.0, v_on=0.3, v_off=-0.2, r_on=1e3, r_off=1e4)
    x, v = 0.3, 0.25
    f_on = 1 / (1 + np.exp(-20 * (v - 0.3)))
    f_off = 1 - 1 / (1 + np.exp(-20 * (v + 0.2)))
    assert model.rate(x, v) == pytest.approx((f_on * (1 - x) - f_off * x) / 0.1)
    assert model.current(x, v) == pytest.approx((x / 1e3 + (1 - x) / 1e4) * v)


def test_gmms_without_its_diode_is_mms():
    memory = {"tau": 0.1, "beta": 20.0, "v_on": 0.3, "v_off": -0.2, "r_on": 1e3, "r_off": 1e4}
    diode = {"phi": 1.0, "alpha_f": 1e-6, "beta_f": 3.0, "alpha_r": 1e-6, "beta_r": 3.0}
    v = np.linspace(-1, 1, 11)
    np.testing.assert_allclose(GMMS(**memory, **diode).current(0.3, v), MMS(**memory).current(0.3, v))


def test_vteam_is_still_between_its_thresholds():
    model = next(m for m in EXAMPLES if isinstance(m, VTEAM))
    between = np.linspace(model.v_off, model.v_on, 11)
    np.testing.assert_allclose(model.rate(0.5, between), 0.0, atol=1e-20)
    beyond = 2.0 * model.v_on
    assert model.rate(0.5, beyond) == pytest.approx(model.k_on * (1 - 0.5 ** (2 * model.window)))


def test_yakopcic_is_as_published():
    model = next(m for m in EXAMPLES if isinstance(m, Yakopcic))
    x, v = 0.9, 0.5
    window = np.exp(-model.alpha_p * (x - model.x_p)) * ((model.x_p - x) / (1 - model.x_p) + 1)
    assert model.rate(x, v) == pytest.approx(model.magnitude_p * (np.exp(v) - np.exp(model.v_p)) * window)
    x, v = 0.2, -0.5
    window = np.exp(model.alpha_n * (x + model.x_n - 1)) * x / (1 - model.x_n)
    assert model.rate(x, v) == pytest.approx(-model.magnitude_n * (np.exp(-v) - np.exp(model.v_n)) * window)
    assert model.current(x, v) == pytest.approx(model.a_2 * x * np.sinh(model.b * v))


def test_charge_moves_the_ions():
    model = IonDrift(drift=100.0, window=50.0, r_on=1e3, r_off=1e4)
    assert model.rate(0.5, 1.0) == pytest.approx(100.0 * 1.0 / 5.5e3)
