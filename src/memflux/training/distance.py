"""How far a query lies from the devices a surrogate was trained on, in its scaled parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from memflux.errors import InvalidValue, check_integer, check_names, check_number, check_numbers

POINTS = 1024  # training devices kept
NEIGHBOURS = 5  # whose mean distance counts: one alone would call a query beside an outlier near
USUAL = 0.99  # share of the training set that lies within distance 1 of its others


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Distance:
    """Mean distance to the nearest training points, relative to what is usual within the training set.

    At most 1,024 points are kept, drawn at random, so that they are as dense where the set is. A fresh
    device drawn like the training set exceeds 1 with a probability of about 1 %. In many dimensions the
    usual distance is large; a box is better checked by `coverage`, this finds its holes and thin parts.
    """

    points: Float[np.ndarray, "M P"]  # scaled parameters, to six digits
    typical: float  # distance that 99 % of the points have to their neighbours, or less

    def __post_init__(self) -> None:
        points = check_numbers("points", self.points, low=-1e6, high=1e6, ndim=2)
        if len(points) <= NEIGHBOURS or points.shape[1] == 0:
            raise InvalidValue(f"points has shape {points.shape}; give at least {NEIGHBOURS + 1} of some parameters.")
        object.__setattr__(self, "points", points)
        check_number("typical", self.typical, low=1e-12, high=1e9)

    @classmethod
    def fit(cls, unit: Float[np.ndarray, "N P"], seed: int = 0) -> Self:
        """Measure on the scaled parameters of a training set; `seed` draws the points kept.

        Raises InvalidValue for fewer than six points or numbers that are not finite.
        """
        unit = check_numbers("unit", unit, low=-1e6, high=1e6, ndim=2)
        seed = check_integer("seed", seed, low=0, high=2**63 - 1)
        kept = np.sort(np.random.default_rng(seed).permutation(len(unit))[:POINTS])
        points = np.round(unit[kept], 6)
        if len(points) <= NEIGHBOURS:
            raise InvalidValue(f"unit has {len(points)} rows; give at least {NEIGHBOURS + 1} training devices.")
        # the nearest of a point is itself
        near = KDTree(points).query(points, NEIGHBOURS + 1)[0][:, 1:].mean(axis=1)
        return cls(points=points, typical=max(float(np.quantile(near, USUAL)), 1e-6))

    def __call__(self, unit: Float[np.ndarray, "B P"]) -> Float[np.ndarray, " B"]:
        """Relative distance of each query; above 1 it is farther from the training set than usual.

        Raises InvalidValue for another number of parameters or numbers that are not finite.
        """
        unit = check_numbers("unit", unit, low=-1e300, high=1e300, ndim=2)
        if unit.shape[1] != self.points.shape[1]:
            raise InvalidValue(
                f"unit has {unit.shape[1]} parameters and the training set {self.points.shape[1]}; give those."
            )
        return KDTree(self.points).query(unit, NEIGHBOURS)[0].mean(axis=1) / self.typical

    def far(self, unit: Float[np.ndarray, "B P"]) -> Bool[np.ndarray, " B"]:
        """Which queries are farther from the training set than usual."""
        return self(unit) > 1.0

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"points": self.points.tolist(), "typical": self.typical}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown fields are refused."""
        check_names("field of a distance", fields, [f.name for f in dataclasses.fields(cls)])
        return cls(points=np.asarray(fields["points"], dtype=np.float64), typical=fields["typical"])
