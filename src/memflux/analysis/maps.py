"""Metric maps: a quantity over two or three parameters of a design space.

As in arXiv 2505.13882, section 3.4 and figures 6 and 7: some 25,000 devices over both barriers and six values of
the vacancy mobility.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from memflux.analysis import quantities as asking
from memflux.analysis.points import Section, spread
from memflux.analysis.quantities import Quantity, at_points, label
from memflux.analysis.results import AbstractResult
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, check_choice, check_integer, check_names
from memflux.space import Parameter, Space

LARGEST = 2**24  # nodes times quantities: 128 MB
MOST_DRAWS = 65_536
PUBLISHED_POINTS = (64, 64, 6)  # 24,576 devices


def _extreme(worst: float, reduce: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: reduce(np.where(np.isnan(values), worst, values), axis=1)


# Of the values [N, D, Q] of D devices at each of N nodes, NaN where undefined; every node has a value.
STATISTICS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda values: np.nanmean(values, axis=1),
    "deviation": lambda values: np.nanstd(values, axis=1),
    "median": lambda values: np.nanmedian(values, axis=1),
    "minimum": _extreme(np.inf, np.min),
    "maximum": _extreme(-np.inf, np.max),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MapResult(AbstractResult):
    """Q quantities over a grid of two or three parameters; `z` is None for two.

    `values` is NaN at nodes without a value; `defined` is the number of devices behind each value.
    """

    KIND: ClassVar[str] = "map"
    ARRAYS: ClassVar[tuple[str, ...]] = ("x", "y", "z", "values", "defined")

    space: str
    axes: tuple[str, ...]  # parameters along x, y, z
    units: tuple[str, ...]  # of the axes; "1": none
    log: tuple[bool, ...]  # whether an axis is logarithmic
    quantities: tuple[str, ...]  # Q
    x: Float[np.ndarray, " X"]  # SI, eV
    y: Float[np.ndarray, " Y"]
    z: Float[np.ndarray, " Z"] | None
    values: Float[np.ndarray, "Q X Y"] | Float[np.ndarray, "Q X Y Z"]
    defined: Float[np.ndarray, "Q X Y"] | Float[np.ndarray, "Q X Y Z"]
    held: dict[str, float]  # the other parameters, SI, eV; those that `statistic` is taken over are not among them
    statistic: str | None
    draws: int  # devices a node
    seed: int
    evaluations: int
    undefined: tuple[int, ...]  # evaluations without a value, a quantity
    refused: int  # devices that the rule of the space refuses, not evaluated


def metric_map(
    predictor: Predictor,
    space: Space,
    quantities: Sequence[Quantity] = ("symmetry", "on_off_ratio"),
    axes: Sequence[str] = ("barrier_left", "barrier_right", "mobility_vacancy"),
    points: int | Sequence[int] | None = None,
    fixed: Mapping[str, float] | None = None,
    statistic: str | None = None,
    draws: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> MapResult:
    """`quantities` over a grid of the parameters `axes`, evenly spaced on their own (linear or log) scales.

    `points` is the number of values an axis, ends included (default: 64, 64 and 6 as published). The other
    parameters are held: at the value (SI, eV) that `fixed` gives, else in the middle of their range, on its scale.
    With a `statistic` ("mean", "deviation", "median", "minimum" or "maximum") those without a value in `fixed` vary
    instead: each node gets the statistic over `draws` devices, the same Sobol' points of the others at each node.
    Memory is bounded by the result: nodes are evaluated part by part, `progress(done, all)` counts them.
    Raises InvalidValue for arguments out of range.
    """
    names, sizes = _axes(space, axes, points)
    if isinstance(quantities, str) or not quantities:
        raise InvalidValue(f"quantities = {quantities!r} is not a list of quantities; give one or more.")
    nodes = math.prod(sizes)
    if nodes * len(quantities) > LARGEST:
        raise InvalidValue(f"points = {sizes} makes {nodes:,} nodes; give at most {LARGEST // len(quantities):,}.")
    grid = [np.linspace(0.0, 1.0, size) for size in sizes]
    others = _Others.of(space, names, dict(fixed or {}), statistic, draws, seed)
    values, defined, allowed = _evaluated(predictor, space, quantities, grid, others, progress)
    lines = [_scale(space.parameters[k], g) for g, k in zip(grid, others.columns, strict=True)]
    shape = (len(quantities), *sizes)
    parameters = [space.parameters[k] for k in others.columns]
    return MapResult(
        space=space.name,
        axes=names,
        units=tuple(p.unit for p in parameters),
        log=tuple(p.log for p in parameters),
        quantities=tuple(label(q) for q in quantities),
        x=lines[0],
        y=lines[1],
        z=lines[2] if len(lines) == 3 else None,
        values=values.T.reshape(shape),
        defined=defined.T.reshape(shape),
        held=others.held,
        statistic=statistic,
        draws=len(others.points),
        seed=seed,
        evaluations=allowed,
        undefined=tuple(int(allowed - count) for count in defined.sum(axis=0)),
        refused=nodes * len(others.points) - allowed,
    )


def _scale(parameter: Parameter, unit: np.ndarray) -> np.ndarray:
    """Values (SI, eV) of one parameter at coordinates of the unit cube."""
    low, high = parameter.low, parameter.high
    return low * (high / low) ** unit if parameter.log else low + unit * (high - low)


def _axes(
    space: Space, axes: Sequence[str], points: int | Sequence[int] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names = tuple(axes)
    check_names("parameter of the space", names, space.names)
    if len(names) not in (2, 3) or len(set(names)) != len(names):
        raise InvalidValue(
            f"axes = {names} is not two or three different parameters; choose among {', '.join(space.names)}."
        )
    given = PUBLISHED_POINTS[: len(names)] if points is None else points
    sizes = (given,) * len(names) if isinstance(given, int) else tuple(given)
    if len(sizes) != len(names):
        raise InvalidValue(f"points = {sizes} is not one number an axis; give {len(names)}.")
    for name, size in zip(names, sizes, strict=True):
        check_integer(f"points of {name}", size, low=2, high=LARGEST)
    return names, sizes


class _Others(NamedTuple):
    """The points of the unit cube that a node stands for, but for the coordinates of the axes."""

    columns: list[int]  # of the axes
    points: np.ndarray  # [D, P]
    held: dict[str, float]  # SI, eV
    reduce: Callable[[np.ndarray], np.ndarray]  # [N, D, Q] to [N, Q]

    @classmethod
    def of(
        cls, space: Space, axes: tuple[str, ...], fixed: dict[str, float], statistic: str | None, draws: int, seed: int
    ) -> "_Others":
        if both := [name for name in axes if name in fixed]:
            raise InvalidValue(f"{both[0]} is an axis and has a fixed value; leave one of the two out.")
        seed = check_integer("seed", seed, low=0, high=2**63 - 1)
        draws = check_integer("draws", draws, low=1, high=MOST_DRAWS)
        point = Section.of(space, fixed).base[None]
        value = dict(zip(space.names, space.values(point)[0].tolist(), strict=True)) | fixed
        free = [name for name in space.names if name not in axes and name not in fixed]
        columns = [space.names.index(name) for name in axes]
        if statistic is None:
            still = {name: value[name] for name in space.names if name not in axes}
            return cls(columns, point, still, lambda values: values[:, 0])
        check_choice("statistic", statistic, STATISTICS)
        if not free:
            raise InvalidValue(f"no parameter is left to take the {statistic} over; leave statistic out.")
        moving = [space.names.index(name) for name in free]
        points = np.tile(point, (draws, 1))
        points[:, moving] = spread(dataclasses.replace(space, rule="none"), draws, seed)[:, moving]
        return cls(columns, points, {name: value[name] for name in space.names if name in fixed}, STATISTICS[statistic])


def _evaluated(
    predictor: Predictor,
    space: Space,
    quantities: Sequence[Quantity],
    grid: list[np.ndarray],
    others: _Others,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Values and numbers of devices behind them, [nodes, Q] each, and how many devices were asked for."""
    shape, draws = tuple(len(g) for g in grid), len(others.points)
    nodes, asked = math.prod(shape), 0
    values, defined = np.full((nodes, len(quantities)), np.nan), np.zeros((nodes, len(quantities)))
    step = max(asking.POINTS_AT_ONCE // draws, 1)
    for first in range(0, nodes, step):
        part = np.arange(first, min(first + step, nodes))
        unit = np.tile(others.points, (part.size, 1))
        for column, line, index in zip(others.columns, grid, np.unravel_index(part, shape), strict=True):
            unit[:, column] = np.repeat(line[index], draws)
        allowed = space.allowed(unit)
        answers = np.full((len(unit), len(quantities)), np.nan)
        answers[allowed] = at_points(predictor, space, unit[allowed], quantities)
        values[part], defined[part] = _reduced(answers.reshape(part.size, draws, -1), others.reduce)
        asked += int(allowed.sum())
        if progress is not None:
            progress(int(part[-1]) + 1, nodes)
    return values, defined, asked


def _reduced(answers: np.ndarray, reduce: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """One value a node and quantity, NaN where no device has one, and how many have one."""
    defined = np.isfinite(answers).sum(axis=1)
    some = defined > 0
    filled = np.where(some[:, None, :], answers, 0.0)
    return np.where(some, reduce(filled), np.nan), defined.astype(np.float64)
