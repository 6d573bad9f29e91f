"""How far compact models are from measured loops: L_b over the unit cube of their parameters, for searches.

L_b is that of eqs. 3-5 of Bednarz, Garda and Galias, of the periodic states or of marches from one state at rest;
gradients are exact. Coordinates are logarithms where a parameter spans decades.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import differential_evolution, minimize

from memflux.analysis.memristor_march import OFF, PERIODS, SETTLED, Population, gradient, periodic_population
from memflux.compact import AbstractCompact, Parameter, Scale
from memflux.errors import InvalidValue, check_names
from memflux.loops import Loops, loop_error

COARSE, FINE = 125, 500  # samples a period of the global and of the local search, or as many as there are
CRUDE = 1e-5  # change of the state over a period in the global search
MEMBERS = 10  # of the population, for each parameter that is fitted
ALIKE = 1e-3  # spread of the population at which the global search ends, relative to the mean cost
REFUSED = 1e3  # cost of what has no periodic state
TINY = 1e-300  # cost of what has none


def usual(kind: type[AbstractCompact]) -> dict[str, float]:
    """Parameters that a fit holds unless told otherwise: q/(k T) at 300 K, and one of two that enter as a product."""
    return {p.name: p.usual for p in kind.parameters() if p.usual is not None}


def scale_of(loops: Loops) -> Scale:
    """The loops' natural units: the largest voltage of a source and current, the geometric mean of the periods."""
    peak = float(np.abs(loops.current).max())
    if not peak > 0.0:
        raise InvalidValue("the loops have no current; give records of a device that conducts.")
    period = float(np.exp(-np.log(loops.frequency).mean()))
    return Scale(float(np.abs(loops.source).max()), peak, period)


def periodic_states(
    kind: type[AbstractCompact],
    values: np.ndarray,
    loops: Loops,
    sign: int,
    start: np.ndarray,
    tolerance: float,
    periods: int,
) -> Population:
    """Periodic states of N parameter sets under the loops' sources, turned back to the loops' polarity."""
    found = periodic_population(
        kind, values, sign * loops.source, loops.frequency, loops.series_resistance, start, tolerance, periods
    )
    return found._replace(voltage=sign * found.voltage, current=sign * found.current)


