"""Evolutionary search on arrays: NSGA-II and NSGA-III, without an object a candidate.

The operators, the sorting and the niches are pymoo's; its loop, which keeps an object for every
candidate, would cost ten times as much as they do. NSGA-II: Deb et al., doi 10.1109/4235.996017.
NSGA-III: Deb and Jain, doi 10.1109/TEVC.2013.2281535; reference directions: Das and Dennis,
doi 10.1137/S1052623496307510. Constraints come first, as in doi 10.1016/S0045-7825(99)00389-8.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from pymoo.algorithms.moo.nsga3 import HyperplaneNormalization, associate_to_niches, calc_niche_count, niching
from pymoo.operators.crossover.sbx import cross_sbx
from pymoo.operators.mutation.pm import mut_pm
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.reference_direction import das_dennis, get_number_of_uniform_points, get_partition_closest_to_points

METHODS = ("nsga2", "nsga3")
ROUNDS = 20  # of mating, before fewer new points than wanted will do
EXCHANGED = 0.5  # probability that a coordinate is crossed, and that it is swapped
MUTATION_INDEX = 20.0
_CROWDING = get_crowding_function("cd")

# Points [N, P] of the unit cube -> costs to minimise [N, Q] and violations [N]: 0 where every constraint holds,
# infinite where there is no value. Costs of the others are not looked at.
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Population(NamedTuple):
    """N candidates; parents are those of the smallest `rank`, then of the largest `merit`."""

    points: Float[np.ndarray, "N P"]
    costs: Float[np.ndarray, "N Q"]
    violation: Float[np.ndarray, " N"]
    rank: Int[np.ndarray, " N"]
    merit: Float[np.ndarray, " N"]

    def front(self) -> Bool[np.ndarray, " N"]:
        """The candidates that keep every constraint and that no other such candidate dominates."""
        best = np.zeros(len(self.points), dtype=bool)
        feasible = np.flatnonzero(self.violation == 0)
        if feasible.size:
            best[feasible[_fronts(self.costs[feasible], 1)[0]]] = True
        return best


class Selected(NamedTuple):
    """Which of the rows stay, and how they rank as parents."""

    rows: Int[np.ndarray, " N"]
    rank: Int[np.ndarray, " N"]
    merit: Float[np.ndarray, " N"]


class Survival(Protocol):
    """What tells the two methods apart: who stays, and how widely children scatter."""

    crossover_index: float
    crossover_probability: float

    def __call__(self, costs: np.ndarray, count: int, generator: np.random.Generator) -> Selected:
        """At most `count` rows of `costs` [N, Q], all of them feasible."""
        ...


class Crowding:
    """NSGA-II: front by front, and of the last one those with most room around them."""

    crossover_index, crossover_probability = 15.0, 0.9

    def __call__(self, costs: np.ndarray, count: int, generator: np.random.Generator) -> Selected:
        """See `Survival`."""
        fronts = _fronts(costs, count)
        room = [_CROWDING.do(costs[front]) for front in fronts]
        if (spare := sum(map(len, fronts)) - count) > 0:
            order = np.lexsort((generator.random(len(fronts[-1])), -room[-1]))[: len(fronts[-1]) - spare]
            fronts[-1], room[-1] = fronts[-1][order], room[-1][order]
        rank = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
        return Selected(np.concatenate(fronts), rank, np.concatenate(room))


class Niching:
    """NSGA-III: front by front, and of the last one those in the least crowded reference directions."""

    crossover_index, crossover_probability = 30.0, 1.0

    def __init__(self, objectives: int, population: int) -> None:
        self.directions = directions(objectives, population)
        self.frame = HyperplaneNormalization(objectives)
        self.low = self.span = np.empty(0)

    def __call__(self, costs: np.ndarray, count: int, generator: np.random.Generator) -> Selected:
        """See `Survival`."""
        if not self.low.size:  # pymoo takes differences below 1e-3 for none, which currents in amperes all are
            self.low = costs.min(axis=0)
            self.span = np.where(np.ptp(costs, axis=0) > 0, np.ptp(costs, axis=0), 1.0)
        scaled = (costs - self.low) / self.span
        fronts = _fronts(costs, count)
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            self.frame.update(scaled, nds=fronts[0])
        rows = np.concatenate(fronts)
        if len(rows) > count:
            sure = len(rows) - len(fronts[-1])
            niche, distance, _ = associate_to_niches(
                scaled[rows], self.directions, self.frame.ideal_point, self.frame.nadir_point
            )
            taken = calc_niche_count(len(self.directions), niche[:sure])
            picked = niching(fronts[-1], count - sure, taken, niche[sure:], distance[sure:], random_state=generator)
            rows = np.concatenate([rows[:sure], rows[sure:][picked]])
        return Selected(rows, np.zeros(len(rows), dtype=np.intp), np.zeros(len(rows)))


def directions(objectives: int, population: int) -> Float[np.ndarray, "D Q"]:
    """The finest even reference directions of which there are at most `population`.

    Where they are too coarse to have one inside the simplex, a second layer at half the distance
    from its middle is added, as Deb and Jain do.
    """
    parts = get_partition_closest_to_points(population, objectives)
    outer = das_dennis(parts, objectives)
    left = population - len(outer)
    if parts >= objectives or left < get_number_of_uniform_points(1, objectives):
        return outer
    inner = das_dennis(min(get_partition_closest_to_points(left, objectives), parts), objectives)
    return np.vstack([outer, 0.5 * inner + 0.5 / objectives])


def evolve(
    evaluate: Evaluate, start: Float[np.ndarray, "N P"], survival: Survival, generations: int, seed: int
) -> Iterator[Population]:
    """The population after each generation, as many as `start`, which is the first one.

    Ends early where no new point can be made.
    """
    generator = np.random.default_rng(seed)
    population = _survive(start, *evaluate(start), len(start), survival, generator)
    yield population
    for _ in range(generations - 1):
        children = _children(population, survival, generator)
        if not len(children):
            return
        costs, violation = evaluate(children)
        population = _survive(
            np.vstack([population.points, children]),
            np.vstack([population.costs, costs]),
            np.concatenate([population.violation, violation]),
            len(start),
            survival,
            generator,
        )
        yield population


def _fronts(costs: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows of the fronts, best first, until they hold `count`."""
    return list(NonDominatedSorting().do(costs, n_stop_if_ranked=count))


