"""The published way to train a `MemOde`: gradient descent through an ODE solver, with weighted terms of the loss.

K. Bednarz, B. Garda, Z. Galias, Neural ODE based modeling of memristive circuits, section II: AdamW on L_b + L_v +
L_c, balanced by Algorithm 1, plus smooth penalties at the bounds (eq. 8); dopri5 with gradients straight through its
steps or by the adjoint equation (Chen et al., arXiv 1806.07366). `fit` reaches a smaller error a hundred times sooner;
this is what it is compared with, and the second opinion on its orbits and derivatives.
"""

import dataclasses
import importlib
import itertools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import MissingDependency, check_bool, check_choice, check_integer, check_number
from memflux.loops import Loops
from memflux.training.memode.kernel import FASTEST
from memflux.training.memode.model import START, MemOde, MemOdeConfig, Scales, resampled

INTEGRATORS = ("midpoint", "dopri5", "dopri5-adjoint")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam, "adam": torch.optim.Adam,
}  # fmt: skip
STEEPNESS = 0.0025  # f of eq. 8
LARGEST_RESISTANCE = 200e3  # Ohm, of R_OFF
CLAMP = (1e-3, 1e3)  # of the weights of Algorithm 1
HALVINGS = 50  # of the interval in which the voltage lies
PENALTY = 10.0  # weight of what lies beyond a bound


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How gradient descent trains a `MemOde`."""

    epochs: int = 360
    """Passes over the records."""
    learning_rate: float = 1e-2
    """At its largest; it falls to nothing along a cosine."""
    batch: int = 14
    """Records a step."""
    optimizer: str = "adamw"
    """adamw, nadam or adam."""
    integrator: str = "midpoint"
    """midpoint (the fixed steps of `fit`), dopri5 or dopri5-adjoint (steps of their own, from torchdiffeq)."""
    balanced: bool = True
    """Whether slopes and curvatures count too, as Algorithm 1 weighs them; False: L_b alone."""
    periods: int = 2
    """Periods before the one that is learned from: they go on from where the last epoch left the states."""
    clip: float = 1.0
    """Largest norm of a gradient."""

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, low=1, high=10_000_000)
        check_number("learning_rate", self.learning_rate, low=1e-12, high=10.0)
        check_integer("batch", self.batch, low=1, high=1_000_000)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("integrator", self.integrator, INTEGRATORS)
        check_bool("balanced", self.balanced)
        check_integer("periods", self.periods, low=0, high=100_000)
        check_number("clip", self.clip, low=1e-12, high=1e12)


class MemOdeNetwork(nn.Module):
    """The equations of a `MemOde` in torch; see `kernel`."""

    def __init__(self, model: MemOde) -> None:
        super().__init__()
        self.model = model
        self.weights = nn.Parameter(torch.tensor(model.weights))
        self.bounded = torch.tensor(model.config.bounded)

    @torch.no_grad()
    def project(self) -> None:
        """Bring weights that may not be negative, and are, to zero."""
        self.weights.copy_(torch.where(self.bounded, self.weights.clamp(min=0.0), self.weights))

    def trained(self, rest: Float[np.ndarray, " N"]) -> MemOde:
        """The model with the present weights."""
        return dataclasses.replace(self.model, weights=self.weights.detach().numpy().copy(), rest=rest)

    def memductance(self, x: Float[Tensor, "B N"], voltage: Float[Tensor, "B 1"]) -> Float[Tensor, "B 1"]:
        """G [S] of the states and, where it sees it, the voltage."""
        of_rates, of_memductance = self.model.config.sizes
        first, largest = _count(of_rates), self.model.scales.conductance
        if not of_memductance:
            on, off = largest * torch.exp(self.weights[first:])
            return x * on + (1.0 - x) * off
        inputs = 2.0 * x - 1.0
        if self.model.config.sees_voltage:
            inputs = torch.cat([inputs, voltage / self.model.scales.voltage], dim=1)
        return largest * torch.sigmoid(_network(self.weights[first:], of_memductance, inputs))

    def divided(self, x: Float[Tensor, "B N"], source: Float[Tensor, "B 1"], resistance: float) -> Float[Tensor, "B 1"]:
        """Voltage v [V] of v (1 + R G(x, v)) = s."""
        if not self.model.config.sees_voltage:
            return source / (1.0 + resistance * self.memductance(x, source))
        with torch.no_grad():
            low, high = torch.zeros_like(source), source.abs()
            for _ in range(HALVINGS):
                size = 0.5 * (low + high)
                above = size * (1.0 + resistance * self.memductance(x, size * source.sign())) > source.abs()
                low, high = torch.where(above, low, size), torch.where(above, size, high)
        # one step of Newton's method from the root has its derivatives (implicit differentiation)
        voltage = (0.5 * (low + high) * source.sign()).requires_grad_()
        with torch.enable_grad():
            conductance = self.memductance(x.detach(), voltage)
            (slope,) = torch.autograd.grad(conductance.sum(), voltage)
        voltage = voltage.detach()
        steep = 1.0 + resistance * (conductance.detach() + voltage * slope)
        return voltage - (voltage * (1.0 + resistance * self.memductance(x, voltage)) - source) / steep

    def slope(
        self, x: Float[Tensor, "B N"], voltage: Float[Tensor, "B 1"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Rates r [1/s] and the places y that the states go to: dx/dt = r (y - x)."""
        inputs = voltage / self.model.scales.voltage
        if not self.model.config.linear:
            inputs = torch.cat([2.0 * x - 1.0, inputs], dim=1)
        outputs = _network(self.weights, self.model.config.sizes[0], inputs)
        n = self.model.config.states
        return self.model.scales.rate * torch.exp(outputs[:, :n].clamp(max=FASTEST)), torch.sigmoid(outputs[:, n:])

    def forward(
        self, loops: Loops, start: Float[Tensor, "R N"], integrator: str
    ) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R N"]]:
        """Voltages [V] at the K steps of one period from `start`, and the states at its end."""
        drive = _Drive(loops, self.model.config.steps)
        states = self._midpoint(drive, start) if integrator == "midpoint" else self._dopri5(drive, start, integrator)
        inner = states[:-1].flatten(0, 1)
        source = drive.ends.T.reshape(-1, 1)
        voltage = self.divided(inner, source, loops.series_resistance)
        return voltage.view(drive.steps, -1).T, states[-1]

    def _midpoint(self, drive: "_Drive", x: Float[Tensor, "R N"]) -> Float[Tensor, "K R N"]:
        states = [x]
        for k in range(drive.steps):
            here = states[-1]
            for part, source in ((0.5, drive.ends[:, k : k + 1]), (1.0, drive.middles[:, k : k + 1])):
                rate, place = self.slope(here, self.divided(here, source, drive.resistance))
                here = place + (states[-1] - place) * torch.exp(-part * drive.step * rate)
            states.append(here)
        return torch.stack(states)

    def _dopri5(self, drive: "_Drive", x: Float[Tensor, "R N"], integrator: str) -> Float[Tensor, "K R N"]:
        def slope(phase: Tensor, x: Tensor) -> Tensor:
            rate, place = self.slope(x, self.divided(x, drive.at(phase).expand(len(x), 1), drive.resistance))
            return drive.step * drive.steps * rate * (place - x)

        phases = torch.linspace(0.0, 1.0, drive.steps + 1, dtype=x.dtype)
        how = {"rtol": 1e-6, "atol": 1e-8, "method": "dopri5"}
        if integrator == "dopri5":
            return _torchdiffeq().odeint(slope, x, phases, **how)
        return _torchdiffeq().odeint_adjoint(slope, x, phases, adjoint_params=(self.weights,), **how)

    def penalty(self) -> Tensor:
        """Eq. 8 for R_ON and R_OFF of a single network, R_ON < R_OFF < 200 kOhm; G and x of ours keep their bounds."""
        if self.model.config.kind == "dual":
            return torch.zeros((), dtype=self.weights.dtype)
        on, off = 1.0 / (self.model.scales.conductance * torch.exp(self.weights[-2:]))
        return bound_penalty(off / LARGEST_RESISTANCE, on / LARGEST_RESISTANCE, 1.0)