def thinned(loops: Loops, samples: int) -> Loops:
    """Every k-th sample, so that about `samples` or as many as there are remain."""
    count = loops.source.shape[1]
    every = max((k for k in range(1, count // min(samples, count) + 1) if count % k == 0), default=1)
    source, voltage, current = (
        np.ascontiguousarray(part[:, ::every]) for part in (loops.source, loops.voltage, loops.current)
    )
    return dataclasses.replace(loops, source=source, voltage=voltage, current=current)


class LoopCost:
    """The cost over the unit cube of the free parameters; counts what it costs."""

    def __init__(
        self,
        kind: type[AbstractCompact],
        loops: Loops,
        fixed: dict[str, float],
        polarity: int,
        from_rest: bool,
        progress: Callable[[int, int], None] | None,
        expected: int,
    ) -> None:
        parameters = kind.parameters()
        check_names(f"parameter of {kind.KEY}", fixed, [p.name for p in parameters])
        self.kind, self.polarity, self.loops, self.fixed = kind, polarity, loops, fixed
        self.free = np.array([p.name not in fixed for p in parameters])
        if not self.free.any():
            raise InvalidValue(f"every parameter of {kind.KEY} is fixed; leave some to be fitted.")
        self.low, self.high, self.log = (part[self.free] for part in _ranges(parameters, scale_of(loops)))
        self.from_rest = from_rest
        if from_rest:  # the last coordinate is the state at the start
            self.low, self.high, self.log = (
                np.append(a, b) for a, b in ((self.low, 0), (self.high, 1), (self.log, False))
            )
        self.periods = 1 if from_rest else PERIODS
        self.values = np.array([fixed.get(p.name, 1.0) for p in parameters], dtype=float)
        self.of(self.values_at(np.full(self.low.size, 0.5)))  # refuses what is fixed out of range
        self.coarse, self.fine = thinned(loops, COARSE), thinned(loops, FINE)
        self.evaluations = self.generation = 0
        self.progress, self.expected = progress, expected

    def of(self, values: np.ndarray) -> AbstractCompact:
        return self.kind.of(values, self.polarity)

    def values_at(self, unit: np.ndarray) -> np.ndarray:
        """Parameters [..., P] at free coordinates [..., F]."""
        values = np.broadcast_to(self.values, (*unit.shape[:-1], self.free.size)).copy()
        along = self.low + unit * (self.high - self.low)
        values[..., self.free] = np.where(self.log, np.exp(np.where(self.log, along, 0.0)), along)[
            ..., : self.free.sum()
        ]
        return values

    def starts_at(self, unit: np.ndarray) -> np.ndarray:
        """State at the start of each record [..., R], or where the way to the periodic state begins."""
        start = unit[..., -1:] if self.from_rest else np.full((*unit.shape[:-1], 1), OFF)
        return np.repeat(start, len(self.loops), axis=-1)

    def costs(self, unit: np.ndarray) -> np.ndarray:
        """Mean L_b [N] at [F, N], as SciPy asks for it, on the thinned records."""
        points = np.clip(unit.T, 0.0, 1.0)
        values, start = self.values_at(points), self.starts_at(points)
        found = periodic_states(self.kind, values, self.coarse, self.polarity, start, CRUDE, self.periods)
        self.evaluations += len(values)
        errors = loop_error(found.voltage, found.current, self.coarse)
        cost = np.where(found.periods > 0, errors, REFUSED).mean(-1)
        return np.where(np.isfinite(cost), cost, REFUSED)

    def search(self, generations: int, seed: list[int]) -> np.ndarray:
        """The best point of a global search [F]."""

        def tick(intermediate_result: Any) -> None:
            self.generation += 1
            if self.progress is not None:
                self.progress(min(self.generation, self.expected), self.expected)

        found = differential_evolution(
            self.costs, [(0.0, 1.0)] * self.low.size, maxiter=generations, popsize=MEMBERS, tol=ALIKE, polish=False,
            updating="deferred", vectorized=True, callback=tick, rng=np.random.default_rng(seed),
        )  # fmt: skip
        return np.asarray(found.x)

    def log_cost_and_gradient(self, unit: np.ndarray) -> tuple[float, np.ndarray]:
        """Logarithm of the mean L_b, and its gradient [F]."""
        loops, values, sign = self.fine, self.values_at(unit), self.polarity
        found = periodic_states(self.kind, values[None], loops, sign, self.starts_at(unit[None]), SETTLED, self.periods)
        self.evaluations += 1
        voltage, current = found.voltage[0], found.current[0]
        cost = float(loop_error(voltage, current, loops).mean())
        if not 0.0 < cost < np.inf:
            return np.log(REFUSED if cost else TINY), np.zeros_like(unit)
        weights = sign * np.stack([_pull(voltage, loops.voltage), _pull(current, loops.current)], 1)
        slopes = gradient(
            self.kind, values, sign * loops.source, loops.frequency, loops.series_resistance, found.state[0, :, 0],
            weights, not self.from_rest,
        ).mean(0)  # fmt: skip
        wanted = np.append(self.free, self.from_rest)
        stretch = (self.high - self.low) * np.where(self.log, np.append(values, 1.0)[wanted], 1.0)
        return float(np.log(cost)), slopes[wanted] * stretch / cost

    def refine(self, unit: np.ndarray, iterations: int) -> tuple[np.ndarray, float, str]:
        """Where a local search from `unit` ends, its mean L_b and what ended it."""
        found = minimize(
            self.log_cost_and_gradient, unit, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * unit.size,
            options={"maxiter": iterations, "ftol": 1e-9, "gtol": 1e-6},
        )  # fmt: skip
        return found.x, float(np.exp(found.fun)), str(found.message)


def _ranges(parameters: tuple[Parameter, ...], scale: Scale) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends of every parameter's range, as logarithms where the search is by them, and where that is: [P] each."""
    units = np.array([scale.unit(p.unit) for p in parameters])
    ends = np.array([(p.low, p.high) for p in parameters]) * units[:, None]
    log = np.array([p.log for p in parameters])
    ends = np.where(log[:, None], np.log(np.where(log[:, None], ends, 1.0)), ends)
    return ends[:, 0], ends[:, 1], log


def _pull(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Derivative of the normalised mean squared error by the prediction, [R, T]; 0 where the prediction is exact."""
    off = 2.0 * (predicted - measured) / measured.shape[1]
    return off / np.var(measured, axis=1, ddof=1, keepdims=True)
