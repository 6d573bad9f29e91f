"""A front asked of another predictor: does what a surrogate promises hold in the transport model?"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis import fronts
from memflux.analysis.constraint import Constraint
from memflux.analysis.pareto import ParetoResult
from memflux.analysis.quantities import Quantity, label, quantity_from_text
from memflux.analysis.results import AbstractResult
from memflux.analysis.tradeoff import Tradeoff, Variability
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, check_integer
from memflux.space import Space


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConfirmedFront(AbstractResult):
    """K devices of a front by the predictor that found them and by another one.

    Both hypervolumes are of these K devices, from the same reference point; a device that the other
    predictor gives no value, or that breaks a constraint there, adds nothing to the second.
    """

    KIND: ClassVar[str] = "pareto_confirmation"
    ARRAYS: ClassVar[tuple[str, ...]] = ("predicted", "confirmed", "reference", "largest_difference")

    quantities: tuple[str, ...]  # Q
    rows: tuple[int, ...]  # K, of the front
    predicted: Float[np.ndarray, "K Q"]
    confirmed: Float[np.ndarray, "K Q"]  # NaN without a value
    reference: Float[np.ndarray, " Q"]
    hypervolume_predicted: float
    hypervolume_confirmed: float
    share: float | None  # second over first; None where the first is 0
    largest_difference: Float[np.ndarray, " Q"]  # NaN where no device has a value
    undefined: int
    infeasible: int
    evaluations: int


def confirm(
    result: ParetoResult,
    predictor: Predictor,
    space: Space,
    count: int | None = None,
    quantities: Sequence[Quantity] | None = None,
    constraints: Sequence[Constraint] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ConfirmedFront:
    """Evaluate `count` devices of a front (all, unless given) with `predictor`, evenly spread over its rows.

    `space` is that of the front. `quantities` are needed where they are one's own functions; `constraints`
    where there were some. A robust front is evaluated with the same copies of each device. Raises
    InvalidValue where these are not those of the result.
    """
    total = len(result.objectives)
    count = total if count is None else check_integer("count", count, low=1, high=10**6)
    quantities = [quantity_from_text(q) for q in result.quantities] if quantities is None else list(quantities)
    _same("space", space.name, result.space)
    _same("quantities", ", ".join(label(q) for q in quantities), ", ".join(result.quantities))
    _same("constraints", ", ".join(map(str, constraints)), ", ".join(result.constraints))
    rows = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    problem = Tradeoff(
        predictor,
        space,
        list(zip(quantities, result.senses, strict=True)),
        constraints,
        None if result.variability is None else Variability(**result.variability),
        result.seed,
    )
    costs, violation = problem(space.unit(result.parameters[rows]), progress)
    predicted, reference = result.objectives[rows], result.reference * result.sign
    first = fronts.hypervolume(predicted * result.sign, reference)
    second = fronts.hypervolume(costs[violation == 0], reference)
    confirmed = np.where(np.isfinite(costs), costs * result.sign, np.nan)
    apart = np.abs(confirmed - predicted)
    return ConfirmedFront(
        quantities=result.quantities,
        rows=tuple(rows.tolist()),
        predicted=predicted,
        confirmed=confirmed,
        reference=result.reference,
        hypervolume_predicted=first,
        hypervolume_confirmed=second,
        share=second / first if first > 0 else None,
        largest_difference=np.fmax.reduce(apart, axis=0),
        undefined=problem.undefined + problem.refused,
        infeasible=problem.infeasible,
        evaluations=problem.evaluations,
    )


def _same(what: str, given: str, wanted: str) -> None:
    if given != wanted:
        raise InvalidValue(f"{what} = {given or 'none'} is not that of the front ({wanted or 'none'}); give the same.")
