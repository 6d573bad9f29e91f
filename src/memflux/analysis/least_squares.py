"""Least squares from many starts at once, inside the unit cube and with some coordinates held."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from memflux.analysis.descent import Found

# [B, F] in the unit cube -> residuals [B, S] and their derivatives [B, S, F]; NaN rows are allowed.
Residuals = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

FIRST_DAMPING, LEAST_DAMPING = 1e-2, 1e-9  # of the diagonal
EASED, STIFFENED = 0.2, 5.0  # the damping after a better and after a worse step
ENOUGH = 1e-7  # of the sum of squares, and
STILL = 1e-5  # of the cube's edge: a search that gains and moves less is over


def least_squares(
    residuals: Residuals, start: Float[np.ndarray, "B F"], held: Bool[np.ndarray, "B F"], iterations: int
) -> Found:
    """Projected Levenberg-Marquardt (doi 10.1137/0111030), one damping a start; values are sums of squares.

    Coordinates `held` stay where they start. A start without an answer has the value infinity.
    """
    point, damping = start.copy(), np.full(len(start), FIRST_DAMPING)
    residual, slope = residuals(point)
    value = _sum(residual)
    active = np.isfinite(value)
    for _ in range(iterations):
        rows = np.flatnonzero(active)
        if not rows.size:
            break
        trial = np.clip(point[rows] + _step(point[rows], residual[rows], slope[rows], held[rows], damping[rows]), 0, 1)
        found, found_slope = residuals(trial)
        reached = _sum(found)
        better = reached < value[rows]
        still = np.abs(trial - point[rows]).max(axis=1) < STILL
        gain = value[rows] - np.where(better, reached, value[rows])
        active[rows] = ~(still | (better & (gain < ENOUGH * value[rows]) & (damping[rows] < 1.0)))
        damping[rows] = np.maximum(damping[rows] * np.where(better, EASED, STIFFENED), LEAST_DAMPING)
        taken = rows[better]
        point[taken], value[taken] = trial[better], reached[better]
        residual[taken], slope[taken] = found[better], found_slope[better]
    return Found(point, value)


def _sum(residual: np.ndarray) -> np.ndarray:
    total = (residual**2).sum(axis=1)
    return np.where(np.isfinite(total), total, np.inf)


def _step(
    point: np.ndarray, residual: np.ndarray, slope: np.ndarray, held: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """The damped Gauss-Newton step of every row, along the faces that the gradient pushes against."""
    slope = np.nan_to_num(slope)
    gradient = np.einsum("bsf,bs->bf", slope, residual)
    blocked = held | ((point <= 0.0) & (gradient > 0)) | ((point >= 1.0) & (gradient < 0))
    slope = np.where(blocked[:, None, :], 0.0, slope)
    normal = np.einsum("bsf,bsg->bfg", slope, slope)
    diagonal = np.einsum("bff->bf", normal)
    size = diagonal.max(axis=1, keepdims=True)
    lift = damping[:, None] * diagonal + 1e-12 * size + np.where(blocked | (size == 0), 1.0, 0.0)
    normal = normal + lift[:, :, None] * np.eye(point.shape[1])
    return -np.linalg.solve(normal, np.where(blocked, 0.0, gradient)[..., None])[..., 0]
