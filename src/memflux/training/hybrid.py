"""The hybrid dual-input network HDiNN (Zamankhani, Data-driven modeling of hysteresis in ReRAM devices, section 4.1).

The voltage passes a convolution and an LSTM, the parameters a convolution and a dense layer; dense
layers on both give the current, time by time. The convolution over time looks back only. On a grid
of phase the period is one of the parameters, as the voltage no longer carries it.

Ours, because 16 parameters over many decades are too much for a few hundred curves without: dropout
and a linear path in the parameter branch, the peak learned from its features, and in the scaling
"peaks" a current that the dense layers give in logarithm.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import check_choice, check_integer, check_number
from memflux.training.losses import composite_loss
from memflux.training.model import AbstractModel, PeakHead, open_forget_gates, peak_error


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HybridConfig:
    """Architecture and loss of a `Hybrid`; the paper prints no sizes and no weights of the loss, so these are ours."""

    filters: int = 32
    """Channels of both convolutions."""
    kernel: int = 5
    """Points that a convolution sees: times, or neighbouring parameters."""
    units: int = 64
    """Units of the LSTM."""
    width: int = 96
    """Units of each dense layer."""
    dropout: float = 0.3
    """Share of the units of the parameter branch's dense layers that is dropped in training."""
    alpha: float = 0.5
    """Weight of the squared error against that of the increments (eq. 4)."""
    peak_weight: float = 1.0
    """Extra weight of points where the current changes fast (eq. 3)."""
    peak_threshold: float = 0.5
    """Share of a curve's largest increment above which a point counts as such."""
    times: float = 1.0
    """Share of the times whose currents are learned, drawn once at random; 0.2 as published (section 5)."""
    output: str = "peaks"
    """Scaling of the current: peaks (shape, and the peak from the parameters' features), or published (eqs. 6-8)."""

    def __post_init__(self) -> None:
        check_integer("filters", self.filters, low=1, high=4096)
        check_integer("kernel", self.kernel, low=1, high=1024)
        check_integer("units", self.units, low=1, high=4096)
        check_integer("width", self.width, low=1, high=4096)
        check_number("dropout", self.dropout, low=0.0, high=0.99)
        check_number("alpha", self.alpha, low=0.0, high=1.0)
        check_number("peak_weight", self.peak_weight, low=0.0, high=1e6)
        check_number("peak_threshold", self.peak_threshold, low=0.0, high=1.0)
        check_number("times", self.times, low=0.01, high=1.0)
        check_choice("output", self.output, ("peaks", "published"))


class Hybrid(AbstractModel):
    """Two branches, of the voltage and of the parameters, and dense layers on both."""

    learned: Tensor | None
    """Places of the times that the loss sees; None: all."""

    def __init__(self, config: HybridConfig, *, inputs: int, times: int) -> None:
        super().__init__()
        self.config, self.output = config, config.output
        width, units = config.width, config.units
        self.over_time = nn.Conv1d(1, config.filters, config.kernel)
        self.recurrent = nn.LSTM(config.filters, units, batch_first=True)
        self.over_parameters = nn.Conv1d(1, config.filters, config.kernel)
        self.dense = nn.Sequential(
            nn.Linear(config.filters * inputs, width), nn.SiLU(), nn.Dropout(config.dropout),
            nn.Linear(width, width), nn.SiLU(), nn.Dropout(config.dropout),
        )  # fmt: skip
        self.straight = nn.Linear(inputs, width, bias=False)
        # one dense layer on [sequence, features], in two parts: what is the same at all times is computed once
        self.merge = nn.Linear(units, width)
        self.merge_features = nn.Linear(width, width, bias=False)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.peak = PeakHead(width) if config.output == "peaks" else None
        open_forget_gates(self.recurrent)
        drawn = torch.randperm(times)[: max(3, round(config.times * times))].sort().values if config.times < 1 else None
        self.register_buffer("learned", drawn, persistent=False)

    def forward(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"]) -> tuple[Tensor, ...]:
        features = self.features(unit)
        merged = self.merge(self.sequence(voltage)) + self.merge_features(features)[:, None, :]
        current = self.head(merged)[:, :, 0]
        return (current,) if self.peak is None else (over_peak(current), self.peak(features)[:, 0])

    def features(self, unit: Float[Tensor, "B P"]) -> Float[Tensor, "B W"]:
        """What the parameter branch makes of the parameters."""
        kernel = self.config.kernel
        padded = nn.functional.pad(unit[:, None, :], ((kernel - 1) // 2, kernel // 2))
        seen = nn.functional.silu(self.over_parameters(padded))
        return self.straight(unit) + self.dense(seen.flatten(1))

    def sequence(self, voltage: Float[Tensor, "_ T"]) -> Float[Tensor, "_ T H"]:
        """Hidden states of the LSTM: one row for all where nothing tells the devices apart, or one each."""
        first = voltage[:, :1].expand(-1, self.config.kernel - 1)  # before its start the drive rests where it starts
        seen = nn.functional.silu(self.over_time(torch.cat([first, voltage], dim=1)[:, None, :])).mT
        return self.recurrent(seen)[0]

    def loss(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...]) -> Tensor:
        outputs, config = self(unit, voltage), self.config
        seen = slice(None) if self.learned is None else self.learned
        current, target = outputs[0][:, seen], targets[0][:, seen]
        error = composite_loss(current, target, config.alpha, config.peak_weight, config.peak_threshold)
        if self.peak is None:
            return error
        # peaks that span decades would be all that the shared features learn: counted to first order up to 1 only
        return error + peak_error(outputs, targets, self.log_peak_deviation.clamp(max=1.0))


def over_peak(logs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """sinh(logs) over its largest magnitude: a branch that is decades smaller is a few units smaller here."""
    top = logs.abs().amax(1, keepdim=True).clamp(min=1e-6)
    return ((logs - top).exp() - (-logs - top).exp()) / -torch.expm1(-2.0 * top)
