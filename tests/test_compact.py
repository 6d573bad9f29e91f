"""The compact models' parameters, and how they are written."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import strategies as st

from memflux.compact import KEYS, MMS, MODELS, Scale, from_dict, model_class
from memflux.errors import InvalidValue
from memristors import EXAMPLES

states = st.floats(0.0, 1.0)
voltages = st.floats(-2.0, 2.0)
every_model = pytest.mark.parametrize("model", EXAMPLES, ids=KEYS)


@every_model
def test_a_device_turned_around_answers_to_the_opposite_voltage(model):
    turned = dataclasses.replace(model, polarity=-1)
    x, v = np.linspace(0, 1, 5)[:, None], np.linspace(-1, 1, 9)
    np.testing.assert_array_equal(turned.current(x, v), -model.current(x, -v))
    np.testing.assert_array_equal(turned.rate(x, v), model.rate(x, -v))


@every_model
def test_a_model_survives_json(model):
    assert from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_names_of_models():
    assert model_class("mms") is MMS
    assert tuple(m.KEY for m in MODELS) == KEYS
    with pytest.raises(InvalidValue, match="Did you mean 'vteam'"):
        model_class("vtem")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau": -1.0}, "tau"),
        ({"tau": float("nan")}, "not finite"),
        ({"r_on": "1"}, "not a number"),
        ({"polarity": 0}, "no sign"),
        ({"vv": 1.0}, "not a parameter of mms"),
        ({"model": "mns"}, "Did you mean 'mms'"),
    ],
)
def test_a_mistake_is_one_sentence(change, message):
    fields = EXAMPLES[0].to_dict() | change
    with pytest.raises(InvalidValue, match=message):
        from_dict(fields)


def test_missing_parameters_are_named():
    with pytest.raises(InvalidValue, match="no beta, v_on"):
        from_dict({"model": "mms", "tau": 1.0, "v_off": 1.0, "r_on": 1.0, "r_off": 1.0})
    with pytest.raises(InvalidValue, match="negative threshold"):
        dataclasses.replace(EXAMPLES[2], v_off=0.1)


def test_natural_units_make_their_quantities():
    scale = Scale(2.0, 1e-3, 0.5)
    assert scale.unit("Ohm") == 2e3
    assert scale.unit("1/C") * 1e-3 * 0.5 == 1.0
    for model in MODELS:
        for parameter in model.parameters():
            assert scale.unit(parameter.unit) > 0.0
            assert parameter.low < parameter.high
