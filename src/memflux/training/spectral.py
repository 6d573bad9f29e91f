"""The spectral model: scaled parameters to coefficients of an orthogonal basis of curve shapes.

A curve is split into its peak and its shape (current over peak). The basis over the phase of the
drive are the leading singular vectors of the training shapes. Coefficients and logarithm of the
peak are a polynomial of the parameters, fitted by ridge regression, plus a few small networks
whose mean corrects it.
"""

import dataclasses
import itertools
import math
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import check_integer
from memflux.training.model import AbstractModel

SMOOTHING = 1e-6  # keeps the square root of a vanishing error differentiable
RIDGE = 1e-3
MANY = 1500  # curves from which the deep networks are the better ones (docs/log.md)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpectralConfig:
    """Architecture of a `Spectral` model; the defaults are for some hundred curves."""

    components: int = 32
    """Basis curves kept; fewer where the training set spans fewer."""
    degree: int = 1
    """Degree of the polynomial that the networks correct: 0, 1 or 2."""
    members: int = 4
    """Networks that are trained side by side and averaged."""
    width: int = 64
    """Units of each hidden layer."""
    layers: int = 4
    """Hidden layers of each network."""

    def __post_init__(self) -> None:
        check_integer("components", self.components, low=1, high=1024)
        check_integer("degree", self.degree, low=0, high=2)
        check_integer("members", self.members, low=1, high=64)
        check_integer("width", self.width, low=1, high=4096)
        check_integer("layers", self.layers, low=1, high=16)

    @classmethod
    def of(cls, count: int) -> Self:
        """The architecture for a data set of `count` curves: fewer than 1,500 are overfitted by deep networks."""
        return cls() if count < MANY else cls(components=128, members=2, width=128, layers=8)


