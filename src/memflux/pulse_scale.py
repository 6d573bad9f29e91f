"""The absolute scale of a pulse curve in A: first read current and range, from the settings.

A ridge regression of log10 on the z-scored settings, durations as their log10. No device ids are measured, and at one
setting both span one and a half decades from device to device, so most of the deviation stays; a first read current
that is known says more.
How the range of *one* device depends on the setting is another question, since settings and devices were not mixed
evenly. It is answered from the differences of successive curves, most of which are of one device (ids are taken for
the order of measurement): least absolute deviations, which a change of device among them does not disturb.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memflux.errors import InvalidValue, check_numbers
from memflux.pulse_curves import UNITS, PulseCurves

SHORTEST = 1e-9  # s, what a duration of zero counts as
RIDGE = 3.0  # curves' worth of pull towards no dependence
PULL = 1.0  # the same for differences of successive curves
REWEIGHTED = 30  # rounds
NEAR = 0.02  # decades, of a difference that is told no further apart
FEWEST = 3  # curves with a positive first current


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AbsoluteScale:
    """log10 of first current and range [A] = weights . (1, z-scored settings); the range also given the first."""

    center: Float[np.ndarray, " 5"]
    scale: Float[np.ndarray, " 5"]
    first: Float[np.ndarray, " 6"]
    range: Float[np.ndarray, " 6"]
    range_given_first: Float[np.ndarray, " 7"]  # the last weight is of log10 of the first current
    relative: Float[np.ndarray, " 5"]  # weights of log10 of the range of one device
    deviation: Float[np.ndarray, " 3"]  # decades, of the residuals of the three

    @classmethod
    def fit(cls, curves: PulseCurves) -> Self:
        """The regression over the curves whose first current is positive."""
        good = curves.current[:, 0] > 0.0
        if int(good.sum()) < FEWEST:
            raise InvalidValue(f"{int(good.sum())} curves begin with a positive current; give at least {FEWEST}.")
        settings = _logarithmic(curves.settings[good])
        center, spread = settings.mean(axis=0), settings.std(axis=0)
        scale = np.where(spread > 1e-9 * np.maximum(np.abs(center), 1e-9), spread, 1.0)
        first = np.log10(curves.current[good, 0])
        span = np.log10(np.ptp(curves.current[good], axis=1))
        plain = np.column_stack([np.ones(len(settings)), (settings - center) / scale])
        known = np.column_stack([plain, first])
        weights = [ridge(plain, first), ridge(plain, span), ridge(known, span)]
        residuals = [first - plain @ weights[0], span - plain @ weights[1], span - known @ weights[2]]
        return cls(
            center=center, scale=scale, first=weights[0], range=weights[1], range_given_first=weights[2],
            relative=_differenced(plain[:, 1:], span, curves.ids[good]),
            deviation=np.array([np.sqrt(np.mean(r**2)) for r in residuals]),
        )  # fmt: skip

    def at(
        self, settings: Float[np.ndarray, "S 5"], first: Float[np.ndarray, " S"] | None = None
    ) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
        """First read current and range [A]; with a measured `first`, the range of that device."""
        plain = np.column_stack([np.ones(len(settings)), (_logarithmic(settings) - self.center) / self.scale])
        if first is None:
            return 10.0 ** (plain @ self.first), 10.0 ** (plain @ self.range)
        first = check_numbers("first", first, low=1e-15, high=1.0, unit="A")
        return first, 10.0 ** (np.column_stack([plain, np.log10(first)]) @ self.range_given_first)

    def relative_range(self, settings: Float[np.ndarray, "S 5"], reference: int) -> Float[np.ndarray, " S"]:
        """Ranges that one device has at the settings, over that at the setting number `reference`."""
        z = (_logarithmic(settings) - self.center) / self.scale
        return 10.0 ** ((z - z[reference]) @ self.relative)

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-ready."""
        return {field.name: getattr(self, field.name).tolist() for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; InvalidValue for wrong lengths or what is not finite."""
        lengths = {
            "center": 5,
            "scale": 5,
            "first": 6,
            "range": 6,
            "range_given_first": 7,
            "relative": 5,
            "deviation": 3,
        }
        return cls(**{name: vector(name, fields[name], length) for name, length in lengths.items()})


def vector(name: str, values: object, length: int) -> np.ndarray:
    """A finite float64 array of a given length, or InvalidValue."""
    array = check_numbers(name, values, low=-1e12, high=1e12)
    if array.size != length:
        raise InvalidValue(f"{name} has {array.size} numbers; give {length}.")
    return array


def _logarithmic(settings: np.ndarray) -> np.ndarray:
    """The settings with log10 of their durations."""
    columns = [k for k, unit in enumerate(UNITS) if unit == "s"]
    changed = settings.copy()
    changed[:, columns] = np.log10(np.maximum(settings[:, columns], SHORTEST))
    return changed


def _differenced(settings: np.ndarray, target: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Weights of the settings for the least absolute deviation of successive differences, by reweighting."""
    order = np.argsort(ids, kind="stable")
    inputs, change = np.diff(settings[order], axis=0), np.diff(target[order])
    moved = np.abs(inputs).max(axis=1) > 0.0
    if not moved.any():
        return np.zeros(settings.shape[1])
    inputs, change = inputs[moved], change[moved]
    weights, importance = np.zeros(settings.shape[1]), np.ones(len(change))
    for _ in range(REWEIGHTED):
        pull = PULL * max(1.0, float(importance.mean())) * np.eye(settings.shape[1])
        weights = np.linalg.solve((inputs.T * importance) @ inputs + pull, (inputs.T * importance) @ change)
        importance = 1.0 / np.maximum(np.abs(change - inputs @ weights), NEAR)
    return weights


def ridge(inputs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares with a penalty on all weights but the constant's, whose column is the first."""
    pull = RIDGE * np.eye(inputs.shape[1])
    pull[0, 0] = 0.0
    mean = np.concatenate([[0.0], inputs[:, 1:].mean(axis=0)])  # so that the constant is free
    weights = np.linalg.solve((inputs - mean).T @ (inputs - mean) + pull, (inputs - mean).T @ target)
    weights[0] -= mean[1:] @ weights[1:]
    return weights
