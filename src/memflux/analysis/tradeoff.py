"""What a trade-off asks of a device: objectives, limits, and how well they are kept by devices as they are made."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from scipy.stats import qmc

from memflux.analysis.constraint import Constraint
from memflux.analysis.quantities import Quantity, at_points, label, resolve
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, check_choice, check_integer, check_names, check_number
from memflux.space import Space

SENSES = ("min", "max")
STATISTICS = ("mean", "quantile")
MOST_OBJECTIVES = 6  # the hypervolume of 200 points takes 40 ms then, and ten times as long with each further one
TAIL = 1e-12  # nothing is drawn from beyond


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Variability:
    """Devices as they are made: each parameter of `spread` scatters around what was asked for.

    It is multiplied by lognormal numbers of mean 1 and relative standard deviation `spread[name]`,
    independent from parameter to parameter; `devices` copies of every candidate are evaluated, all
    candidates with the same numbers. An objective is the mean over the copies, or the value that the
    share `quantile` of them reaches. A constraint holds where all copies, or that share, keep it.
    """

    spread: Mapping[str, float]  # 1, relative standard deviation by parameter
    devices: int = 32
    statistic: str = "mean"
    quantile: float = 0.9

    def __post_init__(self) -> None:
        if not self.spread:
            raise InvalidValue("spread is empty; give the relative spread of one parameter or more.")
        for name, value in self.spread.items():
            check_number(f"spread of {name}", value, low=1e-6, high=1.0)
        check_integer("devices", self.devices, low=2, high=10_000)
        check_choice("statistic", self.statistic, STATISTICS)
        check_number("quantile", self.quantile, low=0.01, high=1.0)

    def factors(self, space: Space, seed: int) -> Float[np.ndarray, "K P"]:
        """What the parameters of each copy are multiplied by: a scrambled Sobol' sequence, made lognormal."""
        check_names("parameter of the space", self.spread, space.names)
        relative = np.array([self.spread.get(name, 0.0) for name in space.names])
        draw = qmc.Sobol(d=len(space.names), rng=np.random.default_rng(np.random.SeedSequence([seed, 1])))
        unit = draw.random_base2(math.ceil(math.log2(self.devices)))[: self.devices]
        width = np.sqrt(np.log1p(relative**2))
        return np.exp(width * ndtri(np.clip(unit, TAIL, 1.0 - TAIL)) - 0.5 * width**2)

    def summary(self, costs: Float[np.ndarray, "B K ..."]) -> Float[np.ndarray, "B ..."]:
        """The statistic over the copies; infinite where too many of them have no value."""
        if self.statistic == "mean":
            return costs.mean(axis=1)
        return np.quantile(costs, self.quantile, axis=1, method="inverted_cdf")

    def to_dict(self) -> dict[str, object]:
        """The fields, JSON-ready."""
        return dataclasses.asdict(self) | {"spread": dict(self.spread)}


class Tradeoff:
    """Points of the unit cube of `space` to costs and violations; counts what it asks.

    `objectives` are pairs of a quantity and "min" or "max". Raises InvalidValue for what is wrong with them.
    """

    def __init__(
        self,
        predictor: Predictor,
        space: Space,
        objectives: Sequence[tuple[Quantity, str]],
        constraints: Sequence[Constraint] = (),
        variability: Variability | None = None,
        seed: int = 0,
    ) -> None:
        self.predictor, self.space, self.constraints, self.variability = predictor, space, constraints, variability
        self.quantities, self.senses = _objectives(objectives)
        self.sign = np.array([1.0 if sense == "min" else -1.0 for sense in self.senses])
        self.factors = np.ones((1, len(space.names))) if variability is None else variability.factors(space, seed)
        asked = [resolve(q) for q in (*self.quantities, *(c.quantity for c in constraints))]
        self.asked = [q for i, q in enumerate(asked) if q not in asked[:i]]
        self.columns = [self.asked.index(q) for q in asked]
        self.evaluations = self.undefined = self.refused = self.infeasible = 0

    def __call__(
        self, unit: Float[np.ndarray, "B P"], progress: Callable[[int, int], None] | None = None
    ) -> tuple[Float[np.ndarray, "B Q"], Float[np.ndarray, " B"]]:
        """Costs to minimise, and violations: 0, or more than 0, or infinite where there is no value."""
        allowed = self.space.allowed(unit)
        costs, violation = np.full((len(unit), len(self.sign)), np.inf), np.full(len(unit), np.inf)
        values = self._values(unit[allowed], progress)
        size = len(self.sign)
        made = values[..., :size] * self.sign
        broken = np.zeros(values.shape[:2])
        for k, constraint in enumerate(self.constraints):
            broken += constraint.violation(values[..., size + k])
        costs[allowed] = self._summary(np.where(np.isnan(made), np.inf, made))
        total = self._summary(broken)
        whole = np.isfinite(costs).all(axis=1)
        violation[allowed] = np.where(whole[allowed], total, np.inf)
        self.refused += int((~allowed).sum())
        self.undefined += int((~whole & allowed).sum())
        self.infeasible += int((whole & (violation > 0)).sum())
        return costs, violation

    def _summary(self, costs: np.ndarray) -> np.ndarray:
        return costs[:, 0] if self.variability is None else self.variability.summary(costs)

    def _values(self, unit: np.ndarray, progress: Callable[[int, int], None] | None) -> np.ndarray:
        """Objectives and constrained quantities [B, K, Q + C] of every copy; NaN where there is none."""
        copies = unit
        if self.variability is not None:
            made = self.space.values(unit)[:, None, :] * self.factors
            copies = self.space.unit(made.reshape(-1, unit.shape[1]))
        allowed = self.space.allowed(copies)
        found = np.full((len(copies), len(self.asked)), np.nan)
        found[allowed] = at_points(self.predictor, self.space, copies[allowed], self.asked, progress)
        self.evaluations += int(allowed.sum())
        return found[:, self.columns].reshape(len(unit), len(self.factors), len(self.columns))


def _objectives(objectives: Sequence[tuple[Quantity, str]]) -> tuple[tuple[Quantity, ...], tuple[str, ...]]:
    pairs = [pair for pair in objectives if len(pair) == 2]
    if len(pairs) != len(objectives) or len(pairs) < 2:
        raise InvalidValue(f"{len(objectives)} objectives are not two or more pairs; give (quantity, 'min' or 'max').")
    if len(pairs) > MOST_OBJECTIVES:
        raise InvalidValue(
            f"{len(pairs)} objectives are too many to compare fronts of; give at most {MOST_OBJECTIVES}, "
            "and limits on the other quantities."
        )
    for quantity, sense in pairs:
        check_choice(f"sense of {label(quantity)}", sense, SENSES)
    return tuple(quantity for quantity, _ in pairs), tuple(sense for _, sense in pairs)
