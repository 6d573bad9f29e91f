"""A neural ODE: a latent state that the voltage drives, and a memductance that it sets (Chua and Kang, below).

    dx/ds = f(x, v, p)        i = G(x, v, p) (v - v0)

x is the state, v the scaled voltage, v0 that of zero volts, p the scaled parameters, s the phase and
i the scaled current. f and G > 0 are networks (Chen et al., arXiv 1806.07366); the form is that of a
memristive system (doi 10.1109/PROC.1976.10092), so no voltage is no current whatever was learned.
The period acts through p where it varies, as s does not carry it.
"""

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memflux.errors import MissingDependency, check_choice, check_integer, check_number
from memflux.training.model import OUTPUTS, AbstractModel, PeakHead, scaling_of, sequence_error, zero_voltage

INTEGRATORS = ("rk4", "dopri5", "dopri5-adjoint")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "elu": nn.functional.elu,
    "relu": nn.functional.relu,
    "leaky_relu": nn.functional.leaky_relu,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "sine": torch.sin,
}
POSITIVE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softplus": nn.functional.softplus,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
}
SPAN = 8.0  # length of the whole drive in s: a sweep of two cycles is 1, and the rates of a switching device order one

OdeState = tuple[Float[Tensor, "B N"], Float[Tensor, "_ 1"]]
"""Latent state and voltage of the last sample: where a stream of voltages left off."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NeuralOdeConfig:
    """Architecture and integrator of a `NeuralOde`; weights learned with one integrator answer under another."""

    latent: int = 8
    """Components of the state."""
    width: int = 64
    """Units of each hidden layer."""
    layers: int = 2
    """Hidden layers of f, and of G unless `memductance_layers` says otherwise."""
    memductance_layers: int | None = None
    """Hidden layers of G; None: as many as f has."""
    activation: str = "tanh"
    """Between the layers of f and of G: tanh, silu, gelu, elu, relu, leaky_relu, sigmoid, softplus or sine."""
    output_activation: str = "softplus"
    """What keeps G positive: softplus, exp, or sigmoid, which bounds it too."""
    integrator: str = "rk4"
    """rk4 (steps of `stride` samples), dopri5 or dopri5-adjoint (steps of its own, from torchdiffeq; with adjoint
    the gradient comes from a second equation, in memory that does not grow with the steps)."""
    stride: int = 8
    """Samples a step of rk4; it should divide a sweep, so that no step passes a corner of the drive."""
    rtol: float = 1e-5
    """Relative tolerance of dopri5 on the state; rows of a batch share their steps, so agree to it only."""
    atol: float = 1e-6
    """Absolute tolerance of dopri5 on the state."""
    output: str = "published"
    """Scaling of the current: published (eqs. 6-8), peaks (shape, and the peak from a small network beside), or
    conductance, for any drive: a memductance times a size from a small network of the parameters."""

    def __post_init__(self) -> None:
        check_integer("latent", self.latent, low=1, high=1024)
        check_integer("width", self.width, low=1, high=4096)
        check_integer("layers", self.layers, low=1, high=8)
        if self.memductance_layers is not None:
            check_integer("memductance_layers", self.memductance_layers, low=1, high=8)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("output_activation", self.output_activation, POSITIVE)
        check_choice("integrator", self.integrator, INTEGRATORS)
        check_integer("stride", self.stride, low=1, high=1_000_000)
        check_number("rtol", self.rtol, low=1e-13, high=1.0)
        check_number("atol", self.atol, low=1e-13, high=1.0)
        check_choice("output", self.output, OUTPUTS)

    @classmethod
    def any_drive(cls) -> Self:
        """What answers for any drive: with short steps, as its corners lie anywhere."""
        return cls(stride=2, output="conductance")


class NeuralOde(AbstractModel):
    """Voltage and parameters to a scaled current, through a state that obeys an ODE.

    Raises MissingDependency where the integrator is dopri5 and torchdiffeq is not installed.
    """

    zero_voltage: Tensor  # [], the scaled voltage of 0 V

    def __init__(self, config: NeuralOdeConfig, *, inputs: int, times: int) -> None:
        super().__init__()
        if config.integrator != "rk4":
            _torchdiffeq()  # now, not after the first batch
        self.config, self.output, self.times = config, scaling_of(config.output), times
        self.start = nn.Sequential(nn.Linear(inputs, config.width), nn.Tanh(), nn.Linear(config.width, config.latent))
        self.rate = StateNetwork(config, config.layers, inputs, config.latent)
        self.memductance = StateNetwork(config, config.memductance_layers or config.layers, inputs, 1)
        self.positive = POSITIVE[config.output_activation]
        self.peak = PeakHead(inputs) if self.output == "peaks" else None
        self.register_buffer("zero_voltage", torch.zeros(()))

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """The matrices between hidden layers apart: Muon trains them to two thirds of the error that Adam does."""
        hidden = [layer.weight for network in (self.rate, self.memductance) for layer in network.hidden]
        others = [p for p in self.parameters() if all(p is not matrix for matrix in hidden)]
        return [
            {"params": hidden, "weight_decay": weight_decay, "hidden": True},
            {"params": others, "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def prepare(
        self, unit: Float[Tensor, "N P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...], deviation: float
    ) -> None:
        self.zero_voltage.copy_(zero_voltage(voltage, targets[0]))
        super().prepare(unit, voltage, targets, deviation)

    def forward(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"]) -> tuple[Tensor, ...]:
        curve, _ = self.stream(unit, voltage)
        return (curve,) if self.peak is None else (curve, self.peak(unit)[:, 0])

    def stream(
        self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], state: OdeState | None = None
    ) -> tuple[Float[Tensor, "B T"], OdeState]:
        """The scaled current [B, T] of a stretch of drive and the state at its end; None: at rest.

        Stretches add up to the whole within the error of the integrator, and exactly where they end
        with a step of rk4: the first after 1 + k * stride samples, the others after k * stride.
        """
        point, drive = 2.0 * unit - 1.0, 2.0 * (voltage - self.zero_voltage)  # about -1 to 1, as networks like it
        if state is None:
            start, seen = self.start(point), drive
        else:
            start, before = state
            seen = torch.cat([before.expand(len(drive), -1), drive], dim=1)
        solve = self._rk4 if self.config.integrator == "rk4" else self._dopri5
        states = solve(start, point, seen)[:, -voltage.shape[1] :]
        known = self.memductance.known(point[:, None, :], drive)
        logit = self.memductance(states.flatten(0, 1), known.flatten(0, 1)).view(known.shape[:2])
        return self.positive(logit) * drive, (states[:, -1], drive[:, -1:])

    def loss(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...]) -> Tensor:
        return sequence_error(self.config.output, self(unit, voltage), targets, self.log_peak_deviation)

    @property
    def _sample(self) -> float:
        """Length of s from one sample to the next."""
        return SPAN / (self.times - 1)

    def _rk4(
        self, start: Float[Tensor, "B N"], point: Float[Tensor, "B P"], drive: Float[Tensor, "_ T"]
    ) -> Float[Tensor, "B T N"]:
        """States at all samples: Runge-Kutta steps of `stride` samples, the last of what is left."""
        last, stride = drive.shape[1] - 1, self.config.stride
        ends = [*range(0, last, stride), last]
        known = self.rate.known(point, _ends_and_middles(drive, ends).T).unbind(0)
        x, rate = start, self.rate
        states, slopes = [x], []
        for k, (first, end) in enumerate(itertools.pairwise(ends)):
            h = (end - first) * self._sample
            left, middle, right = known[2 * k : 2 * k + 3]
            k1 = rate(x, left)
            k2 = rate(torch.add(x, k1, alpha=h / 2), middle)
            k3 = rate(torch.add(x, k2, alpha=h / 2), middle)
            k4 = rate(torch.add(x, k3, alpha=h), right)
            x = torch.add(x, k1 + k4 + 2.0 * (k2 + k3), alpha=h / 6)
            states.append(x)
            slopes.append(k1)
        slopes.append(rate(x, known[-1]))
        return self._between(torch.stack(states, 1), torch.stack(slopes, 1), last)

    def _between(
        self, states: Float[Tensor, "B S N"], slopes: Float[Tensor, "B S N"], last: int
    ) -> Float[Tensor, "B T N"]:
        """States at the samples 0 .. `last` from those at the ends of steps, by cubic Hermite polynomials."""
        ends = torch.stack([states[:, :-1], states[:, 1:], slopes[:, :-1], slopes[:, 1:]], dim=2)
        whole, rest = divmod(last, self.config.stride)
        parts = [_hermite(ends[:, :whole], self.config.stride, self._sample)]
        if rest:
            parts.append(_hermite(ends[:, whole:], rest, self._sample))
        return torch.cat([*parts, states[:, -1:]], dim=1)

    def _dopri5(
        self, start: Float[Tensor, "B N"], point: Float[Tensor, "B P"], drive: Float[Tensor, "_ T"]
    ) -> Float[Tensor, "B T N"]:
        """States at all samples by torchdiffeq, the voltage straight from sample to sample."""
        step, last = self._sample, drive.shape[1] - 1
        if last == 0:
            return start[:, None, :]

        def rate(s: Float[Tensor, ""], x: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
            place = s / step
            k = min(max(int(place), 0), last - 1)  # a last step may look beyond the end
            voltage = torch.lerp(drive[:, k], drive[:, k + 1], (place - k).to(drive.dtype))
            return self.rate(x, self.rate.known(point, voltage))

        times = step * torch.arange(last + 1, dtype=start.dtype, device=start.device)
        # A step that passes a corner of the drive is rejected again and again; one that ends there halves the work.
        options = {"step_t": times[1:-1][_corners(drive.detach())]}
        how = {"rtol": self.config.rtol, "atol": self.config.atol, "method": "dopri5", "options": options}
        if self.config.integrator == "dopri5":
            states = _torchdiffeq().odeint(rate, start, times, **how)
        else:
            # The error of the parameters' gradient need not bound the steps (Kidger et al., arXiv 2009.09457). What
            # is not in adjoint_params gets no gradient.
            inputs = (*self.rate.parameters(), point, drive)
            states = _torchdiffeq().odeint_adjoint(
                rate, start, times, adjoint_params=inputs, adjoint_options={"norm": "seminorm"}, **how
            )
        return states.transpose(0, 1)


class StateNetwork(nn.Module):
    """A network of a state, and of voltage and parameters, whose share of the first layer is known beforehand."""

    def __init__(self, config: NeuralOdeConfig, layers: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.of_state = nn.Linear(config.latent, config.width, bias=False)
        self.of_voltage = nn.Linear(1, config.width, bias=False)
        self.of_parameters = nn.Linear(inputs, config.width)
        self.hidden = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(layers - 1))
        self.head = nn.Linear(config.width, outputs)

    def known(self, point: Float[Tensor, "... P"], voltage: Float[Tensor, "..."]) -> Float[Tensor, "... W"]:
        """The share of parameters and voltages, whose leading dimensions are broadcast."""
        return self.of_parameters(point) + voltage[..., None] * self.of_voltage.weight[:, 0]

    def forward(self, state: Float[Tensor, "M N"], known: Float[Tensor, "M W"]) -> Float[Tensor, "M K"]:
        hidden = self.activation(torch.addmm(known, state, self.of_state.weight.T))
        for layer in self.hidden:
            hidden = self.activation(layer(hidden))
        return self.head(hidden)


def _ends_and_middles(drive: Float[Tensor, "_ T"], ends: list[int]) -> Float[Tensor, "_ K"]:
    """Voltages at the ends of steps and between them half-way, where it is the mean of two samples or one."""
    twice = [2 * ends[0], *(x for a, b in itertools.pairwise(ends) for x in (a + b, 2 * b))]
    return 0.5 * (drive[:, [x // 2 for x in twice]] + drive[:, [(x + 1) // 2 for x in twice]])


def _corners(drive: Float[Tensor, "_ T"]) -> Bool[Tensor, " K"]:
    """Which of the T - 2 samples between first and last are corners of any drive."""
    slope = drive.diff(dim=1)
    return (slope.diff(dim=1).abs() > 1e-3 * slope.abs().amax()).any(0)


def _hermite(ends: Float[Tensor, "B S 4 N"], samples: int, length: float) -> Float[Tensor, "B T N"]:
    """S steps of so many samples of some length: states at these from states and slopes at both ends of each."""
    t = torch.arange(samples, dtype=ends.dtype, device=ends.device) / samples
    r, h = 1.0 - t, samples * length
    basis = torch.stack([(1.0 + 2.0 * t) * r * r, t * t * (1.0 + 2.0 * r), h * t * r * r, -h * t * t * r], dim=1)
    return (basis @ ends).flatten(1, 2)


def _torchdiffeq() -> ModuleType:
    """torchdiffeq, imported only where it is asked for."""
    try:
        return importlib.import_module("torchdiffeq")
    except ImportError as error:
        raise MissingDependency(
            f"torchdiffeq cannot be imported ({error}); pip install 'memflux[training]', or choose integrator = 'rk4'."
        ) from None
