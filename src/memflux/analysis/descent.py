"""Gradient descent from many starts at once, inside the unit cube.

Both methods ask the objective for all starts in one call, so that a surrogate or an endpoint
answers each step as one batch. A start whose value is not finite goes half way back to its best
point and leaves the others alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# [S, P] in the unit cube -> values [S] and gradients [S, P]; values that are not finite are allowed.
Objective = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

MOMENTUM, SCALE_MEMORY = 0.9, 0.99  # Adam, arXiv 1412.6980, with a shorter memory of scales
FIRST_STEP, LAST_STEP = 0.06, 1e-3  # of the cube's edge
DECREASE, CURVATURE = 1e-4, 0.5  # weak Wolfe conditions
TRIALS = 25  # of one line search
FIRST_MOVE = 0.01  # of the cube's edge, before any curvature is known


class Found(NamedTuple):
    """The best point of every start."""

    points: Float[np.ndarray, "S P"]
    values: Float[np.ndarray, " S"]  # infinite where no value of a start was finite


def adam(objective: Objective, start: Float[np.ndarray, "S P"], iterations: int, seed: int) -> Found:
    """Projected Adam with steps falling along a cosine; `iterations` calls of the objective."""
    generator = np.random.default_rng(seed)
    point, best = start.copy(), start.copy()
    best_value = np.full(len(start), np.inf)
    mean, square, count = np.zeros_like(start), np.zeros_like(start), np.zeros((len(start), 1))
    for k in range(iterations):
        value, gradient = objective(point)
        known = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
        better = known & (value < best_value)
        best[better], best_value[better] = point[better], value[better]
        row = known[:, None]
        gradient = np.where(row, gradient, 0.0)
        count += row
        mean = np.where(row, MOMENTUM * mean + (1 - MOMENTUM) * gradient, 0.0)
        square = np.where(row, SCALE_MEMORY * square + (1 - SCALE_MEMORY) * gradient**2, square)
        step = LAST_STEP + 0.5 * (FIRST_STEP - LAST_STEP) * (1 + np.cos(np.pi * k / iterations))
        weight = np.maximum(count, 1)
        scale = np.sqrt(square / (1 - SCALE_MEMORY**weight)) + 1e-15
        moved = np.clip(point - step * mean / (1 - MOMENTUM**weight) / scale, 0.0, 1.0)
        back = np.where(np.isfinite(best_value)[:, None], 0.5 * (point + best), generator.random(point.shape))
        point = np.where(row, moved, back)
    return Found(best, best_value)


def quasi_newton(objective: Objective, start: Float[np.ndarray, "S P"], calls: int) -> Found:
    """Projected BFGS with a bisecting weak Wolfe line search, one matrix a start, all in step.

    The line search is that of Lewis and Overton (doi 10.1007/s10107-012-0514-2), which also
    converges where a cost has kinks, as the logarithmic one has.
    """
    search = _LineSearches(start.copy(), *objective(start))
    for _ in range(calls - 1):
        trial = search.trial()
        search.settle(trial, *objective(trial))
    return Found(search.point, np.where(np.isfinite(search.value), search.value, np.inf))


class _LineSearches:
    """The state of S line searches: where they are, their curvature, and the bracket of their step."""

    def __init__(self, point: np.ndarray, value: np.ndarray, gradient: np.ndarray) -> None:
        rows, size = point.shape
        known = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
        self.point, self.value = point, np.where(known, value, np.inf)
        self.gradient = np.where(known[:, None], gradient, 0.0)
        self.inverse = np.zeros((rows, size, size))  # of the Hessian
        self.fresh = np.ones(rows, dtype=bool)  # nothing is known of the curvature yet
        self.direction = np.zeros_like(point)
        self.step, self.low, self.high = np.ones(rows), np.zeros(rows), np.full(rows, np.inf)
        self.tries = np.zeros(rows, dtype=int)
        self._forget(np.ones(rows, dtype=bool))
        self._aim(np.ones(rows, dtype=bool))

    def trial(self) -> np.ndarray:
        """The next point of every search, [S, P]."""
        return np.clip(self.point + self.step[:, None] * self.direction, 0.0, 1.0)

    def settle(self, trial: np.ndarray, value: np.ndarray, gradient: np.ndarray) -> None:
        """Accept the trials that satisfy the Wolfe conditions, and halve or double the others' steps."""
        move = trial - self.point
        slope = (self.gradient * move).sum(axis=1)
        known = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
        lower = known & (value <= np.where(known, self.value + DECREASE * slope, 0.0)) & (value < self.value)
        gradient = np.where(known[:, None], gradient, 0.0)
        steep = lower & ((gradient * move).sum(axis=1) < CURVATURE * slope)
        inside = (np.clip(self.point + 2 * self.step[:, None] * self.direction, 0.0, 1.0) != trial).any(axis=1)
        self.tries += 1
        done = lower & (~steep | ~inside | (self.tries >= TRIALS))
        lost = ~lower & (self.tries >= TRIALS)
        self.high = np.where(lower, self.high, self.step)
        self.low = np.where(steep, self.step, self.low)
        self.step = np.where(np.isinf(self.high), 2 * self.low, 0.5 * (self.low + self.high))
        self._learn(done, move, gradient - self.gradient)
        self.point[done], self.value[done], self.gradient[done] = trial[done], value[done], gradient[done]
        self._forget(lost)
        self._aim(done | lost)

    def _learn(self, rows: np.ndarray, move: np.ndarray, change: np.ndarray) -> None:
        """The BFGS update of the inverse Hessian where the curvature along the move is positive."""
        curvature = (move * change).sum(axis=1)
        for i in np.flatnonzero(rows & (curvature > 1e-14)):
            s, y = move[i], change[i]
            if self.fresh[i]:
                self.inverse[i] = np.eye(s.size) * curvature[i] / (y @ y)
                self.fresh[i] = False
            left = np.eye(s.size) - np.outer(s, y) / curvature[i]
            self.inverse[i] = left @ self.inverse[i] @ left.T + np.outer(s, s) / curvature[i]

    def _forget(self, rows: np.ndarray) -> None:
        """Start over with a short move down the gradient."""
        self.fresh[rows] = True
        length = np.linalg.norm(self.gradient, axis=1)
        scale = FIRST_MOVE / np.where(length > 0, length, 1.0)
        self.inverse[rows] = np.eye(self.point.shape[1]) * scale[rows, None, None]

    def _aim(self, rows: np.ndarray) -> None:
        """New directions, along the faces of the cube that the gradient pushes against."""
        blocked = ((self.point <= 0.0) & (self.gradient > 0)) | ((self.point >= 1.0) & (self.gradient < 0))
        free = np.where(blocked, 0.0, self.gradient)
        direction = np.where(blocked, 0.0, -np.einsum("sij,sj->si", self.inverse, free))
        upward = (direction * self.gradient).sum(axis=1) >= 0
        length = np.linalg.norm(free, axis=1)
        plain = -free * (FIRST_MOVE / np.where(length > 0, length, 1.0))[:, None]
        direction = np.where(upward[:, None], plain, direction)
        self.direction[rows] = direction[rows]
        self.step[rows], self.low[rows], self.high[rows], self.tries[rows] = 1.0, 0.0, np.inf, 0
