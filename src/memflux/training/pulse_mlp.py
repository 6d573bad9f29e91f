"""The perceptrons A1 to A3 of pulse programming, many of them side by side.

Six z-scored inputs (pulse number, set duration, set voltage, off duration, read duration, antipulse voltage), one to
three hidden layers of 64 rectified units, one output: the increment of the scaled read current from this pulse to the
next; increments add up from 0.
Spetzler et al., APL Mach. Learn. 3, 026103 (2025), doi 10.1063/5.0251113, Table II, whose counts of parameters and
operations are those of one, two and three hidden layers (its text says two to four). Dimensions: E networks, R rows,
G settings, N pulses, H units.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import check_integer, check_number

INPUTS = 6
ENERGY_PER_OPERATION = 9.3e-12  # J, a RISC-V core with a floating-point accelerator, as published


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PulseConfig:
    """Size of a perceptron."""

    layers: int = 1
    """Hidden layers."""
    width: int = 64
    """Units of each."""

    def __post_init__(self) -> None:
        check_integer("layers", self.layers, low=1, high=8)
        check_integer("width", self.width, low=1, high=4096)

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return (INPUTS + 1) * self.width + (self.layers - 1) * (self.width + 1) * self.width + self.width + 1

    @property
    def operations(self) -> int:
        """Floating-point operations of one inference as published: a multiplication and an addition a weight."""
        return 2 * (INPUTS * self.width + (self.layers - 1) * self.width**2 + self.width)

    def energy(self, per_operation: float = ENERGY_PER_OPERATION) -> float:
        """Energy of one inference [J]."""
        return self.operations * check_number("per_operation", per_operation, low=0.0, high=1.0, unit="J")


ARCHITECTURES: Mapping[str, PulseConfig] = {f"A{k}": PulseConfig(layers=k) for k in (1, 2, 3)}


class PulseNetworks(nn.Module):
    """E perceptrons of one size, each with weights of its own; one batched product a layer computes all."""

    def __init__(self, config: PulseConfig, members: int, generator: torch.Generator | None = None) -> None:
        """Weights and biases uniform within 1 / sqrt(inputs of the layer), as torch begins a linear layer."""
        super().__init__()
        self.config, self.members = config, members
        sizes = [INPUTS, *[config.width] * config.layers, 1]
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList(_uniform((members, i, o), i, generator) for i, o in pairs)
        self.biases = nn.ParameterList(_uniform((members, 1, o), i, generator) for i, o in pairs)

    def forward(
        self, inputs: Float[Tensor, "E R 6"], dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Float[Tensor, "E R"]:
        """Increments of rows of z-scored inputs; `dropout` is the rate after each hidden layer."""
        return self._from_first(torch.baddbmm(self.biases[0], inputs, self.weights[0]), dropout, generator)

    def on_grid(self, pulse: Float[Tensor, "E N"], settings: Float[Tensor, "E G 5"]) -> Float[Tensor, "E G N"]:
        """Increments of every pulse at every setting, both z-scored; the first layer is computed for each once."""
        weight, (count, groups) = self.weights[0], settings.shape[:2]
        of_setting = torch.baddbmm(self.biases[0], settings, weight[:, 1:])  # [E, G, H]
        of_pulse = pulse[:, :, None] * weight[:, :1]  # [E, N, H]
        first = (of_setting[:, :, None] + of_pulse[:, None]).view(count, groups * pulse.shape[1], -1)
        return self._from_first(first).view(count, groups, -1)

    def _from_first(self, before: Tensor, dropout: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Outputs [E, R], from what enters the units of the first layer [E, R, H]."""
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            hidden = torch.relu(before)
            if dropout > 0.0:
                hidden = (
                    hidden * torch.empty_like(hidden).bernoulli_(1.0 - dropout, generator=generator) / (1.0 - dropout)
                )
            before = torch.baddbmm(bias, hidden, weight)
        return before[..., 0]

    def member(self, number: int) -> "PulseNetworks":
        """One of the networks, as a copy."""
        with torch.device("meta"):
            one = PulseNetworks(self.config, 1)
        state = {name: value[number : number + 1].detach().clone() for name, value in self.state_dict().items()}
        one.load_state_dict(state, strict=True, assign=True)
        return one.requires_grad_(False)


def _uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator | None) -> nn.Parameter:
    drawn = torch.rand(shape, generator=generator)
    return nn.Parameter((2.0 * drawn - 1.0) / inputs**0.5)
