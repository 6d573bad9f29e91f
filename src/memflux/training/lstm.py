"""The published model: a sequence-to-sequence LSTM (Spetzler et al., arXiv 2505.13882, section 4.4).

One or two stacked LSTM layers, dropout, a dense head. Its channels are the scaled voltage and the
scaled parameters expanded in time; the published 5D-parametric model does not see the voltage.
On a grid of phase the period is one of the parameters, as the voltage no longer carries it.
"""

import dataclasses
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import InvalidValue, check_bool, check_choice, check_integer, check_number
from memflux.training.model import (
    OUTPUTS,
    AbstractModel,
    PeakHead,
    open_forget_gates,
    scaling_of,
    sequence_error,
    zero_voltage,
)

LstmState = tuple[Float[Tensor, "L B H"], Float[Tensor, "L B H"]]
"""Hidden and cell state of every layer: where a stream of voltages left off."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LstmConfig:
    """Architecture of an `Lstm`; the defaults are the published 5D-parametric model with the voltage as an input."""

    layers: int = 1
    """Stacked LSTM layers, 1 or 2 as published."""
    units: int = 64
    """Units of each layer."""
    dropout: float = 0.1
    """Share of the units dropped between layers and before the dense head, in training."""
    sees_voltage: bool = True
    """Whether the voltage is an input; without it the model counts time by itself."""
    output: str = "published"
    """Scaling of the current: published (eqs. 6-8), peaks (shape, and the peak from a small network beside), or
    conductance, for any drive: voltage * exp(a) + b, times a size from a small network of the parameters."""

    def __post_init__(self) -> None:
        check_integer("layers", self.layers, low=1, high=8)
        check_integer("units", self.units, low=1, high=4096)
        check_number("dropout", self.dropout, low=0.0, high=0.99)
        check_bool("sees_voltage", self.sees_voltage)
        check_choice("output", self.output, OUTPUTS)
        if self.output == "conductance" and not self.sees_voltage:
            raise InvalidValue("sees_voltage = False leaves output = 'conductance' without a voltage; let it see one.")

    @classmethod
    def preset(cls, space: str) -> Self:
        """The published settings of a data set (Table 3): "2d", "4d", "5d", "7d", "9d" or "5d-parametric"."""
        check_choice("preset", space, ("2d", "4d", "5d", "7d", "9d", "5d-parametric"))
        if space == "5d-parametric":
            return cls(layers=1, units=64, sees_voltage=False)
        return cls(layers=2, units=144)

    @classmethod
    def any_drive(cls) -> Self:
        """What answers for any drive."""
        return cls(dropout=0.0, output="conductance")


class Lstm(AbstractModel):
    """Voltage and parameters to a scaled current, step by step."""

    zero_voltage: Tensor  # [], the scaled voltage of 0 V

    def __init__(self, config: LstmConfig, *, inputs: int, times: int) -> None:
        super().__init__()
        self.config, self.output, self.sees_voltage = config, scaling_of(config.output), config.sees_voltage
        self.recurrent = nn.LSTM(
            inputs + config.sees_voltage,
            config.units,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.units, 2 if config.output == "conductance" else 1)
        self.peak = PeakHead(inputs) if self.output == "peaks" else None
        if config.output == "conductance":
            self.register_buffer("zero_voltage", torch.zeros(()))
        open_forget_gates(self.recurrent)

    @torch.no_grad()
    def prepare(
        self, unit: Float[Tensor, "N P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...], deviation: float
    ) -> None:
        if self.config.output == "conductance":
            self.zero_voltage.copy_(zero_voltage(voltage, targets[0]))
        super().prepare(unit, voltage, targets, deviation)

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """The matrices from state to gates apart: Muon trains them to a quarter of the error that Adam does."""
        hidden = [p for name, p in self.recurrent.named_parameters() if name.startswith("weight_hh")]
        others = [p for p in self.parameters() if all(p is not matrix for matrix in hidden)]
        return [
            {"params": hidden, "weight_decay": weight_decay, "hidden": True},
            {"params": others, "weight_decay": 0.0},
        ]

    def forward(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"]) -> tuple[Tensor, ...]:
        curve, _ = self.stream(unit, voltage)
        return (curve,) if self.peak is None else (curve, self.peak(unit)[:, 0])

    def stream(
        self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], state: LstmState | None = None
    ) -> tuple[Float[Tensor, "B T"], LstmState]:
        """The scaled current [B, T] of a stretch of drive and the state at its end; None: at rest."""
        channels = unit[:, None, :].expand(-1, voltage.shape[1], -1)
        if self.sees_voltage:
            # shape and not len, which torch.export takes for a constant
            channels = torch.cat([voltage.expand(unit.shape[0], -1)[:, :, None], channels], dim=2)
        hidden, state = self.recurrent(channels, state)
        made = self.head(self.dropout(hidden))
        if self.config.output != "conductance":
            return made[:, :, 0], state
        return 2.0 * (voltage - self.zero_voltage) * made[:, :, 0].exp() + made[:, :, 1], state

    def loss(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...]) -> Tensor:
        return sequence_error(self.config.output, self(unit, voltage), targets, self.log_peak_deviation)
