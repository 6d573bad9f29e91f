"""The best fits asked of a second predictor, as a rule the physics model, before anyone believes them."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.inverse import FitResult
from memflux.analysis.results import AbstractResult
from memflux.contracts import CurveCost, Predictor
from memflux.errors import InvalidValue, check_integer
from memflux.metrics import nmae
from memflux.space import Space

APART = 0.05  # of a parameter's range: devices closer than that in every parameter are one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Confirmation(AbstractResult):
    """K distinct ends of a fit, best first, and the errors between target, first and second predictor.

    nMAE as `metrics.nmae`, of magnitudes where the target has one sign; NaN where a predictor gave no curve.
    """

    KIND: ClassVar[str] = "confirmation"
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "points", "costs", "predicted_to_exact", "target_to_predicted", "target_to_exact", "exact",
    )  # fmt: skip

    space: str
    names: tuple[str, ...]  # P
    points: Float[np.ndarray, "K P"]  # SI, eV
    costs: Float[np.ndarray, " K"]  # of the fit
    predicted_to_exact: Float[np.ndarray, " K"]
    target_to_predicted: Float[np.ndarray, " K"]
    target_to_exact: Float[np.ndarray, " K"]
    exact: Float[np.ndarray, "K T"]  # A, the second predictor's cycle
    failed: int


def confirm(
    fit: FitResult, space: Space, cost: CurveCost, predictor: Predictor, exact: Predictor, count: int = 3
) -> Confirmation:
    """The best `count` distinct devices of `fit`, asked of `predictor` again and of `exact`.

    Raises InvalidValue for a fit of another space or predictors on different grids.
    """
    if fit.space != space.name:
        raise InvalidValue(f"the fit is of space {fit.space!r} and not {space.name!r}; give the space of the fit.")
    count = check_integer("count", count, low=1, high=10_000)
    rows = _distinct(space.unit(fit.points), np.isfinite(fit.costs), count)
    devices, drive = space.at(fit.points[rows])
    curves = []
    for ask in (predictor, exact):
        traces = ask(devices, drive)
        curves.append(np.where(traces.ok[:, None], traces.cycle(cost.cycle).current, np.nan))
    if {c.shape[1] for c in curves} != {cost.target.size}:
        raise InvalidValue(
            f"the predictors answer with {curves[0].shape[1]} and {curves[1].shape[1]} samples a cycle and the target "
            f"has {cost.target.size}; ask all on one grid."
        )
    size = (lambda x: x) if (cost.target < 0).any() else np.abs
    target = np.broadcast_to(cost.target, curves[0].shape)
    return Confirmation(
        space=space.name,
        names=space.names,
        points=fit.points[rows],
        costs=fit.costs[rows],
        predicted_to_exact=_errors(curves[0], curves[1]),
        target_to_predicted=_errors(size(curves[0]), target),
        target_to_exact=_errors(size(curves[1]), target),
        exact=curves[1],
        failed=int((~np.isfinite(curves[1]).all(axis=1)).sum()),
    )


def _distinct(unit: np.ndarray, known: np.ndarray, count: int) -> list[int]:
    """The first `count` rows that are apart from each one before."""
    rows: list[int] = []
    for k in np.flatnonzero(known).tolist():
        if all(np.abs(unit[k] - unit[j]).max() > APART for j in rows):
            rows.append(k)
        if len(rows) == count:
            break
    return rows


def _errors(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    known = np.isfinite(prediction).all(axis=1) & np.isfinite(truth).all(axis=1)
    errors = np.full(len(prediction), np.nan)
    if known.any():
        errors[known] = nmae(prediction[known], truth[known])
    return errors
