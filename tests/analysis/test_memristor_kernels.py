"""The compiled marches: against SciPy, their order, the circuit equation, derivatives."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from memflux.analysis.memristor_march import (
    gradient,
    march,
    periodic,
    periodic_population,
)
from memflux.compact import KEYS
from memristors import EXAMPLES

RESISTANCE = 5110.0  # Ohm
FREQUENCY = 5.0  # Hz
every_model = pytest.mark.parametrize("model", EXAMPLES, ids=KEYS)
smooth_model = pytest.mark.parametrize("model", EXAMPLES[:2], ids=KEYS[:2])  # the others have corners


def sine(samples, records=1):
    return np.tile(np.sin(2 * np.pi * np.arange(samples) / samples), (records, 1))


def marched(model, samples):
    return march(model, sine(samples), 1.0 / (FREQUENCY * samples), RESISTANCE, 0.3).state[0]


def exact(model, places, method="DOP853"):
    """The state at phases `places`, by SciPy, with the circuit solved by bisection at every call."""

    def rate(t, x):
        source, x = np.sin(2 * np.pi * FREQUENCY * t), np.clip(x, 0.0, 1.0)
        v = brentq(lambda v: RESISTANCE * model.current(x[0], v) + v - source, -2.0, 2.0, xtol=1e-14)
        return [float(model.rate(x[0], v))]

    span = (0.0, 1.0 / FREQUENCY)
    found = solve_ivp(rate, span, [0.3], method, t_eval=places * span[1], rtol=1e-8, atol=1e-10, max_step=2e-3)
    assert found.success
    return found.y[0]


@every_model
def test_a_march_agrees_with_an_adaptive_solver(model):
    places = np.arange(8) / 8
    np.testing.assert_allclose(marched(model, 8000)[::1000], exact(model, places), atol=2e-6)


def test_a_stiff_march_agrees_with_an_implicit_solver():
    model = dataclasses.replace(EXAMPLES[0], tau=1e-5)  # a fortieth of a step
    coarse = march(model, sine(500), 1.0 / (FREQUENCY * 500), RESISTANCE, 0.3)
    assert coarse.ok.all()
    np.testing.assert_allclose(coarse.state[0][100::100], exact(model, np.arange(1, 5) / 5, "Radau"), atol=5e-4)


@smooth_model
def test_the_scheme_is_of_second_order(model):
    samples = np.array([100, 200, 400, 800])
    reference = marched(model, 25_600)[:: 25_600 // 50]
    errors = np.array([np.abs(marched(model, n)[:: n // 50] - reference).max() for n in samples])
    orders = np.log2(errors[:-1] / errors[1:])
    assert (orders > 1.9).all()
    assert errors[-1] < 1e-5


@every_model
def test_the_circuit_equation_holds_at_every_sample(model):
    source = sine(200)
    found = periodic(model, source, np.array([FREQUENCY]), RESISTANCE)
    np.testing.assert_allclose(RESISTANCE * found.current + found.voltage, source, atol=1e-12)
    np.testing.assert_allclose(model.current(found.state, found.voltage), found.current, rtol=1e-12)


def test_a_steep_diode_does_not_stop_newton():
    model = dataclasses.replace(EXAMPLES[1], beta_f=100.0, beta_r=80.0)
    found = march(model, 10.0 * sine(100), 1e-3, RESISTANCE, 0.0)
    np.testing.assert_allclose(RESISTANCE * found.current + found.voltage, 10.0 * sine(100), atol=1e-9)


@every_model
def test_gradients_are_those_of_the_periodic_states(model):
    kind, values, frequency, source = type(model), model.values, np.array([1.0, 20.0]), sine(200, 2)
    weights = np.random.default_rng(0).normal(size=(2, 2, 200)) * np.array([1.0, 1e3])[:, None]

    def total(p):
        found = periodic_population(kind, p[None], source, frequency, RESISTANCE, np.zeros((1, 2)), 1e-14)
        return (weights[:, 0] * found.voltage[0] + weights[:, 1] * found.current[0]).sum(-1), found.state[0, :, 0]

    ours = gradient(kind, values, source, frequency, RESISTANCE, total(values)[1], weights)[:, :-1]
    for j in range(values.size):
        step = np.eye(values.size)[j] * 1e-5 * abs(values[j])
        difference = (total(values + step)[0] - total(values - step)[0]) / (2 * step[j])
        np.testing.assert_allclose(
            ours[:, j] * values[j], difference * values[j], atol=1e-5 * np.abs(ours * values).max()
        )


@every_model
def test_gradients_are_those_of_marches_from_a_given_state(model):
    kind, values, frequency, source = type(model), model.values, np.array([1.0, 20.0]), sine(200, 2)
    weights, start = np.random.default_rng(0).normal(size=(2, 2, 200)), np.array([0.35, 0.6])

    def total(p, x):
        found = periodic_population(kind, p[None], source, frequency, RESISTANCE, x[None], periods=1)
        np.testing.assert_array_equal(found.state[0, :, 0], x)
        return (weights[:, 0] * found.voltage[0] + weights[:, 1] * found.current[0]).sum(-1)

    ours = gradient(kind, values, source, frequency, RESISTANCE, start, weights, periodic=False)
    of_start = (total(values, start + 1e-6) - total(values, start - 1e-6)) / 2e-6
    np.testing.assert_allclose(ours[:, -1], of_start, atol=1e-5 * np.abs(of_start).max())
    step = np.eye(values.size)[-1] * 1e-5 * abs(values[-1])
    difference = (total(values + step, start) - total(values - step, start)) / (2 * step[-1])
    np.testing.assert_allclose(ours[:, -2], difference, rtol=1e-4)
