"""Limits on quantities, as optimisation and Pareto fronts keep them."""

import dataclasses

import numpy as np
from jaxtyping import Float

from memflux.analysis.quantities import Quantity, label
from memflux.errors import InvalidValue, check_number


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """Limits that a quantity must keep; NaN keeps none."""

    quantity: Quantity
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        name = label(self.quantity)
        if self.low is None and self.high is None:
            raise InvalidValue(f"the constraint on {name} has no limit; give low, high or both.")
        for end in ("low", "high"):
            if (value := getattr(self, end)) is not None:
                check_number(f"{end} of {name}", value, low=-1e300, high=1e300)
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InvalidValue(f"low of {name} = {self.low:g} is above high = {self.high:g}; swap them.")

    def violation(self, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """How far beyond the limits, relative to the larger of them; 0 where they are kept, infinite for NaN."""
        ends = [abs(end) for end in (self.low, self.high) if end is not None]
        below = 0.0 if self.low is None else self.low - values
        above = 0.0 if self.high is None else values - self.high
        beyond = np.maximum(np.maximum(below, above), 0.0) / (max(ends) or 1.0)
        return np.where(np.isnan(values), np.inf, beyond)

    def __str__(self) -> str:
        low, high = (None if end is None else f"{end:g}" for end in (self.low, self.high))
        return (f"{low} <= " if low is not None else "") + label(self.quantity) + (f" <= {high}" if high else "")
