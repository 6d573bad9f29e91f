"""The spectral model: its basis, its polynomial and its loss."""

import numpy as np
import pytest
import torch

from memflux.errors import InvalidValue
from memflux.training.spectral import SMOOTHING, Spectral, SpectralConfig

VOLTAGE = torch.zeros(1, 21)  # never looked at


def example(count=60, times=21):
    """Curves that are exactly quadratic in two parameters."""
    unit = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    phase = torch.linspace(0, 6, times, dtype=torch.float64)
    shape = unit[:, :1] * torch.sin(phase) + (unit[:, :1] * unit[:, 1:]) * torch.cos(phase)
    return unit, shape, 2 * unit[:, 0] - unit[:, 1]


def prepared(config, deviation=0.5):
    unit, shape, log_peak = example()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Spectral(config, inputs=2, times=21)
    model.prepare(unit, VOLTAGE, (shape, log_peak), deviation)
    return model.double()


def test_basis_is_orthonormal_and_spans_the_curves():
    _, shape, _ = example()
    model = prepared(SpectralConfig(components=2))
    np.testing.assert_allclose(model.basis @ model.basis.T, np.eye(2), atol=1e-6)
    centred = shape - model.mean_shape
    np.testing.assert_allclose(centred @ model.basis.T @ model.basis, centred, atol=1e-6)


def test_polynomial_alone_solves_a_quadratic_family():
    unit, shape, log_peak = example()
    model = prepared(SpectralConfig(components=4, members=1, layers=1, degree=2))
    with torch.no_grad():
        for weight in model.weights:
            weight.zero_()
        for bias in model.biases:
            bias.zero_()
        guess, peak = model(unit, VOLTAGE)
    np.testing.assert_allclose(guess, shape, atol=1e-3)
    np.testing.assert_allclose(peak, log_peak, atol=1e-3)


def test_loss_is_the_curve_error():
    unit, shape, log_peak = example()
    model = prepared(SpectralConfig(components=4, members=3), deviation=0.5)
    wanted = []
    for out in model.members_of(unit):
        of_shape = model.mean_shape + out[:, :-1] @ model.basis - shape
        of_peak = 0.5 * (out[:, -1] - log_peak)[:, None] * shape
        square = 0.5 * (of_shape + of_peak) ** 2 + 0.5 * (of_shape**2 + of_peak**2)
        wanted.append(float((square.mean(1) + SMOOTHING).sqrt().mean()))
    assert float(model.loss(unit, VOLTAGE, (shape, log_peak))) == pytest.approx(np.mean(wanted), rel=1e-4)


def test_parameters_that_matter_are_felt_more():
    unit, shape, log_peak = example()
    wide = torch.cat([unit, torch.rand(len(unit), 1, generator=torch.Generator().manual_seed(1))], dim=1)
    model = Spectral(SpectralConfig(components=4), inputs=3, times=21)
    model.prepare(wide.double(), VOLTAGE, (shape, log_peak), 0.5)
    assert model.relevance.max() == 1.0
    assert model.relevance[2] < 0.1 * model.relevance[1]


def test_more_components_than_curves_are_harmless():
    unit, _, _ = example()
    model = prepared(SpectralConfig(components=100))
    assert torch.isfinite(model(unit, VOLTAGE)[0]).all()
    assert (model.basis[21:] == 0).all()


@pytest.mark.parametrize("change", [{"components": 0}, {"degree": 3}, {"members": 0}, {"width": 0}, {"layers": 0}])
def test_bad_configs_are_refused(change):
    with pytest.raises(InvalidValue, match=next(iter(change))):
        SpectralConfig(**change)


def test_few_curves_get_the_small_networks():
    assert SpectralConfig.of(1499) == SpectralConfig()
    assert SpectralConfig.of(1500).layers > SpectralConfig().layers
