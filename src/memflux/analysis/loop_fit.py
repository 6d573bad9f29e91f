"""A compact model fitted to measured loops: a global search, then a local one with exact gradients.

Global: R. Storn and K. Price, doi 10.1023/A:1008202821328, on records thinned out in time. Local: R. H.
Byrd et al., doi 10.1137/0916069, in coordinates that are logarithms where a parameter spans decades.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from memflux import compact
from memflux.analysis.loop_cost import LoopCost, periodic_states, usual
from memflux.analysis.memristor_march import OFF, PERIODS, SETTLED
from memflux.analysis.results import AbstractResult
from memflux.compact import AbstractCompact
from memflux.errors import InvalidValue, SolveFailed, check_integer
from memflux.loops import Loops, loop_error

TINY = 1e-300
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
    problem = LoopCost(kind, training, given, sign, from_rest, progress, restarts * generations)
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


def errors_of(
    model: AbstractCompact, loops: Loops, start: float | None = None
) -> tuple[Float[np.ndarray, " R"], Int[np.ndarray, " R"]]:
    """L_b of each record at all of its samples, and the periods that were marched to the periodic state (0: none).

    With a `start` the records are marched from that state as they are.
    """
    periods = PERIODS if start is None else 1
    starts = np.full((1, len(loops)), OFF if start is None else start)
    found = periodic_states(type(model), model.values[None], loops, model.polarity, starts, SETTLED, periods)
    return loop_error(found.voltage[0], found.current[0], loops), found.periods[0]


def polarity_of(loops: Loops) -> int:
    """1 where the loops conduct better after a positive voltage than before, or as well; else -1."""
    voltage, current = (np.concatenate([part, part[:, :1]], 1) for part in (loops.voltage, loops.current))
    middle = 0.5 * (voltage[:, 1:] + voltage[:, :-1])
    area = 0.5 * (current[:, 1:] + current[:, :-1]) * np.diff(voltage) * np.sign(middle)  # up minus down, either side
    return 1 if np.sum(area.sum(1) / np.abs(area).sum(1).clip(TINY)) <= 0.0 else -1


def _result(
    problem: LoopCost, unit: np.ndarray, message: str, validation: Loops | None, seconds: np.ndarray, seed: int
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