def _survive(
    points: np.ndarray,
    costs: np.ndarray,
    violation: np.ndarray,
    count: int,
    survival: Survival,
    generator: np.random.Generator,
) -> Population:
    """The best `count`: feasible ones by `survival`, then the others by their violation."""
    feasible = np.flatnonzero(violation == 0)
    rest = np.flatnonzero(violation != 0)
    chosen = Selected(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp), np.empty(0))
    if feasible.size:
        chosen = survival(costs[feasible], min(count, feasible.size), generator)
    rest = rest[np.argsort(violation[rest], kind="stable")][: count - len(chosen.rows)]
    rows = np.concatenate([feasible[chosen.rows], rest])
    worse = np.unique(violation[rest], return_inverse=True)[1] + chosen.rank.max(initial=-1) + 1
    return Population(
        points=points[rows],
        costs=costs[rows],
        violation=violation[rows],
        rank=np.concatenate([chosen.rank, worse]),
        merit=np.concatenate([chosen.merit, np.zeros(len(rest))]),
    )


def _children(population: Population, survival: Survival, generator: np.random.Generator) -> np.ndarray:
    """As many new points by crossover and mutation, none of which is known or made twice."""
    count, size = population.points.shape
    low, high = np.zeros(size), np.ones(size)
    found = np.empty((0, size))
    for _ in range(ROUNDS):
        pairs = -(-(count - len(found)) // 2)
        parents = population.points[_winners(population, 2 * pairs, generator)].reshape(2, pairs, size)
        crossed = cross_sbx(
            parents,
            low,
            high,
            np.full((pairs, 1), survival.crossover_index),
            EXCHANGED,
            np.full((pairs, 1), EXCHANGED),
            random_state=generator,
        )
        mated = generator.random(pairs) < survival.crossover_probability
        children = np.where(mated[:, None], crossed, parents).reshape(-1, size)
        index, share = np.full(len(children), MUTATION_INDEX), np.full(len(children), min(0.5, 1 / size))
        children = mut_pm(children, low, high, index, share, False, random_state=generator)
        found = _new(population.points, np.vstack([found, np.clip(children, 0.0, 1.0)]))[:count]
        if len(found) == count:
            break
    return found


def _winners(population: Population, count: int, generator: np.random.Generator) -> Int[np.ndarray, " M"]:
    """Rows that won a tournament of two; everybody takes part equally often."""
    size = len(population.points)
    rounds = [generator.permutation(size) for _ in range(-(-2 * count // size))]
    a, b = np.concatenate(rounds)[: 2 * count].reshape(2, count)
    rank, merit = population.rank, population.merit
    equal = (rank[a] == rank[b]) & (merit[a] == merit[b])
    better = np.where(rank[a] == rank[b], merit[a] > merit[b], rank[a] < rank[b])
    return np.where(np.where(equal, generator.random(count) < 0.5, better), a, b)


def _new(known: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The candidates that are not known, each once, in their order."""
    _, first = np.unique(np.vstack([known, candidates]), axis=0, return_index=True)
    return candidates[np.sort(first[first >= len(known)]) - len(known)]
