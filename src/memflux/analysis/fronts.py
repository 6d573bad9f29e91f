"""Numbers of a Pareto front [K, Q] of costs to minimise: hypervolume, knee, and the device a preference picks."""

import numpy as np
from jaxtyping import Float
from pymoo.indicators.hv import HV

MARGIN = 0.1  # of the range of the front, by which the reference point is worse than its worst
SHALLOW = 0.05  # of the range: less than so deep is no knee, because a search does not end exactly on a front
AUGMENTED = 1e-3  # weight of the sum in the achievement function, which refuses dominated points


def reference_point(costs: Float[np.ndarray, "K Q"], margin: float = MARGIN) -> Float[np.ndarray, " Q"]:
    """The worst cost of the front in each objective, and `margin` of its range worse.

    Without the margin, the two ends of a front would add nothing to its hypervolume. An objective
    without a range counts as one of the range of its magnitude.
    """
    worst, span = costs.max(axis=0), np.ptp(costs, axis=0)
    span = np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0))
    return worst + margin * span


def hypervolume(costs: Float[np.ndarray, "K Q"], reference: Float[np.ndarray, " Q"]) -> float:
    """Volume between the front and the reference point (Zitzler and Thiele, doi 10.1109/4235.797969).

    Larger is better, in the product of the units; rows beyond the reference or not finite add nothing.
    """
    costs = costs[np.isfinite(costs).all(axis=1)]
    return float(HV(ref_point=reference)(costs)) if len(costs) else 0.0


def knee(costs: Float[np.ndarray, "K Q"]) -> int | None:
    """The row that lies deepest below the plane through the ends of the front; None where none does.

    Costs are scaled to [0, 1] over the front and the plane is sum(costs) = 1: the definition of
    Das (doi 10.1007/BF01195985) with the corners of the scaled front as ends. A straight or a bulging
    front has no knee, nor has one that is less than 0.05 deep or without a trade-off.
    """
    scaled = _scaled(costs)
    if len(costs) < 3 or (np.ptp(scaled, axis=0) > 0).sum() < 2:
        return None
    total = scaled.sum(axis=1)
    return int(total.argmin()) if total.min() < 1.0 - SHALLOW else None


def choose(
    costs: Float[np.ndarray, "K Q"], weights: Float[np.ndarray, " Q"], aim: Float[np.ndarray, " Q"] | None = None
) -> int:
    """The row that is nearest to `aim` (the best of each objective, unless given) in its worst objective.

    Minimises max(w d) + 0.001 sum(w d) with d = (cost - aim) / range of the front: the achievement
    function of Wierzbicki (doi 10.1007/978-3-642-48782-8_32). It finds points of every front, also
    where it bulges; an aim that can be surpassed is.
    """
    away = _scaled(costs, aim) * weights
    return int((away.max(axis=1) + AUGMENTED * away.sum(axis=1)).argmin())


def _scaled(costs: np.ndarray, origin: np.ndarray | None = None) -> np.ndarray:
    """Costs from `origin` (the best of each objective) in ranges of the front; an objective without one is as it is."""
    span = np.ptp(costs, axis=0)
    return (costs - (costs.min(axis=0) if origin is None else origin)) / np.where(span > 0, span, 1.0)