class Spectral(AbstractModel):
    """P scaled parameters to a shape [T] of peak magnitude about 1 and a standardised log peak.

    Basis, polynomial and output scale are buffers, measured once by `prepare`; the networks are
    the parameters. It knows the drive by the parameters alone. Build under a seeded generator of torch.
    """

    output = "peaks"
    sees_voltage = False

    mean_shape: Tensor  # [T]
    basis: Tensor  # [K, T], orthonormal rows
    relevance: Tensor  # [P], in (0, 1]: how strongly the networks feel each parameter at first
    polynomial: Tensor  # [Q, K + 1]
    output_scale: Tensor  # [K + 1]

    def __init__(self, config: SpectralConfig, *, inputs: int, times: int) -> None:
        super().__init__()
        self.config = config
        outputs = config.components + 1
        self.register_buffer("mean_shape", torch.zeros(times))
        self.register_buffer("basis", torch.zeros(config.components, times))
        self.register_buffer("relevance", torch.ones(inputs))
        self.register_buffer("polynomial", torch.zeros(_terms(inputs, config.degree), outputs))
        self.register_buffer("output_scale", torch.ones(outputs))
        sizes = [inputs, *[config.width] * config.layers, outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            self.weights.append(torch.randn(config.members, fan_in, fan_out) / math.sqrt(fan_in))
            self.biases.append(torch.rand(config.members, 1, fan_out) * 2.0 - 1.0)
        with torch.no_grad():
            self.biases[-1].zero_()

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """First and last matrix apart: they map parameters and coefficients, not features, and do not decay."""
        first, *hidden, last = self.weights
        return [
            {"params": hidden, "weight_decay": weight_decay, "hidden": True},
            {"params": [first, last, *self.biases], "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def prepare(
        self, unit: Float[Tensor, "N P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...], deviation: float
    ) -> None:
        """Measure basis, polynomial and output scale."""
        shape, log_peak = targets
        mean = shape.mean(0)
        basis = torch.linalg.svd(shape - mean, full_matrices=False)[2][: self.config.components]
        self.mean_shape.copy_(mean)
        self.basis[: len(basis)] = basis  # further rows stay zero
        super().prepare(unit, voltage, targets, deviation)
        target = torch.cat([(shape - mean) @ self.basis.T.double(), log_peak[:, None]], dim=1)
        weight = torch.ones_like(target[0])
        weight[-1] = deviation * shape.square().sum(1).mean().sqrt()
        self.relevance.copy_(_relevance(unit, target * weight))
        fitted = _ridge(unit, target, self.config.degree)
        self.polynomial.copy_(fitted)
        left = (target - _monomials(unit, self.config.degree) @ fitted).std(0)
        # Between the own scale and the largest: small coefficients are learned too, but matter less.
        self.output_scale.copy_((left**0.25 * left.max() ** 0.75).clamp_min(1e-8))

    def members_of(self, unit: Float[Tensor, "B P"]) -> Float[Tensor, "M B K"]:
        """Coefficients and standardised log peak (last column) as each member predicts them."""
        last = len(self.weights) - 1
        hidden = ((2.0 * unit - 1.0) * self.relevance).expand(self.config.members, -1, -1)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if k < last:
                hidden = torch.nn.functional.silu(hidden)
        return _monomials(unit, self.config.degree) @ self.polynomial + hidden * self.output_scale

    def forward(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"]) -> tuple[Tensor, ...]:
        """Shapes [B, T] and standardised log peaks [B], averaged over the members."""
        out = self.members_of(unit).mean(0)
        return self.mean_shape + out[:, :-1] @ self.basis, out[:, -1]

    def loss(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...]) -> Tensor:
        """Root mean square error of the current over its peak, averaged over devices and members.

        With orthonormal basis V and shape s the error is V^T dc + s dl to first order in the log
        peak, so its square is |dc|^2 + 2 dl dc.(V s) + dl^2 |s|^2. The middle term counts half: in
        full, a wrong peak and the opposite error of the shape would cost nothing to first order
        and drift far along that valley; without it, errors that do cancel would be paid twice.
        What the basis cannot hold is a constant and left out.
        """
        shape, log_peak = targets
        out = self.members_of(unit)
        dc = out[..., :-1] - (shape - self.mean_shape) @ self.basis.T
        dl = (out[..., -1] - log_peak) * self.log_peak_deviation
        along = (dc * (shape @ self.basis.T)).sum(-1)
        square = (dc * dc).sum(-1) + dl * along + dl * dl * (shape * shape).sum(-1)
        return torch.sqrt(square / shape.shape[1] + SMOOTHING).mean()


def _terms(inputs: int, degree: int) -> int:
    return (1, 1 + inputs, 1 + inputs + inputs * (inputs + 1) // 2)[degree]


def _monomials(unit: Float[Tensor, "B P"], degree: int) -> Float[Tensor, "B Q"]:
    """1, x_i, x_i x_j of x = 2 unit - 1, up to `degree`."""
    x = 2.0 * unit - 1.0
    parts = [torch.ones_like(x[:, :1])]
    if degree >= 1:
        parts.append(x)
    if degree == 2:
        i, j = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
        parts.append(x[:, i] * x[:, j])
    return torch.cat(parts, dim=1)


def _ridge(unit: Float[Tensor, "N P"], target: Float[Tensor, "N K"], degree: int) -> Float[Tensor, "Q K"]:
    """Coefficients of the polynomial that fits `target`."""
    terms = _monomials(unit, degree)
    normal = terms.T @ terms + RIDGE * torch.eye(terms.shape[1], dtype=terms.dtype)
    return torch.linalg.solve(normal, terms.T @ target)


def _relevance(unit: Float[Tensor, "N P"], target: Float[Tensor, "N K"]) -> Float[Tensor, " P"]:
    """Square root of the mean slope of a quadratic fit along each parameter, over the largest, at least 0.03.

    With few devices a parameter that hardly matters would otherwise start as noise in every unit.
    """
    fitted = _ridge(unit, target, 2)
    slopes = []
    for column in range(unit.shape[1]):
        step = torch.zeros(unit.shape[1], dtype=unit.dtype)
        step[column] = 0.5  # exact for a quadratic
        difference = (_monomials(unit + step, 2) - _monomials(unit - step, 2)) @ fitted
        slopes.append(difference.square().sum(1).mean().sqrt())
    slope = torch.stack(slopes)
    return (slope / slope.max().clamp_min(1e-30)).sqrt().clamp_min(0.03)
