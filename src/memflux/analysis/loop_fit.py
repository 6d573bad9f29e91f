"""A compact model fitted to measured loops: a global search, then a local one with exact gradients.

The cost is L_b (eqs. 3-5 of Bednarz, Garda and Galias) of the periodic states: the state at the start of a record is
never fitted. Global: R. Storn and K. Price, doi 10.1023/A:1008202821328, on records thinned out in time. Local: R. H.
Byrd et al., doi 10.1137/0916069, in coordinates that are logarithms where a parameter spans decades.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import differential_evolution, minimize

from memflux import compact
from memflux.analysis.memristor_march import OFF, PERIODS, SETTLED, Population, gradient, periodic_population
from memflux.analysis.results import AbstractResult
from memflux.compact import AbstractCompact, Parameter, Scale
from memflux.errors import InvalidValue, SolveFailed, check_integer, check_names
from memflux.loops import Loops, loop_error

COARSE, FINE = 125, 500  # samples a period of the global and of the local search, or as many as there are
CRUDE = 1e-5  # change of the state over a period in the global search
MEMBERS = 10  # of the population, for each parameter that is fitted
ALIKE = 1e-3  # spread of the population at which the global search ends, relative to the mean cost
REFUSED = 1e3  # cost of what has no periodic state
TINY = 1e-300  # cost of what has none
AT_BOUND = 1e-3  # of the range, from either end


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoopFit(AbstractResult):
    """The best compact model, how far it is from each record, and what the search cost.

    The box in which it holds is that of the records it was fitted to: `amplitudes`, `frequencies`.
    """

    KIND: ClassVar[str] = "loop-fit"
    ARRAYS: ClassVar[tuple[str, ...]] = ("errors", "periods", "amplitudes", "frequencies")

    model: dict[str, Any]  # `memflux.compact.from_dict` makes the model of it
    units: dict[str, str]
    names: tuple[str, ...]  # R records
    validation: tuple[str, ...]  # those among them that the fit has not seen
    errors: Float[np.ndarray, " R"]  # L_b of each record, 1
    periods: Float[np.ndarray, " R"]  # marched to the periodic state; 0: none was reached
    start: float | None  # state at the start of every record; None: periodic states
    series_resistance: float  # Ohm
    amplitudes: Float[np.ndarray, "2"]  # V, smallest and largest of the fitted records' sources
    frequencies: Float[np.ndarray, "2"]  # Hz, of the fitted records
    fixed: tuple[str, ...]  # parameters that were given
    at_bounds: tuple[str, ...]  # parameters that the search left at an end of their range
    status: str
    evaluations: int  # sets of parameters, on all fitted records
    seconds_global: float  # s
    seconds_local: float  # s
    seed: int

    @property
    def compact(self) -> AbstractCompact:
        """The fitted model."""
        return compact.from_dict(self.model)

    def notes(self) -> list[str]:
        """How far to trust the model, in lines: its errors, its box and what the search left at an end."""
        low, high = self.amplitudes, self.frequencies
        state = "in the periodic state" if self.start is None else f"from the state {self.start:.4g}"
        parts = {"fitted": "training", "held-out": "validation"} if self.validation else {"fitted": "training"}
        errors = ", ".join(f"{self.mean_error(which):.3g} on {name} records" for name, which in parts.items())
        lines = [
            f"Error L_b (NMSE of voltage and current, added): {errors}; {self.errors.max():.3g} on the worst.",
            f"Holds for amplitudes {low[0]:.4g} to {low[1]:.4g} V and frequencies {high[0]:.4g} to {high[1]:.4g} Hz",
            f"of a source behind {self.series_resistance:.6g} Ohm, {state}; anything else is extrapolated.",
        ]
        if self.at_bounds:
            lines.append(f"At an end of their range, and so not determined: {', '.join(self.at_bounds)}.")
        return lines

    def mean_error(self, which: str = "all") -> float:
        """Mean L_b over "all", "training" or "validation" records; NaN where there are none."""
        held = np.isin(self.names, self.validation)
        errors = self.errors[{"all": np.ones_like(held), "training": ~held, "validation": held}[which]]
        return float(errors.mean()) if errors.size else float("nan")


def fit_loops(
    kind: type[AbstractCompact],
    training: Loops,
    validation: Loops | None = None,
    fixed: Mapping[str, float] | None = None,
    polarity: int | None = None,
    from_rest: bool = False,
    generations: int = 80,
    restarts: int = 2,
    iterations: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LoopFit:
    """The model of `kind` whose periodic states are nearest to the loops in `training`.

    `restarts` global searches of at most `generations`, each followed by a local one of at most `iterations`; the best
    is kept. With `from_rest` the records are no periodic states but begin in one state, which is fitted too: what a
    simulated device does that starts from equilibrium. `polarity` None: that of `polarity_of`. `fixed` holds
    parameters (SI) at known values, by default at those of `usual`. The ranges of the others follow from the loops'
    voltages, currents and periods alone. Raises InvalidValue for arguments out of range, SolveFailed where nothing
    was finite.
    """
    generations = check_integer("generations", generations, low=1, high=100_000)
    restarts = check_integer("restarts", restarts, low=1, high=1000)
    iterations = check_integer("iterations", iterations, low=1, high=100_000)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    if len(training) < 1:
        raise InvalidValue("there are no loops to fit; give at least one.")
    given = usual(kind) if fixed is None else dict(fixed)
    sign = polarity_of(training) if polarity is None else polarity
    problem = _Problem(kind, training, given, sign, from_rest, progress, restarts * generations)
    best, seconds = None, np.zeros(2)
    for k in range(restarts):
        began = time.perf_counter()
        coarse = problem.search(generations, [seed, k])
        between = time.perf_counter()
        unit, cost, message = problem.refine(coarse, iterations)
        seconds += between - began, time.perf_counter() - between
        if np.isfinite(cost) and (best is None or cost < best[1]):
            best = unit, cost, message
    if best is None:
        raise SolveFailed(
            f"no {kind.KEY} model had a finite error on {', '.join(training.names[:3])}; check the loops."
        )
    return _result(problem, best[0], best[2], validation, seconds, seed)


def usual(kind: type[AbstractCompact]) -> dict[str, float]:
    """Parameters that a fit holds unless told otherwise: q/(k T) at 300 K, and one of two that enter as a product."""
    return {p.name: p.usual for p in kind.parameters() if p.usual is not None}


def errors_of(
    model: AbstractCompact, loops: Loops, start: float | None = None
) -> tuple[Float[np.ndarray, " R"], Int[np.ndarray, " R"]]:
    """L_b of each record at all of its samples, and the periods that were marched to the periodic state (0: none).

    With a `start` the records are marched from that state as they are.
    """
    periods = PERIODS if start is None else 1
    starts = np.full((1, len(loops)), OFF if start is None else start)
    found = _states(type(model), model.values[None], loops, model.polarity, starts, SETTLED, periods)
    return loop_error(found.voltage[0], found.current[0], loops), found.periods[0]


def polarity_of(loops: Loops) -> int:
    """1 where the loops conduct better after a positive voltage than before, or as well; else -1."""
    voltage, current = (np.concatenate([part, part[:, :1]], 1) for part in (loops.voltage, loops.current))
    middle = 0.5 * (voltage[:, 1:] + voltage[:, :-1])
    area = 0.5 * (current[:, 1:] + current[:, :-1]) * np.diff(voltage) * np.sign(middle)  # up minus down, either side
    return 1 if np.sum(area.sum(1) / np.abs(area).sum(1).clip(TINY)) <= 0.0 else -1


def scale_of(loops: Loops) -> Scale:
    """The loops' natural units: the largest voltage of a source and current, the geometric mean of the periods."""
    peak = float(np.abs(loops.current).max())
    if not peak > 0.0:
        raise InvalidValue("the loops have no current; give records of a device that conducts.")
    period = float(np.exp(-np.log(loops.frequency).mean()))
    return Scale(float(np.abs(loops.source).max()), peak, period)