def bound_penalty(x: Float[Tensor, "..."], low: Tensor | float, high: Tensor | float) -> Float[Tensor, ""]:
    """Eq. 8: nothing well inside of `low` and `high`, the squared distance outside, smooth between."""
    below = torch.sigmoid(-(x - low) / STEEPNESS) * (low - x) ** 2
    above = torch.sigmoid((x - high) / STEEPNESS) * (x - high) ** 2
    return (below + above).mean()


def balance(losses: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """Algorithm 1: weights that bring each loss to their geometric mean, clamped."""
    known = losses.detach() + 1e-12
    return (known.log().mean().exp() / known).clamp(*CLAMP)


def losses(voltage: Float[Tensor, "R K"], drive: "_Drive") -> Float[Tensor, "3"]:
    """L_b, L_v and L_c (eqs. 5-7)."""
    found = []
    for order in range(3):
        pairs = ((voltage, drive.voltage), (drive.ends - voltage, drive.drop))
        parts = [(_differences(a, order), _differences(b, order)) for a, b in pairs]
        found.append(torch.stack([((a - b) ** 2).mean(1) / b.var(1) for a, b in parts]).sum(0).mean())
    return torch.stack(found)


def descend(
    loops: Loops, config: MemOdeConfig, recipe: Recipe, seed: int = 0
) -> tuple[MemOde, Float[np.ndarray, " E"]]:
    """A `MemOde` trained by gradient descent, and L_b of each epoch."""
    generator = torch.Generator().manual_seed(seed)
    network = MemOdeNetwork(MemOde.untrained(config, Scales.of(loops), seed))
    optimizer = OPTIMIZERS[recipe.optimizer](network.parameters(), lr=recipe.learning_rate)
    steps = recipe.epochs * -(-len(loops) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    states = torch.full((len(loops), config.states), START, dtype=torch.float64)
    history = np.empty(recipe.epochs)
    for epoch in range(recipe.epochs):
        seen = []
        for rows in torch.randperm(len(loops), generator=generator).split(recipe.batch):
            some, drive = loops[rows.numpy()], _Drive(loops[rows.numpy()], config.steps)
            start = states[rows]
            with torch.no_grad():
                for _ in range(recipe.periods):
                    _, start = network(some, start, "midpoint")
            voltage, end = network(some, start, recipe.integrator)
            terms = losses(voltage, drive)
            weighted = (balance(terms) * terms).sum() if recipe.balanced else terms[0]
            optimizer.zero_grad()
            (weighted + PENALTY * network.penalty()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
            network.project()
            schedule.step()
            states[rows] = end.detach()
            seen.append(float(terms[0].detach()) * len(rows))
        history[epoch] = sum(seen) / len(loops)
    return network.trained(states.mean(0).numpy()), history


class _Drive:
    """R sources at K steps a period, and what the voltages are compared with."""

    def __init__(self, loops: Loops, steps: int) -> None:
        self.steps, self.resistance = steps, loops.series_resistance
        self.step = torch.tensor(1.0 / (loops.frequency * steps))[:, None]  # s
        self.ends, self.middles = (torch.tensor(resampled(loops.source, steps, shift)) for shift in (0.0, 0.5))
        self.voltage = torch.tensor(resampled(loops.voltage, steps))
        self.drop = loops.series_resistance * torch.tensor(resampled(loops.current, steps))
        self.whole = torch.tensor(np.concatenate([loops.source, loops.source[:, :1]], axis=1))

    def at(self, phase: Tensor) -> Float[Tensor, "R 1"]:
        """Sources [V] at a phase from 0 to 1, straight from sample to sample."""
        place = phase * (self.whole.shape[1] - 1)
        k = min(max(int(place), 0), self.whole.shape[1] - 2)  # a last step may look beyond the end
        return torch.lerp(self.whole[:, k], self.whole[:, k + 1], place - k)[:, None]


def _differences(values: Tensor, order: int) -> Tensor:
    for _ in range(order):
        values = torch.roll(values, -1, dims=1) - values
    return values


def _count(sizes: list[int]) -> int:
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def _network(weights: Float[Tensor, " P"], sizes: list[int], x: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
    first = 0
    for layer, (a, b) in enumerate(itertools.pairwise(sizes)):
        matrix, bias = weights[first : first + a * b].view(a, b), weights[first + a * b : first + (a + 1) * b]
        x = torch.addmm(bias, torch.tanh(x) if layer else x, matrix)
        first += (a + 1) * b
    return x


def _torchdiffeq() -> ModuleType:
    """torchdiffeq, imported only where it is asked for."""
    try:
        return importlib.import_module("torchdiffeq")
    except ImportError as error:
        raise MissingDependency(
            f"torchdiffeq cannot be imported ({error}); pip install 'memflux[training]' or give integrator='midpoint'."
        ) from None
