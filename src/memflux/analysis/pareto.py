"""Trade-offs between quantities: the Pareto front over a design space, by NSGA-II or NSGA-III.

As in arXiv 2505.13882, sections 3.5 and 4.8 (population 200, 200 generations). Whole populations
are evaluated as arrays; a device without a value is worse than every other one.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis import fronts
from memflux.analysis.constraint import Constraint
from memflux.analysis.nsga import METHODS, Crowding, Niching, Survival, evolve
from memflux.analysis.points import spread
from memflux.analysis.quantities import Quantity, label
from memflux.analysis.results import AbstractResult
from memflux.analysis.tradeoff import Tradeoff, Variability
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, SolveFailed, check_choice, check_integer, check_number, check_numbers
from memflux.space import Space

PATIENCE = 20  # generations over which the hypervolume must grow
LARGEST = 1e300  # of a reference, a weight or a target


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParetoResult(AbstractResult):
    """K devices of which none is better than another in all Q objectives, sorted by the first.

    `history` is the hypervolume of the front of each generation from the same `reference`; that of
    NSGA-II may fall a little, where crowding drops a device. `knee` is a row, see `fronts.knee`.
    """

    KIND: ClassVar[str] = "pareto"
    ARRAYS: ClassVar[tuple[str, ...]] = ("parameters", "objectives", "reference", "history")

    space: str
    names: tuple[str, ...]  # P parameters
    quantities: tuple[str, ...]  # Q
    senses: tuple[str, ...]  # "min" or "max" a quantity
    constraints: tuple[str, ...]
    variability: dict[str, Any] | None  # see `Variability`; objectives are then its statistic
    method: str
    parameters: Float[np.ndarray, "K P"]  # SI, eV
    objectives: Float[np.ndarray, "K Q"]  # as the quantities are defined, not negated
    reference: Float[np.ndarray, " Q"]  # point from which hypervolumes are measured
    hypervolume: float
    history: Float[np.ndarray, " G"]
    knee: int | None
    population: int
    generations: int  # G, fewer than were allowed where the search stopped early
    seed: int
    evaluations: int  # devices, copies included
    undefined: int  # candidates without a value
    infeasible: int  # candidates with values that break a constraint
    refused: int  # candidates that the rule of the space refused, not evaluated
    selected: int | None = None  # the row that a preference picked
    confirmation: dict[str, Any] | None = None  # a `ConfirmedFront` as a dictionary, where there was one

    @property
    def sign(self) -> Float[np.ndarray, " Q"]:
        """1 for what is minimised and -1 for what is maximised: times `objectives`, costs."""
        return np.array([1.0 if sense == "min" else -1.0 for sense in self.senses])

    def select(self, weights: Sequence[float] | None = None, targets: Sequence[float] | None = None) -> int:
        """The row that suits a preference best, see `fronts.choose`.

        `weights` say how much each objective counts (all the same, unless given); `targets` are values
        of the objectives to come near to or to surpass (the best of each, unless given).
        """
        size = len(self.senses)
        weight = np.ones(size) if weights is None else _per_objective("weights", weights, size, low=0.0)
        if not weight.any():
            raise InvalidValue("weights are all 0; give one that is larger.")
        aim = None if targets is None else _per_objective("targets", targets, size) * self.sign
        return fronts.choose(self.objectives * self.sign, weight, aim)


def pareto(
    predictor: Predictor,
    space: Space,
    objectives: Sequence[tuple[Quantity, str]] = (("symmetry", "min"), ("on_off_ratio", "max")),
    population: int = 200,
    generations: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    method: str = "nsga2",
    constraints: Sequence[Constraint] = (),
    variability: Variability | None = None,
    reference: Sequence[float] | None = None,
    tolerance: float | None = None,
) -> ParetoResult:
    """The front of `objectives`, pairs of a quantity and "min" or "max", over the box of `space`.

    Costs about population * generations evaluations (times the copies of `variability`), one array
    call a generation; `progress(done, all)` counts generations. `method` "nsga3" spreads the front
    evenly for three and more objectives. Every device of the front keeps the `constraints`. With
    `variability` the front is that of devices as they are made. Hypervolumes are measured from
    `reference`, a value of each objective, unless given the worst of the front and a tenth of its
    range (`fronts.reference_point`). With `tolerance`, the search ends where the hypervolume grew by
    less than this share in 20 generations. Raises InvalidValue for arguments out of range,
    SolveFailed where no device of any generation has a value and keeps the constraints.
    """
    check_choice("method", method, METHODS)
    population = check_integer("population", population, low=4, high=100_000)
    generations = check_integer("generations", generations, low=1, high=100_000)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    if tolerance is not None:
        check_number("tolerance", tolerance, low=0.0, high=1.0)
    problem = Tradeoff(predictor, space, objectives, constraints, variability, seed)
    size = len(problem.sign)
    point = None if reference is None else _per_objective("reference", reference, size) * problem.sign
    survival: Survival = Crowding() if method == "nsga2" else Niching(size, population)
    found: list[np.ndarray] = []  # costs of the front of each generation
    for now in evolve(problem, spread(space, population, seed), survival, generations, seed):
        best = now.front()
        found.append(now.costs[best])
        if progress is not None:
            progress(len(found), generations)
        if tolerance is not None and _stalls(found, point, tolerance):
            break
    points, costs = _sorted(now.points[best], now.costs[best], problem)
    point = fronts.reference_point(costs) if point is None else point
    return ParetoResult(
        space=space.name,
        names=space.names,
        quantities=tuple(label(q) for q in problem.quantities),
        senses=problem.senses,
        constraints=tuple(map(str, constraints)),
        variability=None if variability is None else variability.to_dict(),
        method=method,
        parameters=space.values(points),
        objectives=costs * problem.sign,
        reference=point * problem.sign,
        hypervolume=fronts.hypervolume(costs, point),
        history=np.array([fronts.hypervolume(front, point) for front in found]),
        knee=fronts.knee(costs),
        population=population,
        generations=len(found),
        seed=seed,
        evaluations=problem.evaluations,
        undefined=problem.undefined,
        infeasible=problem.infeasible,
        refused=problem.refused,
    )


def _per_objective(name: str, values: Sequence[float], size: int, low: float = -LARGEST) -> np.ndarray:
    array = check_numbers(name, values, low=low, high=LARGEST)
    if array.size != size:
        raise InvalidValue(f"{name} has {array.size} numbers and there are {size} objectives; give one for each.")
    return array


def _stalls(found: Sequence[np.ndarray], reference: np.ndarray | None, tolerance: float) -> bool:
    """Whether the front is hardly larger than `PATIENCE` generations ago, both from the same point."""
    if len(found) <= PATIENCE or not len(found[-1 - PATIENCE]):
        return False
    before, now = found[-1 - PATIENCE], found[-1]
    point = fronts.reference_point(np.vstack([before, now])) if reference is None else reference
    old = fronts.hypervolume(before, point)
    return old > 0 and fronts.hypervolume(now, point) <= (1.0 + tolerance) * old


def _sorted(points: np.ndarray, costs: np.ndarray, problem: Tradeoff) -> tuple[np.ndarray, np.ndarray]:
    """The front sorted by the first cost, then the others; SolveFailed where it is empty."""
    if not len(points):
        kept = f" and keeps {', '.join(map(str, problem.constraints))}" if problem.constraints else ""
        raise SolveFailed(
            f"none of {problem.evaluations} devices has a value for every objective{kept}; "
            "narrow the space, relax the limits, or choose quantities that its drives define."
        )
    order = np.lexsort(costs.T[::-1])
    return points[order], costs[order]
