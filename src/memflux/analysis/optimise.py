"""One device that comes nearest to given values of quantities, under constraints on quantities.

The cost is that of arXiv 2505.13882, section 4.8, (S - S0)^2 + (R - R0)^2, with a scale and a weight a quantity.
There it takes 500 local searches and 77,000 evaluations; a population, asked for in one call a generation, takes
some 3,000 to the same minimum, where searches by gradient stop at the kinks of S.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.constraint import Constraint
from memflux.analysis.differential_evolution import Population, evolve
from memflux.analysis.points import Section, spread
from memflux.analysis.quantities import Quantity, at_points, label
from memflux.analysis.results import AbstractResult
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, SolveFailed, check_integer, check_number
from memflux.space import Space

LARGEST = 1e300


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A quantity, the value that it should have, and how much a difference counts: weight (q - value)^2 / scale^2."""

    quantity: Quantity
    value: float
    scale: float = 1.0  # in the unit of the quantity
    weight: float = 1.0

    def __post_init__(self) -> None:
        name = label(self.quantity)
        check_number(f"target of {name}", self.value, low=-LARGEST, high=LARGEST)
        check_number(f"scale of {name}", self.scale, low=1e-100, high=LARGEST)
        check_number(f"weight of {name}", self.weight, low=0.0, high=LARGEST)


PUBLISHED = (Target(quantity="symmetry", value=0.0), Target(quantity="on_off_ratio", value=1.0))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OptimiseResult(AbstractResult):
    """The best device, what it is like, and what it took to find it.

    `quantities` are those of the targets, then those of the constraints, Q together; `targets` is NaN for the latter,
    `low` and `high` for what has no such bound.
    """

    KIND: ClassVar[str] = "optimise"
    ARRAYS: ClassVar[tuple[str, ...]] = ("values", "targets", "scales", "weights", "low", "high", "history")

    space: str
    names: tuple[str, ...]  # P parameters
    fixed: tuple[str, ...]  # those that were given, not optimised
    parameters: dict[str, float]  # of the best device; SI, eV
    cost: float
    quantities: tuple[str, ...]
    values: Float[np.ndarray, " Q"]  # of the best device
    targets: Float[np.ndarray, " Q"]
    scales: Float[np.ndarray, " Q"]
    weights: Float[np.ndarray, " Q"]
    low: Float[np.ndarray, " Q"]
    high: Float[np.ndarray, " Q"]
    history: Float[np.ndarray, " G"]  # best cost after each generation; NaN while no device kept the constraints
    seed: int
    evaluations: int
    undefined: int  # evaluations without a value
    refused: int  # candidates that the rule of the space refused, not evaluated


