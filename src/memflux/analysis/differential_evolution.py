"""Differential evolution of a population inside the unit cube: for costs without gradients, under constraints.

Every generation is one call of the objective. Storn and Price, doi 10.1023/A:1008202821328, with the mutation
"current to p-best" of Zhang and Sanderson, doi 10.1109/TEVC.2009.2014613, and the rules of Deb,
doi 10.1016/S0045-7825(99)00389-8: of two points the one that violates less is better, of two that violate
nothing the one of smaller cost.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# [N, P] in the unit cube -> costs [N] and violations [N]: 0 where all constraints hold, infinite without a value.
Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

WEIGHTS = 0.5, 0.9  # of differences; drawn anew for each point and generation
CROSSOVER = 0.9  # share of the coordinates that a trial takes from the mutant
LEADERS = 0.125  # share of the population that the others follow


class Population(NamedTuple):
    """N points, the better first."""

    points: Float[np.ndarray, "N P"]
    costs: Float[np.ndarray, " N"]
    violations: Float[np.ndarray, " N"]

    @classmethod
    def ranked(cls, points: np.ndarray, costs: np.ndarray, violations: np.ndarray) -> "Population":
        """In order of violation, then of cost."""
        order = np.lexsort((costs, violations))
        return cls(points[order], costs[order], violations[order])


def evolve(judge: Judge, start: Float[np.ndarray, "N P"], generations: int, seed: int) -> Population:
    """The population after `generations`; `generations` + 1 calls of `judge`."""
    generator = np.random.default_rng(seed)
    now = Population.ranked(start, *judge(start))
    for _ in range(generations):
        trials = _trials(now.points, generator)
        costs, violations = judge(trials)
        better = (violations < now.violations) | ((violations == now.violations) & (costs <= now.costs))
        now = Population.ranked(
            np.where(better[:, None], trials, now.points),
            np.where(better, costs, now.costs),
            np.where(better, violations, now.violations),
        )
    return now


def _trials(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One trial a point, [N, P]: towards a leader and along the difference of two others, reflected at the faces."""
    count, size = points.shape
    leaders = points[generator.integers(max(int(LEADERS * count), 2), size=count)]
    first, second = (np.arange(count) + generator.integers(1, count, (2, count))) % count
    weight = generator.uniform(*WEIGHTS, (count, 1))
    mutants = points + weight * (leaders - points) + weight * (points[first] - points[second])
    mutants = np.clip(np.where(mutants > 1.0, 2.0 - mutants, np.abs(mutants)), 0.0, 1.0)
    taken = generator.random(points.shape) < CROSSOVER
    taken[np.arange(count), generator.integers(size, size=count)] = True
    return np.where(taken, mutants, points)
