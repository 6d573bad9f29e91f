"""The perceptrons of pulse programming."""

import pytest
import torch

from memflux.errors import InvalidValue
from memflux.training.pulse_mlp import ARCHITECTURES, PulseConfig, PulseNetworks


@pytest.mark.parametrize(
    ("name", "parameters", "operations", "energy"),
    [("A1", 513, 896, 8.33e-9), ("A2", 4673, 9088, 84.5e-9), ("A3", 8833, 17280, 161e-9)],
)
def test_counts_are_the_published_ones(name, parameters, operations, energy):
    config = ARCHITECTURES[name]
    assert config.parameters == parameters == sum(p.numel() for p in PulseNetworks(config, 1).parameters())
    assert config.operations == operations
    assert config.energy() == pytest.approx(energy, rel=5e-3)
    assert config.energy(1e-12) == pytest.approx(operations * 1e-12)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_grid_and_rows_say_the_same(layers):
    networks = PulseNetworks(PulseConfig(layers=layers, width=8), 3, torch.Generator().manual_seed(0)).double()
    pulse, settings = torch.randn(3, 4).double(), torch.randn(3, 2, 5).double()
    rows = torch.cat([pulse[:, None, :, None].expand(3, 2, 4, 1), settings[:, :, None].expand(3, 2, 4, 5)], dim=-1)
    torch.testing.assert_close(networks.on_grid(pulse, settings), networks(rows.reshape(3, 8, 6)).view(3, 2, 4))


def test_a_member_answers_as_before():
    networks = PulseNetworks(PulseConfig(layers=2), 3, torch.Generator().manual_seed(0))
    inputs = torch.randn(1, 7, 6)
    torch.testing.assert_close(networks.member(1)(inputs)[0], networks(inputs.expand(3, 7, 6))[1])


@pytest.mark.parametrize("fields", [{"layers": 0}, {"width": 0}, {"layers": True}])
def test_sizes_are_checked(fields):
    with pytest.raises(InvalidValue):
        PulseConfig(**fields)
