"""How far the largest error of a curve exceeds the usual one, device by device.

An estimate of the error may be right on average and still too small for devices whose errors have
heavy tails. ln g = w . z, with z the standardised monomials of the scaled parameters up to degree
2 and the size of the estimate and its unevenness along the curve, minimises the mean of
(score / g)^8 / 8 + ln g: a high power, so that rare large scores decide.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memflux.errors import check_names, check_numbers

POWER = 8
RIDGE = 0.05
STEPS = 100
LARGEST = 50.0  # exponent; beyond it a step of Newton's method would overflow


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tail:
    """A factor for each device; right up to a constant."""

    mean: Float[np.ndarray, " F"]  # of the features before they are standardised
    deviation: Float[np.ndarray, " F"]
    weights: Float[np.ndarray, " G"]  # of 1 and the features

    @classmethod
    def fit(
        cls, unit: Float[np.ndarray, "N P"], size: Float[np.ndarray, "N T"], score: Float[np.ndarray, " N"]
    ) -> Self:
        """Fit to the largest |error| / size of each curve, by Newton's method; the problem is convex."""
        features = _features(unit, size)
        mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
        z = np.hstack([np.ones((len(features), 1)), (features - mean) / deviation])
        log_score = np.log(np.maximum(score, 1e-12))
        ridge = np.full(z.shape[1], RIDGE)
        ridge[0] = 0.0  # a constant factor costs nothing
        weights = np.zeros(z.shape[1])
        weights[0] = log_score.max()  # from above, where no power overflows
        for _ in range(STEPS):
            power = _powers(z, weights, log_score)
            slope = z.T @ (1.0 - power) / len(z) + ridge * weights
            curvature = (z.T * (POWER * power)) @ z / len(z) + np.diag(ridge + 1e-9)
            step = np.linalg.solve(curvature, slope)
            step *= min(1.0, 1.0 / np.abs(z @ step).max(initial=1e-30))  # a change of e at most, or it overshoots
            while _cost(z, weights - step, log_score, ridge) > _cost(z, weights, log_score, ridge) + 1e-12:
                step = 0.5 * step
            weights = weights - step
            if np.abs(step).max() < 1e-9:
                break
        return cls(mean=mean, deviation=deviation, weights=weights)

    def __call__(self, unit: Float[np.ndarray, "B P"], size: Float[np.ndarray, "B T"]) -> Float[np.ndarray, "B 1"]:
        """The factor of each device."""
        z = (_features(unit, size) - self.mean) / self.deviation
        return np.exp(np.clip(self.weights[0] + z @ self.weights[1:], -LARGEST, LARGEST))[:, None]

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {f.name: getattr(self, f.name).tolist() for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown fields are refused."""
        names = [f.name for f in dataclasses.fields(cls)]
        check_names("field of a tail", fields, names)
        return cls(**{name: check_numbers(name, fields[name], low=-1e12, high=1e12) for name in names})


def _features(unit: Float[np.ndarray, "B P"], size: Float[np.ndarray, "B T"]) -> Float[np.ndarray, "B F"]:
    x = 2.0 * unit - 1.0
    i, j = np.triu_indices(x.shape[1])
    usual, most = size.mean(axis=1), size.max(axis=1)
    return np.hstack([x, x[:, i] * x[:, j], np.log(usual)[:, None], np.log(most / usual)[:, None]])


def _powers(z: np.ndarray, weights: np.ndarray, log_score: np.ndarray) -> Float[np.ndarray, " N"]:
    return np.exp(np.minimum(POWER * (log_score - z @ weights), LARGEST))


def _cost(z: np.ndarray, weights: np.ndarray, log_score: np.ndarray, ridge: np.ndarray) -> float:
    fit = (_powers(z, weights, log_score) / POWER + z @ weights).mean()
    return float(fit + 0.5 * (ridge * weights**2).sum())