def optimise(
    predictor: Predictor,
    space: Space,
    targets: Sequence[Target] = PUBLISHED,
    constraints: Sequence[Constraint] = (),
    fixed: Mapping[str, float] | None = None,
    population: int = 64,
    generations: int = 80,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> OptimiseResult:
    """The device of `space` with the least sum of weight (q - value)^2 / scale^2 that keeps all `constraints`.

    Differential evolution by array calls, population * (generations + 1) evaluations; `progress(done, all)` counts
    generations. A device without a value of any quantity keeps no constraint. `fixed` holds parameters (SI, eV) at
    known values. Raises InvalidValue for arguments out of range, SolveFailed where no device keeps all constraints.
    """
    population = check_integer("population", population, low=8, high=100_000)
    generations = check_integer("generations", generations, low=1, high=100_000)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    problem = _Problem(predictor, space, targets, constraints, dict(fixed or {}), generations + 1, progress)
    start = spread(space, population, seed)[:, problem.section.free]
    found = evolve(problem, start, generations, seed)
    if found.violations[0] > 0:
        raise SolveFailed(problem.why_none(found))
    return problem.result(found, seed)


class _Problem:
    """Cost and violation as functions of the free coordinates of the unit cube; counts what they cost."""

    def __init__(
        self,
        predictor: Predictor,
        space: Space,
        targets: Sequence[Target],
        constraints: Sequence[Constraint],
        fixed: dict[str, float],
        calls: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if not targets:
            raise InvalidValue("there is no target; give one or more.")
        self.predictor, self.space, self.fixed = predictor, space, fixed
        self.section = Section.of(space, fixed)
        self.quantities = [t.quantity for t in targets] + [c.quantity for c in constraints]
        none = len(constraints)
        self.targets = np.array([t.value for t in targets] + [np.nan] * none)
        self.scales = np.array([t.scale for t in targets] + [np.nan] * none)
        self.weights = np.array([t.weight for t in targets] + [np.nan] * none)
        self.constraints = tuple(constraints)
        self.evaluations = self.undefined = self.refused = 0
        self.history: list[float] = []
        self.expected, self.progress = calls, progress

    def __call__(self, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Costs [N] and violations [N] as `evolve` wants them, both infinite without a value."""
        values = self._values(free)
        known = np.isfinite(values).all(axis=1)
        costs = np.where(known, np.nansum(self.weights * ((values - self.targets) / self.scales) ** 2, axis=1), np.inf)
        violations = np.where(known, self._beyond(values).sum(axis=1), np.inf)
        before = self.history[-1] if self.history else np.nan
        self.history.append(float(np.fmin(before, costs[violations == 0].min(initial=np.inf))))
        if self.progress is not None:
            self.progress(len(self.history), self.expected)
        return costs, violations

    def _beyond(self, values: np.ndarray) -> np.ndarray:
        """How far each constraint is broken, [N, C], from quantities [N, Q]."""
        limited = values[:, len(values.T) - len(self.constraints) :]
        columns = [c.violation(column) for c, column in zip(self.constraints, limited.T, strict=True)]
        return np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))

    def _values(self, free: np.ndarray) -> np.ndarray:
        """Quantities [N, Q]; NaN without a value, and where the rule of the space refuses a device."""
        unit = self.section.whole(free)
        allowed = self.space.allowed(unit)
        values = np.full((len(unit), len(self.quantities)), np.nan)
        values[allowed] = at_points(self.predictor, self.space, unit[allowed], self.quantities)
        self.evaluations += int(allowed.sum())
        self.refused += int((~allowed).sum())
        self.undefined += int((~np.isfinite(values[allowed]).all(axis=1)).sum())
        return values

    def why_none(self, found: Population) -> str:
        """The sentence of a search that found no device."""
        if np.isinf(found.violations[0]):
            return (
                f"none of {self.evaluations} devices has a value for every quantity; "
                "narrow the space, or choose quantities that its drives define."
            )
        values = self._values(found.points[:1])
        missed = zip(self.constraints, values[0, -len(self.constraints) :], self._beyond(values)[0], strict=True)
        nearest = ", ".join(f"{label(c.quantity)} = {v:.4g}" for c, v, beyond in missed if beyond > 0)
        return (
            f"none of {self.evaluations} devices keeps all constraints, the nearest has {nearest}; "
            "loosen them, or give more generations."
        )

    def result(self, found: Population, seed: int) -> OptimiseResult:
        """What the best of `found` is like."""
        best = found.points[:1]
        values, where = self._values(best)[0], self.space.values(self.section.whole(best))[0]
        names, none = self.space.names, [np.nan] * (len(self.quantities) - len(self.constraints))
        low, high = (
            [np.nan if (v := getattr(c, end)) is None else v for c in self.constraints] for end in ("low", "high")
        )
        return OptimiseResult(
            space=self.space.name,
            names=names,
            fixed=tuple(name for name in names if name in self.fixed),
            parameters=dict(zip(names, where.tolist(), strict=True)) | self.fixed,
            cost=float(found.costs[0]),
            quantities=tuple(label(q) for q in self.quantities),
            values=values,
            targets=self.targets,
            scales=self.scales,
            weights=self.weights,
            low=np.array([*none, *low]),
            high=np.array([*none, *high]),
            history=np.where(np.isfinite(self.history), self.history, np.nan),
            seed=seed,
            evaluations=self.evaluations,
            undefined=self.undefined,
            refused=self.refused,
        )
