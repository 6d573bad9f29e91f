"""Muon makes steps of one size in every direction, and goes on from its state."""

import copy

import numpy as np
import pytest
import torch

from memflux.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 5), (5, 8), (6, 6)])
def test_singular_values_come_close_to_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.shape == torch.linalg.svdvals(matrix).shape
    assert (values > 0.5).all()
    assert (values < 1.3).all()


def test_a_stack_is_its_matrices():
    stack = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(orthogonal(stack), torch.stack([orthogonal(m) for m in stack]), atol=1e-6)


def quadratic():
    """A badly scaled least-squares problem in a matrix and a bias."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(64, 6, generator=generator) * torch.tensor([10.0, 3.0, 1.0, 0.3, 0.1, 0.03])
    wanted = inputs @ torch.randn(6, 4, generator=generator) + 1.0
    weight, bias = torch.zeros(6, 4, requires_grad=True), torch.zeros(4, requires_grad=True)
    groups = [{"params": [weight], "hidden": True}, {"params": [bias]}]
    return (lambda: (inputs @ weight + bias - wanted).square().mean()), (weight, bias), groups


def descend(optimiser, loss, steps, first=0, of=300):
    for k in range(first, first + steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.2 * (1.0 - k / of)
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def test_it_solves_a_badly_scaled_problem():
    loss, _, groups = quadratic()
    before = float(loss().detach())
    descend(Muon(groups, lr=0.2), loss, 300)
    assert float(loss().detach()) < 1e-3 * before


def test_the_state_goes_on():
    loss, parameters, groups = quadratic()
    optimiser = Muon(groups, lr=0.2)
    descend(optimiser, loss, 20)
    saved, values = copy.deepcopy(optimiser.state_dict()), [p.detach().clone() for p in parameters]
    descend(optimiser, loss, 5, first=20)
    other_loss, others, other_groups = quadratic()
    again = Muon(other_groups, lr=0.2)
    again.load_state_dict(saved)
    with torch.no_grad():
        for other, value in zip(others, values, strict=True):
            other.copy_(value)
    descend(again, other_loss, 5, first=20)
    for one, other in zip(parameters, others, strict=True):
        assert torch.equal(one, other)


def test_matrices_decay_and_biases_do_not():
    weight, bias = torch.ones(3, 3, requires_grad=True), torch.ones(3, requires_grad=True)
    optimiser = Muon([{"params": [weight], "hidden": True, "weight_decay": 0.5}, {"params": [bias]}], lr=0.1)
    (0.0 * weight.sum() + 0.0 * bias.sum()).backward()
    optimiser.step()
    np.testing.assert_allclose(weight.detach(), 0.95, rtol=1e-6)
    np.testing.assert_allclose(bias.detach(), 1.0)
