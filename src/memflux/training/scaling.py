"""Frozen scalings between SI and the dimensionless numbers a model is trained on.

A scaling is measured once on the training set, saved with the model and never changed. All are
JSON-ready through `to_dict` and `from_dict`.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from memflux.device import Devices
from memflux.errors import InvalidValue, check_choice, check_names, check_number
from memflux.space import DRIVE_PARAMETERS, Parameter, Space, drive_numbers
from memflux.waveform import Waveform


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InputScaling:
    """Parameter values in SI (eV) to [0, 1], by the logarithm where the parameter is on a log scale."""

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, space: Space) -> Self:
        """The scaling that maps the box of `space` to the unit cube; without the amplitude of a random drive.

        What answers for any drive sees every voltage, and an amplitude could say no more.
        """
        seen = (p for p in space.parameters if space.drive == "triangle" or p.name != "amplitude")
        return cls(parameters=tuple(seen))

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, the columns of every array here."""
        return tuple(p.name for p in self.parameters)

    def values(self, devices: Devices, drive: Waveform) -> Float[np.ndarray, "B P"]:
        """Parameter values of a batch, SI (eV).

        Raises InvalidValue where a parameter on a log scale is not positive.
        """
        columns = []
        resolved, numbers = devices.resolved(), drive_numbers(drive)
        for p in self.parameters:
            given = numbers[p.name] if p.name in DRIVE_PARAMETERS else getattr(resolved, p.name)
            column = np.broadcast_to(given, (len(devices),)).astype(np.float64)
            if p.log and (column <= 0).any():
                raise InvalidValue(
                    f"{p.name} = {column.min():g} {p.unit} has no logarithm, which it is scaled by; make it positive."
                )
            columns.append(column)
        return np.stack(columns, axis=1)

    def scale(self, values: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """Values to [0, 1]; beyond it outside the box."""
        low, span, log = self.box()
        return (np.where(log, np.log(np.where(log, values, 1.0)), values) - low) / span

    def unscale(self, unit: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """The inverse of `scale`."""
        low, span, log = self.box()
        flat = low + unit * span
        return np.where(log, np.exp(np.where(log, flat, 0.0)), flat)

    def slope(self, values: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """d scale(values) / d values, per SI unit (eV)."""
        _, span, log = self.box()
        return np.where(log, 1.0 / np.where(log, values, 1.0), 1.0) / span

    def box(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower ends and widths [P], in the logarithm where flagged."""
        log = np.array([p.log for p in self.parameters])
        low = np.array([math.log(p.low) if p.log else p.low for p in self.parameters])
        high = np.array([math.log(p.high) if p.log else p.high for p in self.parameters])
        return low, high - low, log

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"parameters": [dataclasses.asdict(p) for p in self.parameters]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`."""
        check_names("field of an input scaling", fields, ["parameters"])
        return cls(parameters=tuple(Parameter(**p) for p in fields["parameters"]))  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VoltageScaling:
    """Voltages to [0, 1] over the range of the training set (arXiv 2505.13882, section 4.3)."""

    low: float  # V
    high: float  # V

    def __post_init__(self) -> None:
        check_number("low", self.low, low=-1e6, high=1e6, unit="V")
        check_number("high", self.high, low=self.low, high=1e6, unit="V")

    @classmethod
    def fit(cls, voltage: Float[np.ndarray, "B T"]) -> Self:
        """Measure the range on training voltages [V]."""
        return cls(low=float(voltage.min()), high=float(voltage.max()))

    def scale(self, voltage: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Voltages [V] to [0, 1]; beyond it outside the range. A range of one value goes to 0."""
        return (voltage - self.low) / self.span

    @property
    def span(self) -> float:
        """Width of the range [V], 1 where it has none."""
        return (self.high - self.low) or 1.0

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**fields)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PeakScaling:
    """Peak and shape apart: current = peak * shape, with the natural logarithm of the peak standardised.

    `peak` is the largest magnitude of a curve over all its cycles [A].
    """

    kind: ClassVar[str] = "peaks"
    mean: float  # of ln(peak / A)
    deviation: float  # of ln(peak / A)

    def __post_init__(self) -> None:
        check_number("mean", self.mean, low=-1e3, high=1e3)
        check_number("deviation", self.deviation, low=1e-9, high=1e3)

    @classmethod
    def fit(cls, current: Float[np.ndarray, "B T"]) -> Self:
        """Measure mean and deviation on training currents [A]."""
        logs = np.log(_peaks(current))
        return cls(mean=float(logs.mean()), deviation=max(float(logs.std()), 1e-6))

    def scale(self, current: Float[np.ndarray, "B T"]) -> tuple[Float[np.ndarray, "B T"], Float[np.ndarray, " B"]]:
        """Currents [A] to shapes [B, T] of peak magnitude 1 and standardised log peaks [B]."""
        peak = _peaks(current)
        return current / peak[:, None], (np.log(peak) - self.mean) / self.deviation

    def unscale(self, shape: Any, log_peak: Any, *, xp: ModuleType = np) -> Any:
        """The inverse of `scale`: currents [A] of shapes [B, T] and log peaks [B]; `xp` is numpy, or torch."""
        return shape * xp.exp(self.mean + self.deviation * log_peak)[:, None]

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**fields)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublishedScaling:
    """The published scaling of the current (Spetzler et al., arXiv 2505.13882, eqs. 6-8).

    Reading: `mean` and `deviation` belong to the log-normal fit of the maxima and are in natural
    logarithm, the data enter as log10; with one logarithm for both, `standard_mean` would be
    exactly 0 and eq. 7 would divide by it. The maximum of a curve is that of its magnitude, so
    that a rectifying curve is not blown up by its small branch.
    """

    kind: ClassVar[str] = "published"
    mean: float  # of ln(max|I| / A)
    deviation: float  # of ln(max|I| / A)
    standard_mean: float  # mean of the standardised maxima (eq. 6)

    def __post_init__(self) -> None:
        check_number("mean", self.mean, low=-1e3, high=1e3)
        check_number("deviation", self.deviation, low=1e-9, high=1e3)
        check_number("standard_mean", self.standard_mean, low=1e-9, high=1e9)

    @classmethod
    def fit(cls, current: Float[np.ndarray, "B T"]) -> Self:
        """Measure the three numbers on training currents [A]."""
        peak = _peaks(current)
        mean, deviation = float(np.log(peak).mean()), max(float(np.log(peak).std()), 1e-6)
        standard = (np.log10(peak) - mean) / deviation
        if (standard <= 0).any():
            raise InvalidValue(
                f"the smallest peak current is {peak.min():g} A; the published scaling is defined where the log10 of "
                f"every peak exceeds {mean:g}, their mean natural logarithm; leave out smaller curves."
            )
        return cls(mean=mean, deviation=deviation, standard_mean=float(standard.mean()))

    def scale(self, current: Float[np.ndarray, "B T"]) -> Float[np.ndarray, "B T"]:
        """Eqs. 6 and 7: currents [A] to scaled currents whose maxima lie around 1; a zero curve stays zero.

        Raises InvalidValue for a peak of 10**mean A or less, where the scaled maximum is not positive.
        """
        peak = np.abs(current).max(axis=1)
        some = peak > 0
        standard = (np.log10(np.where(some, peak, 1.0)) - self.mean) / self.deviation
        if (some & (standard <= 0)).any():
            raise InvalidValue(
                f"current has a peak of {peak[some].min():g} A; the published scaling is defined above "
                f"{10**self.mean:g} A only."
            )
        factor = standard / (np.where(some, peak, 1.0) * self.standard_mean)
        return current * np.where(some, factor, 0.0)[:, None]

    def unscale(self, scaled: Any, *, xp: ModuleType = np) -> Any:
        """Eq. 8: scaled currents [B, T] to A; `xp` is numpy, or torch for gradients."""
        peak = xp.amax(xp.abs(scaled), 1)
        some = peak > 0
        size = 10.0 ** (self.standard_mean * peak * self.deviation + self.mean)
        return scaled * xp.where(some, size / xp.where(some, peak, 1.0), 0.0)[:, None]

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**fields)  # type: ignore[arg-type]


OutputScaling = PeakScaling | PublishedScaling
_OUTPUTS = {scaling.kind: scaling for scaling in (PeakScaling, PublishedScaling)}


def fit_output(kind: str, current: Float[np.ndarray, "B T"]) -> OutputScaling:
    """The scaling "peaks" or "published", measured on training currents [A]."""
    return _OUTPUTS[check_choice("output", kind, _OUTPUTS)].fit(current)


def targets_of(scaling: OutputScaling, current: Float[np.ndarray, "B T"]) -> tuple[np.ndarray, ...]:
    """What a model of that scaling is trained to answer: (shape, log peak) or (scaled current,)."""
    scaled = scaling.scale(current)
    return scaled if isinstance(scaled, tuple) else (scaled,)


def output_to_dict(scaling: OutputScaling) -> dict[str, object]:
    """JSON-ready, with the kind."""
    return {"kind": scaling.kind, **scaling.to_dict()}


def output_from_dict(fields: Mapping[str, object]) -> OutputScaling:
    """The inverse of `output_to_dict`."""
    rest = dict(fields)
    return _OUTPUTS[check_choice("kind", rest.pop("kind"), _OUTPUTS)].from_dict(rest)


def _peaks(current: np.ndarray) -> np.ndarray:
    """Peak magnitude of every curve [A], or InvalidValue where a curve is zero or not finite."""
    peak = np.abs(current).max(axis=1)
    if not (np.isfinite(peak) & (peak > 0)).all():
        row = int(np.flatnonzero(~(np.isfinite(peak) & (peak > 0)))[0])
        raise InvalidValue(f"current[{row}] has a peak of {peak[row]:g} A; give finite curves that are not zero.")
    return peak
