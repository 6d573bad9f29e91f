"""From a measured curve to the device: fits by gradient from many starts at once.

Follows arXiv 2505.13882, sections 3.3 and 4.8 (multi-start local search on eq. 12), with all
starts in one batched call a step instead of one start after the other.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.descent import Found, adam, quasi_newton
from memflux.analysis.points import Section, spread
from memflux.analysis.results import AbstractResult
from memflux.contracts import CurveCost, Differentiable
from memflux.errors import InvalidValue, SolveFailed, check_integer
from memflux.metrics import nmae
from memflux.space import Space

ALIKE = 1.1  # times the best cost: starts that explain the curve about as well
POLISHED = 32  # starts that go on to the second search


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitResult(AbstractResult):
    """The best device, where every start ended, and the curve beside the target.

    `low` and `high` are the range of each parameter among the `alike` starts whose cost is within
    10 % of the best: a wide one says that the curve does not determine the parameter.
    """

    KIND: ClassVar[str] = "fit"
    ARRAYS: ClassVar[tuple[str, ...]] = ("points", "costs", "low", "high", "voltage", "target", "prediction")

    space: str
    names: tuple[str, ...]  # P parameters
    fixed: tuple[str, ...]  # those that were given, not fitted
    parameters: dict[str, float]  # of the best device; SI, eV
    cost: float
    cost_kind: str
    nmae: float | None  # of the best curve in amperes; None for a target of magnitudes only
    points: Float[np.ndarray, "S P"]  # where each start ended; SI, eV
    costs: Float[np.ndarray, " S"]  # NaN where a start never had a finite cost
    alike: int
    low: Float[np.ndarray, " P"]
    high: Float[np.ndarray, " P"]
    voltage: Float[np.ndarray, " T"]  # V, one cycle
    target: Float[np.ndarray, " T"]  # A
    prediction: Float[np.ndarray, " T"]  # A
    calls: int
    evaluations: int  # devices, over all calls
    seed: int


def fit_curve(
    model: Differentiable,
    space: Space,
    cost: CurveCost,
    starts: int = 500,
    iterations: int = 40,
    polish: int = 80,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FitResult:
    """The device of `space` whose curve is nearest to the target of `cost`.

    `starts` points run `iterations` steps of projected Adam, then the best 32 `polish` steps of
    projected BFGS; every step is one `model.value_and_gradient` of all of them. `fixed` holds
    parameters (SI, eV) at known values. Raises InvalidValue for arguments out of range and for
    parameters that the model has no gradient for, SolveFailed where no cost was finite.
    """
    starts = check_integer("starts", starts, low=1, high=100_000)
    iterations = check_integer("iterations", iterations, low=1, high=100_000)
    polish = check_integer("polish", polish, low=1, high=100_000)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    problem = _Problem(model, space, cost, dict(fixed or {}), iterations + polish, progress)
    unit = spread(space, starts, seed)[:, problem.section.free]
    coarse = adam(problem, unit, iterations, seed)
    best = np.argsort(coarse.values, kind="stable")[:POLISHED]
    fine = quasi_newton(problem, coarse.points[best], polish)
    coarse.points[best], coarse.values[best] = fine.points, fine.values
    if not np.isfinite(coarse.values).any():
        raise SolveFailed(f"none of {starts} starts had a finite cost; check the target and the space {space.name!r}.")
    return _result(problem, coarse, seed)


class _Problem:
    """The cost as a function of the free coordinates of the unit cube; counts what it costs."""

    def __init__(
        self,
        model: Differentiable,
        space: Space,
        cost: CurveCost,
        fixed: dict[str, float],
        calls: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.model, self.space, self.cost = model, space, cost
        self.section = Section.of(space, fixed)
        if unknown := [name for name in self.section.names if name not in model.parameters]:
            raise InvalidValue(
                f"the model has no gradient for {', '.join(unknown)}; fix {'it' if len(unknown) == 1 else 'them'}, "
                f"or fit in a space of {', '.join(model.parameters)}."
            )
        self.columns = [model.parameters.index(name) for name in self.section.names]
        self.calls = self.evaluations = 0
        self.expected, self.progress = calls, progress

    def __call__(self, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cost [S], NaN where the rule of the space refuses, and gradient [S, F] by the free coordinates."""
        unit = self.section.whole(free)
        value, gradient = self.model.value_and_gradient(*self.space.build(unit), self.cost)
        self.calls += 1
        self.evaluations += len(free)
        if self.progress is not None:
            self.progress(self.calls, self.expected)
        slope = _stretch(self.space, unit)[:, self.section.free]
        value = np.where(self.space.allowed(unit), value, np.nan)
        return value.astype(np.float64), np.asarray(gradient, dtype=np.float64)[:, self.columns] * slope


def _stretch(space: Space, unit: np.ndarray) -> np.ndarray:
    """Derivative of the parameter values with respect to the unit coordinates, [S, P]."""
    linear = np.array([p.high - p.low for p in space.parameters])
    decades = np.array([np.log(p.high / p.low) if p.log else 0.0 for p in space.parameters])
    return np.where([p.log for p in space.parameters], space.values(unit) * decades, linear)


def _result(problem: _Problem, found: Found, seed: int) -> FitResult:
    space, cost = problem.space, problem.cost
    order = np.argsort(found.values, kind="stable")
    unit, costs = problem.section.whole(found.points)[order], found.values[order]
    points = space.values(unit)
    alike = costs <= ALIKE * costs[0]
    curve = problem.model(*space.build(unit[:1])).cycle(cost.cycle)
    signed = (cost.target < 0).any()
    return FitResult(
        space=space.name,
        names=space.names,
        fixed=problem.section.fixed,
        parameters={name: float(value) for name, value in zip(space.names, points[0], strict=True)},
        cost=float(costs[0]),
        cost_kind=cost.kind,
        nmae=float(np.asarray(nmae(curve.current[0], cost.target))) if signed else None,
        points=points,
        costs=np.where(np.isfinite(costs), costs, np.nan),
        alike=int(alike.sum()),
        low=points[alike].min(axis=0),
        high=points[alike].max(axis=0),
        voltage=np.array(curve.voltage[0], dtype=np.float64),
        target=np.array(cost.target),
        prediction=np.array(curve.current[0], dtype=np.float64),
        calls=problem.calls,
        evaluations=problem.evaluations + 1,
        seed=seed,
    )
