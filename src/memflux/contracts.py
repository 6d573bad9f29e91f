"""The one protocol of the platform: solver, surrogate and endpoint all answer it.

An analysis takes a `Predictor` (or a `Differentiable`) and never knows which one it holds.
"""

import dataclasses
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from memflux.device import Devices
from memflux.errors import InvalidValue, check_choice, check_integer, check_names, check_number, check_numbers
from memflux.space import DRIVE_PARAMETERS
from memflux.traces import Traces
from memflux.waveform import Waveform


@runtime_checkable
class Predictor(Protocol):
    """Devices and a drive to traces, in SI units."""

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        """Traces [B, T] of B devices; `drive` is one for all or a batch of B."""
        ...


COSTS = ("log_curve", "curve")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CurveCost:
    """Distance of predicted currents from one target curve, as data: never code.

    kind "log_curve" is the published cost (arXiv 2505.13882, eq. 12): the mean relative error of
    log10|I|. kind "curve" is the mean squared difference over the squared peak of the target.
    Samples whose |target| is below `floor` do not count.
    """

    kind: str
    target: np.ndarray  # A, [S]: the target current on the phase grid of one cycle, end included
    cycle: int = -1
    floor: float = 1e-15  # A

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, COSTS)
        object.__setattr__(self, "target", check_numbers("target", self.target, low=-1e6, high=1e6, unit="A"))
        check_integer("cycle", self.cycle, low=-1000, high=1000)
        check_number("floor", self.floor, low=1e-300, high=1e3, unit="A")
        if not (np.abs(self.target) > self.floor).any():
            raise InvalidValue(f"target has no current above floor = {self.floor:g} A; lower the floor.")

    def __call__(self, current: Any, cycles: int, xp: ModuleType = np) -> Any:
        """Cost [B] of currents [B, T] over `cycles` cycles; `xp` is numpy, or torch for gradients."""
        samples = self.target.size - 1
        if current.shape[1] != cycles * samples + 1:
            raise InvalidValue(
                f"target has {self.target.size} samples for one cycle and the prediction "
                f"{current.shape[1]} for {cycles}; resample the target to {(current.shape[1] - 1) // cycles + 1}."
            )
        if not -cycles <= self.cycle < cycles:
            raise InvalidValue(f"cycle = {self.cycle} is out of range; give 0 to {cycles - 1}, or -1 for the last.")
        first = (self.cycle % cycles) * samples
        part = current[:, first : first + samples + 1]
        counts = xp.asarray(np.abs(self.target) > self.floor)
        target = xp.asarray(np.where(np.abs(self.target) > self.floor, self.target, 0.1))  # any but 1: its log divides
        if self.kind == "curve":
            error = ((part - target) / np.abs(self.target).max()) ** 2
        else:
            wanted = xp.log10(xp.abs(target))
            wanted = xp.where(xp.abs(wanted) < 1e-3, 1e-3 + 0.0 * wanted, wanted)  # 1 A has no relative error
            error = xp.abs((wanted - xp.log10(xp.abs(part) + self.floor)) / wanted)
        return (error * counts).sum(-1) / counts.sum()

    def to_dict(self) -> dict[str, object]:
        """Kind and parameters, JSON-ready."""
        return dataclasses.asdict(self) | {"target": self.target.tolist()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> "CurveCost":
        """The inverse of `to_dict`; unknown fields are refused."""
        check_names("field of a cost", fields, [f.name for f in dataclasses.fields(cls)])
        if missing := {"kind", "target"} - set(fields):
            raise InvalidValue(f"the cost has no {', '.join(sorted(missing))}; give kind and target.")
        return cls(**(dict(fields) | {"target": np.asarray(fields["target"])}))  # type: ignore[arg-type]


@runtime_checkable
class Differentiable(Predictor, Protocol):
    """A predictor that knows the gradient of a cost with respect to its parameters."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the P parameters, the columns of the gradient."""
        ...

    def value_and_gradient(self, devices: Devices, drive: Waveform, cost: CurveCost) -> tuple[np.ndarray, np.ndarray]:
        """Cost [B] and its gradient [B, P] per SI unit (eV for energies) of each parameter."""
        ...


def finite_difference_gradient(
    predict: Predictor,
    devices: Devices,
    drive: Waveform,
    cost: CurveCost,
    parameters: tuple[str, ...],
    relative_step: float = 1e-4,
) -> tuple[np.ndarray, np.ndarray]:
    """Cost [B] and central-difference gradient [B, P] for predictors without one of their own."""

    def value(shifted: Devices, shifted_drive: Waveform) -> np.ndarray:
        traces = predict(shifted, shifted_drive)
        return np.where(traces.ok, cost(traces.current, traces.cycles), np.nan)

    gradient = np.empty((len(devices), len(parameters)))
    for column, name in enumerate(parameters):
        in_drive = name in DRIVE_PARAMETERS
        base = np.broadcast_to(getattr(drive if in_drive else devices.resolved(), name), (len(devices),))
        if np.isnan(base).any():
            raise InvalidValue(f"{name} is not given for every device and has no gradient; leave it out or give it.")
        step = relative_step * np.where(base == 0.0, np.abs(base).max() or 1.0, np.abs(base))
        ends = []
        for sign in (1.0, -1.0):
            moved: dict[str, Any] = {name: base + sign * step}
            ends.append(
                value(devices, dataclasses.replace(drive, **moved))
                if in_drive
                else value(devices.replace(**moved), drive)
            )
        gradient[:, column] = (ends[0] - ends[1]) / (2.0 * step)
    return value(devices, drive), gradient
