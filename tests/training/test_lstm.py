"""The published LSTM: sizes, presets, what it sees, and streams."""

import numpy as np
import pytest
import torch

from memflux.errors import InvalidValue
from memflux.training.lstm import Lstm, LstmConfig
from memflux.training.models import config_from_dict

TIMES = 12


def model(**config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Lstm(LstmConfig(**{"units": 6, **config}), inputs=3, times=TIMES).double().eval()


def asked(count=4):
    generator = torch.Generator().manual_seed(1)
    unit = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return unit, torch.rand(count, TIMES, generator=generator, dtype=torch.float64)


def test_presets_are_the_published_table():
    assert (LstmConfig.preset("9d").layers, LstmConfig.preset("9d").units) == (2, 144)
    parametric = LstmConfig.preset("5d-parametric")
    assert (parametric.layers, parametric.units, parametric.dropout, parametric.sees_voltage) == (1, 64, 0.1, False)
    with pytest.raises(InvalidValue, match="preset = '3d'"):
        LstmConfig.preset("3d")


def test_one_layer_of_64_has_the_published_number_of_weights():
    """4 (5 + 64 + 2) 64 of the layer, two biases a gate as in torch, and 65 of the head."""
    parametric = Lstm(LstmConfig.preset("5d-parametric"), inputs=5, times=TIMES)
    assert sum(p.numel() for p in parametric.parameters()) == 4 * (5 + 64 + 2) * 64 + 65


@pytest.mark.parametrize("output", ["published", "peaks"])
def test_shapes(output):
    unit, voltage = asked()
    outputs = model(output=output)(unit, voltage)
    assert [tuple(o.shape) for o in outputs] == [(4, TIMES), (4,)][: 1 + (output == "peaks")]


def test_the_future_does_not_act_on_the_past():
    unit, voltage = asked()
    changed = voltage.clone()
    changed[:, 7] += 0.5
    before, after = model()(unit, voltage)[0], model()(unit, changed)[0]
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_without_the_voltage_it_counts_time():
    unit, voltage = asked()
    blind = model(sees_voltage=False)
    curve = blind(unit, voltage)[0]
    assert torch.equal(curve, blind(unit, 1.0 - voltage)[0])
    assert not torch.allclose(curve[:, 1:], curve[:, :-1])


def test_a_stream_in_pieces_is_the_whole():
    unit, voltage = asked()
    sees = model(layers=2)
    whole, _ = sees.stream(unit, voltage)
    first, state = sees.stream(unit, voltage[:, :5])
    second, _ = sees.stream(unit, voltage[:, 5:], state)
    np.testing.assert_allclose(torch.cat([first, second], 1).detach(), whole.detach(), rtol=1e-12)


def test_dropout_acts_in_training_alone():
    unit, voltage = asked()
    sees = model(dropout=0.5)
    assert torch.equal(sees(unit, voltage)[0], sees(unit, voltage)[0])
    sees.train()
    assert not torch.equal(sees(unit, voltage)[0], sees(unit, voltage)[0])


@pytest.mark.parametrize("change", [{"layers": 0}, {"units": 0}, {"dropout": 1.0}, {"output": "amperes"}])
def test_bad_configs_are_refused(change):
    with pytest.raises(InvalidValue, match=next(iter(change))):
        LstmConfig(**change)
    with pytest.raises(InvalidValue, match="sees_voltage = False leaves output = 'conductance' without a voltage"):
        LstmConfig(sees_voltage=False, output="conductance")
    with pytest.raises(InvalidValue, match="depth"):
        config_from_dict("lstm", {"depth": 2})