def _states(
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


def _thinned(loops: Loops, samples: int) -> Loops:
    """Every k-th sample, so that about `samples` or as many as there are remain."""
    count = loops.source.shape[1]
    every = max((k for k in range(1, count // min(samples, count) + 1) if count % k == 0), default=1)
    source, voltage, current = (
        np.ascontiguousarray(part[:, ::every]) for part in (loops.source, loops.voltage, loops.current)
    )
    return dataclasses.replace(loops, source=source, voltage=voltage, current=current)


class _Problem:
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
        self.coarse, self.fine = _thinned(loops, COARSE), _thinned(loops, FINE)
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
        found = _states(self.kind, values, self.coarse, self.polarity, start, CRUDE, self.periods)
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
        found = _states(self.kind, values[None], loops, sign, self.starts_at(unit[None]), SETTLED, self.periods)
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


def _result(
    problem: _Problem, unit: np.ndarray, message: str, validation: Loops | None, seconds: np.ndarray, seed: int
) -> LoopFit:
    model, loops = problem.of(problem.values_at(unit)), problem.loops
    parts = [loops] if validation is None else [loops, validation]
    start = float(unit[-1]) if problem.from_rest else None
    judged = [errors_of(model, part, start) for part in parts]
    errors, periods = (np.concatenate(part) for part in zip(*judged, strict=True))
    peaks = 0.5 * np.ptp(loops.source, axis=1)
    names = np.array([p.name for p in problem.kind.parameters()])
    ends = (unit < AT_BOUND) | (unit > 1.0 - AT_BOUND)
    unsettled = int((periods == 0).sum())
    return LoopFit(
        model=model.to_dict(),
        units={p.name: p.unit for p in problem.kind.parameters()},
        names=sum((part.names for part in parts), ()),
        validation=() if validation is None else validation.names,
        errors=errors,
        periods=periods.astype(float),
        series_resistance=loops.series_resistance,
        amplitudes=np.array([peaks.min(), peaks.max()]),
        frequencies=np.array([loops.frequency.min(), loops.frequency.max()]),
        fixed=tuple(problem.fixed),
        start=start,
        at_bounds=tuple(str(name) for name in names[problem.free][ends[: problem.free.sum()]]),
        status=message if not unsettled else f"{unsettled} records have no periodic state: {message}",
        evaluations=problem.evaluations,
        seconds_global=float(seconds[0]),
        seconds_local=float(seconds[1]),
        seed=seed,
    )
