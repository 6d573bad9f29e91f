"""Muon for hidden matrices, Adam for the rest.

Muon (K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) steps along the orthogonal factor of
the averaged gradient, so every direction of a matrix learns at the same pace. It fits a training set faster than
Adam, and the neural ODE gains by it; the spectral model is overfitted where curves are few (docs/log.md). torch's
own takes matrices [M, N] one by one; the members of an ensemble are a stack [K, M, N].
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
OTHERS = 0.1  # rate of what Adam trains, over that of the matrices
POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration: steep at 0, within 0.3 of 1 after five


class Muon(torch.optim.Optimizer):
    """Parameter groups with "hidden": True hold matrices [..., M, N] and are trained by Muon."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "hidden": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(step=torch.zeros(()), momentum=torch.zeros_like(parameter))
                    if not group["hidden"]:
                        state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                if group["hidden"]:
                    rate, along = group["lr"], _muon(parameter.grad, state)
                else:
                    rate, along = OTHERS * group["lr"], _adam(parameter.grad, state)
                parameter.mul_(1.0 - rate * group["weight_decay"]).add_(along, alpha=-rate)


def orthogonal(matrix: Float[Tensor, "*K M N"]) -> Float[Tensor, "*K M N"]:
    """Nearly the orthogonal factor of each matrix: its singular values brought close to 1."""
    a, b, c = POLYNOMIAL
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def _muon(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    mean = state["momentum"].mul_(MOMENTUM).add_(gradient)
    shape = max(1.0, gradient.shape[-1] / gradient.shape[-2])
    return orthogonal(gradient + MOMENTUM * mean) * math.sqrt(shape)


def _adam(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    step = float(state["step"])
    mean = state["momentum"].lerp_(gradient, 1.0 - BETAS[0]) / (1.0 - BETAS[0] ** step)
    square = state["square"].lerp_(gradient.square(), 1.0 - BETAS[1]) / (1.0 - BETAS[1] ** step)
    return mean / (square.sqrt() + 1e-8)
