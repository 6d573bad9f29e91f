"""The absolute scale of a pulse curve in A: its first read current and its range, from the settings.

A ridge regression of log10 on the z-scored settings. No device ids are measured, and at one setting both span one and
a half decades from device to device, so most of the deviation stays; a first read current that is known says more.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memflux.errors import InvalidValue, check_numbers
from memflux.pulse_curves import PulseCurves

RIDGE = 3.0  # curves' worth of pull towards no dependence
FEWEST = 3  # curves with a positive first current


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AbsoluteScale:
    """log10 of first current and range [A] = weights . (1, z-scored settings); the range also given the first."""

    center: Float[np.ndarray, " 5"]
    scale: Float[np.ndarray, " 5"]
    first: Float[np.ndarray, " 6"]
    range: Float[np.ndarray, " 6"]
    range_given_first: Float[np.ndarray, " 7"]  # the last weight is of log10 of the first current
    deviation: Float[np.ndarray, " 3"]  # decades, of the residuals of the three

    @classmethod
    def fit(cls, curves: PulseCurves) -> Self:
        """The regression over the curves whose first current is positive."""
        good = curves.current[:, 0] > 0.0
        if int(good.sum()) < FEWEST:
            raise InvalidValue(f"{int(good.sum())} curves begin with a positive current; give at least {FEWEST}.")
        settings = curves.settings[good]
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
            deviation=np.array([np.sqrt(np.mean(r**2)) for r in residuals]),
        )  # fmt: skip

    def at(
        self, settings: Float[np.ndarray, "S 5"], first: Float[np.ndarray, " S"] | None = None
    ) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
        """First read current and range [A]; with a measured `first`, the range of that device."""
        plain = np.column_stack([np.ones(len(settings)), (settings - self.center) / self.scale])
        if first is None:
            return 10.0 ** (plain @ self.first), 10.0 ** (plain @ self.range)
        first = check_numbers("first", first, low=1e-15, high=1.0, unit="A")
        if first.shape != (len(settings),):
            raise InvalidValue(f"first has {first.size} currents for {len(settings)} settings; give one a setting.")
        return first, 10.0 ** (np.column_stack([plain, np.log10(first)]) @ self.range_given_first)

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-ready."""
        return {field.name: getattr(self, field.name).tolist() for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; InvalidValue for wrong lengths or what is not finite."""
        lengths = {"center": 5, "scale": 5, "first": 6, "range": 6, "range_given_first": 7, "deviation": 3}
        return cls(**{name: vector(name, fields[name], length) for name, length in lengths.items()})


def vector(name: str, values: object, length: int) -> np.ndarray:
    """A finite float64 array of a given length, or InvalidValue."""
    array = check_numbers(name, values, low=-1e12, high=1e12)
    if array.size != length:
        raise InvalidValue(f"{name} has {array.size} numbers; give {length}.")
    return array


def ridge(inputs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares with a penalty on all weights but the constant's, whose column is the first."""
    pull = RIDGE * np.eye(inputs.shape[1])
    pull[0, 0] = 0.0
    mean = np.concatenate([[0.0], inputs[:, 1:].mean(axis=0)])  # so that the constant is free
    weights = np.linalg.solve((inputs - mean).T @ (inputs - mean) + pull, (inputs - mean).T @ target)
    weights[0] -= mean[1:] @ weights[1:]
    return weights
