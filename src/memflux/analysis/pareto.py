"""Trade-offs between quantities: the Pareto front over a design space, by NSGA-II.

As in arXiv 2505.13882, sections 3.5 and 4.8 (population 200, 200 generations). Whole populations
are evaluated as arrays; a device without a value gets a penalty that every other one beats,
because a single NaN makes NSGA-II call it the one optimum.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from memflux.analysis.points import spread
from memflux.analysis.quantities import Quantity, at_points, label
from memflux.analysis.results import AbstractResult
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, SolveFailed, check_choice, check_integer
from memflux.space import Space

PENALTY = 1e30
SENSES = ("min", "max")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParetoResult(AbstractResult):
    """K devices of which none is better than another in all Q objectives, sorted by the first."""

    KIND: ClassVar[str] = "pareto"
    ARRAYS: ClassVar[tuple[str, ...]] = ("parameters", "objectives")

    space: str
    names: tuple[str, ...]  # P parameters
    quantities: tuple[str, ...]  # Q
    senses: tuple[str, ...]  # "min" or "max" a quantity
    parameters: Float[np.ndarray, "K P"]  # SI, eV
    objectives: Float[np.ndarray, "K Q"]  # as the quantities are defined, not negated
    population: int
    generations: int
    seed: int
    evaluations: int
    undefined: int  # evaluations without a value
    refused: int  # candidates that the rule of the space refused, not evaluated


def pareto(
    predictor: Predictor,
    space: Space,
    objectives: Sequence[tuple[Quantity, str]] = (("symmetry", "min"), ("on_off_ratio", "max")),
    population: int = 200,
    generations: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ParetoResult:
    """The front of `objectives`, pairs of a quantity and "min" or "max", over the box of `space`.

    Costs about population * generations evaluations, one array call a generation;
    `progress(done, all)` counts generations. Raises InvalidValue for arguments out of range,
    SolveFailed where no device of any generation has a value.
    """
    quantities, senses = _objectives(objectives)
    population = check_integer("population", population, low=4, high=100_000)
    generations = check_integer("generations", generations, low=1, high=100_000)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    sign = np.array([1.0 if sense == "min" else -1.0 for sense in senses])
    problem = Problem(n_var=len(space.names), n_obj=len(sign), xl=0.0, xu=1.0)
    search = NSGA2(pop_size=population, sampling=spread(space, population, seed))
    search.setup(problem, termination=NoTermination(), seed=seed)
    evaluations = undefined = refused = 0
    for generation in range(generations):
        candidates = search.ask()
        if candidates is None or len(candidates) == 0:
            break
        unit = np.clip(candidates.get("X").astype(np.float64), 0.0, 1.0)
        costs, asked, missing = _costs(predictor, space, unit, quantities, sign)
        evaluations, undefined, refused = evaluations + asked, undefined + missing, refused + len(unit) - asked
        Evaluator().eval(StaticProblem(problem, F=costs), candidates)
        search.tell(infills=candidates)
        if progress is not None:
            progress(generation + 1, generations)
    points, values = _front(search.opt.get("X"), search.opt.get("F"), evaluations)
    return ParetoResult(
        space=space.name,
        names=space.names,
        quantities=tuple(label(q) for q in quantities),
        senses=senses,
        parameters=space.values(points),
        objectives=values * sign,
        population=population,
        generations=generations,
        seed=seed,
        evaluations=evaluations,
        undefined=undefined,
        refused=refused,
    )


def _objectives(objectives: Sequence[tuple[Quantity, str]]) -> tuple[tuple[Quantity, ...], tuple[str, ...]]:
    pairs = [pair for pair in objectives if len(pair) == 2]
    if len(pairs) != len(objectives) or len(pairs) < 2:
        raise InvalidValue(f"{len(objectives)} objectives are not two or more pairs; give (quantity, 'min' or 'max').")
    for quantity, sense in pairs:
        check_choice(f"sense of {label(quantity)}", sense, SENSES)
    return tuple(quantity for quantity, _ in pairs), tuple(sense for _, sense in pairs)


def _costs(
    predictor: Predictor, space: Space, unit: np.ndarray, quantities: Sequence[Quantity], sign: np.ndarray
) -> tuple[np.ndarray, int, int]:
    """Objectives to minimise [B, Q], how many devices were asked for, and how many had no value."""
    allowed = space.allowed(unit)
    costs = np.full((len(unit), sign.size), PENALTY)
    values = at_points(predictor, space, unit[allowed], quantities) * sign
    whole = np.isfinite(values).all(axis=1)
    costs[allowed] = np.where(whole[:, None], values, PENALTY)
    return costs, int(allowed.sum()), int((~whole).sum())


def _front(points: np.ndarray, costs: np.ndarray, evaluations: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct members of the front with values, sorted by the first cost, then the others."""
    points, costs = np.atleast_2d(points).astype(np.float64), np.atleast_2d(costs).astype(np.float64)
    real = costs[:, 0] < PENALTY
    if not real.any():
        raise SolveFailed(
            f"none of {evaluations} devices has a value for every objective; "
            "narrow the space, or choose a quantity that its drives define."
        )
    points, costs = np.clip(points[real], 0.0, 1.0), costs[real]
    _, once = np.unique(points, axis=0, return_index=True)
    order = once[np.lexsort(costs[once].T[::-1])]
    return points[order], costs[order]
