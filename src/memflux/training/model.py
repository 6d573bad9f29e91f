"""What every architecture answers: scaled parameters and voltage to scaled curves.

B is the batch, P the number of parameters, T the number of times. The outputs of a model are what
its output scaling makes of a current: (shape [B, T], log peak [B]) for "peaks", (current [B, T],)
for "published".
"""

import abc
import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import InvalidValue

OUTPUTS = ("published", "peaks", "conductance")  # of the sequence models


def scaling_of(output: str) -> str:
    """The output scaling of a sequence model: shape and size apart for a conductance, too."""
    return "peaks" if output == "conductance" else output


class AbstractModel(nn.Module, abc.ABC):
    """A network between scaled numbers; what is measured on a training set are buffers, set by `prepare`."""

    config: Any  # the frozen config it was built from
    output: str  # kind of output scaling: "peaks" or "published"
    sees_voltage: bool = True  # False: only the number of times of the voltage matters
    log_peak_deviation: Tensor  # [], of ln(peak): turns an error of the standardised log peak into one of the curve

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_peak_deviation", torch.ones(()))

    def prepare(
        self,
        unit: Float[Tensor, "N P"],
        voltage: Float[Tensor, "_ T"],
        targets: tuple[Tensor, ...],
        deviation: float,
    ) -> None:
        """Measure on a training set (float64) what is not learned; `deviation` is that of ln(peak)."""
        self.log_peak_deviation.fill_(deviation)

    @abc.abstractmethod
    def forward(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"]) -> tuple[Tensor, ...]:
        """Scaled curves; `voltage` has one row for all or one each."""

    @abc.abstractmethod
    def loss(self, unit: Float[Tensor, "B P"], voltage: Float[Tensor, "_ T"], targets: tuple[Tensor, ...]) -> Tensor:
        """What training lowers, a scalar: the mean over the batch."""

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Parameter groups of the optimiser; biases do not decay."""
        named = list(self.named_parameters())
        return [
            {"params": [p for name, p in named if "bias" not in name], "weight_decay": weight_decay},
            {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
        ]


def curve_error(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], deviation: Tensor) -> Tensor:
    """Mean squared error of scaled curves; an error of the log peak counts as the curve's that it causes."""
    error = (outputs[0] - targets[0]).square().mean()
    return error if len(outputs) == 1 else error + peak_error(outputs, targets, deviation)


def product_error(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], deviation: Tensor) -> Tensor:
    """Mean squared error of the product of shape and size over the true peak.

    For any drive, whose peak no function of the parameters is. Where one is, `curve_error` trains to a third of
    the error, as it tells the two apart.
    """
    size = (deviation * (outputs[1] - targets[1])).exp()[:, None]
    return (outputs[0] * size - targets[0]).square().mean()


def sequence_error(output: str, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], deviation: Tensor) -> Tensor:
    """The loss of a sequence model with that output."""
    error = product_error if output == "conductance" else curve_error
    return error(outputs, targets, deviation)


def zero_voltage(voltage: Float[Tensor, "_ T"], current: Float[Tensor, "N T"]) -> Float[Tensor, ""]:
    """The scaled voltage of 0 V: that where the training currents vanish, for most drives where they start, at rest."""
    return voltage[:, current.abs().mean(0).argmin()].mean()


def peak_error(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], deviation: Tensor) -> Tensor:
    """Mean squared error of curves [B, T] that their log peaks [B] cause, to first order."""
    weight = targets[0].square().mean(1)
    return (deviation * (outputs[1] - targets[1])).square().mul(weight).mean()


@torch.no_grad()
def open_forget_gates(recurrent: nn.LSTM) -> None:
    """Forget gates open (Jozefowicz et al., ICML 2015): gradients reach back over the whole drive."""
    n = recurrent.hidden_size
    for name, bias in recurrent.named_parameters():
        if name.startswith("bias_ih"):
            bias[n : 2 * n] = 1.0


@contextlib.contextmanager
def asked_of(device: str) -> Iterator[None]:
    """What torch says of a device that it cannot use, as one sentence."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        raise InvalidValue(f"device = {device!r} cannot be used ({error}); give 'cpu' or 'cuda'.") from None


class PeakHead(nn.Sequential):
    """Scaled parameters [B, P] to the standardised log peak [B, 1], beside a model of the shape."""

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
