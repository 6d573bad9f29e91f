"""Compact models under drives: periodic states, populations, polarity."""

import dataclasses

import numpy as np
import pytest

from memflux.analysis.memristor_march import (
    march,
    periodic,
    periodic_population,
)
from memflux.compact import KEYS, MMS
from memflux.errors import InvalidValue
from memristors import EXAMPLES

RESISTANCE = 5110.0  # Ohm
FREQUENCY = 5.0  # Hz
every_model = pytest.mark.parametrize("model", EXAMPLES, ids=KEYS)
smooth_model = pytest.mark.parametrize("model", EXAMPLES[:2], ids=KEYS[:2])  # the others have corners


def sine(samples, records=1):
    return np.tile(np.sin(2 * np.pi * np.arange(samples) / samples), (records, 1))


def test_without_a_resistor_the_device_has_the_source():
    source = sine(64)
    found = march(EXAMPLES[1], source, 1e-3, 0.0, 0.5)
    np.testing.assert_array_equal(found.voltage, source)


@every_model
def test_a_periodic_state_ends_where_it_began(model):
    frequency = np.array([0.5, 5.0, 50.0])
    found = periodic(model, sine(400, 3), frequency, RESISTANCE)
    assert (found.periods > 0).all()
    again = march(model, np.hstack([sine(400, 3), sine(400, 3)]), 1 / (400 * frequency), RESISTANCE, found.state[:, 0])
    np.testing.assert_allclose(again.state[:, 400:], found.state, atol=1e-8)


@every_model
def test_a_device_turned_around_has_the_mirrored_loop(model):
    turned = dataclasses.replace(model, polarity=-1)
    frequency = np.array([FREQUENCY])
    there, back = (periodic(m, s * sine(100), frequency, RESISTANCE) for m, s in ((model, 1.0), (turned, -1.0)))
    np.testing.assert_array_equal(there.current, -back.current)
    np.testing.assert_array_equal(there.state, back.state)


def test_a_device_that_nothing_moves_stays_off():
    found = periodic(EXAMPLES[2], 0.01 * sine(100), np.array([FREQUENCY]), RESISTANCE)
    np.testing.assert_allclose(found.state, 0.0, atol=1e-40)
    assert found.periods == [1]


def test_a_population_is_its_members():
    models = [dataclasses.replace(EXAMPLES[0], tau=tau) for tau in (1e-3, 1e-2, 1e-1)]
    values, frequency = np.stack([m.values for m in models]), np.array([1.0, 10.0])
    found = periodic_population(MMS, values, sine(100, 2), frequency, RESISTANCE, np.zeros((3, 2)))
    for n, model in enumerate(models):
        np.testing.assert_array_equal(found.voltage[n], periodic(model, sine(100, 2), frequency, RESISTANCE).voltage)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((sine(10), 0.0, 1.0, 0.5), "step"),
        ((sine(10), 1e-3, 1.0, 1.5), "start"),
        ((sine(10), 1e-3, -1.0, 0.5), "series_resistance"),
        ((np.full((1, 4), np.nan), 1e-3, 1.0, 0.5), "not finite"),
        ((np.zeros((1, 1)), 1e-3, 1.0, 0.5), "samples of the source"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, message):
    with pytest.raises(InvalidValue, match=message):
        march(EXAMPLES[0], *arguments)
