"""Global sensitivity: which parameters the variance of a quantity comes from.

Sobol' indices by Saltelli's design (doi 10.1016/j.cpc.2009.09.018 for first and total order,
10.1016/S0010-4655(02)00280-1 for the second), as in arXiv 2505.13882, section 4.7. SALib does the
arithmetic; what it is silent about (missing outputs, constant outputs) is settled before it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from SALib.analyze import sobol as saltelli_estimate
from SALib.sample import sobol as saltelli_design

from memflux.analysis.quantities import Quantity, at_points, label
from memflux.analysis.results import AbstractResult
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, check_bool, check_integer
from memflux.space import Space

LARGEST = 2**20  # base samples
RESAMPLED = 2**27  # base samples times resamples: one gigabyte of float64


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SobolResult(AbstractResult):
    """Indices of Q quantities with respect to P parameters; intervals are half widths at 95 %.

    `second[q, i, j]` is given for i < j and NaN elsewhere; both second-order arrays are None where
    they were not asked for. A quantity without indices (constant, or missing too often) has NaN
    and a sentence in `notes`.
    """

    KIND: ClassVar[str] = "sobol"
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "first", "first_interval", "total", "total_interval", "second", "second_interval", "mean", "variance",
    )  # fmt: skip

    space: str
    names: tuple[str, ...]  # P parameters
    quantities: tuple[str, ...]  # Q
    first: Float[np.ndarray, "Q P"]
    first_interval: Float[np.ndarray, "Q P"]
    total: Float[np.ndarray, "Q P"]
    total_interval: Float[np.ndarray, "Q P"]
    second: Float[np.ndarray, "Q P P"] | None
    second_interval: Float[np.ndarray, "Q P P"] | None
    mean: Float[np.ndarray, " Q"]
    variance: Float[np.ndarray, " Q"]
    base_samples: int
    evaluations: int
    resamples: int
    seed: int
    dropped: tuple[int, ...]  # of base_samples, a quantity
    notes: tuple[str, ...]


class _Indices(NamedTuple):
    """Indices of one quantity as SALib names them."""

    first: np.ndarray  # [P]
    first_interval: np.ndarray
    total: np.ndarray
    total_interval: np.ndarray
    second: np.ndarray  # [P, P]
    second_interval: np.ndarray
    dropped: int
    note: str | None


def sobol(
    predictor: Predictor,
    space: Space,
    quantities: Sequence[Quantity] = ("symmetry", "on_off_ratio"),
    base_samples: int = 1024,
    second_order: bool = False,
    seed: int = 0,
    resamples: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> SobolResult:
    """Sobol' indices over the box of `space`, parameters uniform on their own (linear or log) scales.

    Costs base_samples * (P + 2) evaluations, or (2 P + 2) with `second_order`; `base_samples` is
    a power of two, as the Sobol' sequence needs. Rows of the design (blocks of one base sample)
    with a missing output are left out and counted. Raises InvalidValue for arguments out of range
    and for spaces whose rule makes the parameters dependent.
    """
    _check(space, quantities, base_samples, second_order, resamples)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    design_seed, bootstrap_seed = _seeds(seed)
    problem = {"num_vars": len(space.names), "names": list(space.names), "bounds": [[0.0, 1.0]] * len(space.names)}
    unit = saltelli_design.sample(problem, base_samples, calc_second_order=second_order, seed=design_seed)
    values = at_points(predictor, space, unit, quantities, progress)
    labels = tuple(label(q) for q in quantities)
    parts = [
        _indices(problem, values[:, i].reshape(base_samples, -1), second_order, resamples, bootstrap_seed, labels[i])
        for i in range(len(labels))
    ]
    return SobolResult(
        space=space.name,
        names=space.names,
        quantities=labels,
        first=np.stack([p.first for p in parts]),
        first_interval=np.stack([p.first_interval for p in parts]),
        total=np.stack([p.total for p in parts]),
        total_interval=np.stack([p.total_interval for p in parts]),
        second=np.stack([p.second for p in parts]) if second_order else None,
        second_interval=np.stack([p.second_interval for p in parts]) if second_order else None,
        mean=np.array([_moment(np.mean, column) for column in values.T]),
        variance=np.array([_moment(np.var, column) for column in values.T]),
        base_samples=base_samples,
        evaluations=len(unit),
        resamples=resamples,
        seed=seed,
        dropped=tuple(p.dropped for p in parts),
        notes=tuple(p.note for p in parts if p.note),
    )


def _check(space: Space, quantities: Sequence[Quantity], base_samples: int, second: bool, resamples: int) -> None:
    if isinstance(quantities, str) or not quantities:
        raise InvalidValue(f"quantities = {quantities!r} is not a list of quantities; give one or more.")
    if space.rule != "none":
        raise InvalidValue(
            f"space {space.name!r} keeps only devices of rule {space.rule!r}, so its parameters are not independent "
            "and Sobol indices are not defined; use a space without a rule, such as '16d-raw'."
        )
    check_integer("base_samples", base_samples, low=16, high=LARGEST)
    if base_samples & (base_samples - 1):
        near = 2 ** int(np.log2(base_samples))
        raise InvalidValue(f"base_samples = {base_samples} is not a power of two; give {near} or {2 * near}.")
    check_integer("resamples", resamples, low=2, high=10_000)
    if base_samples * resamples > RESAMPLED:
        raise InvalidValue(
            f"resamples = {resamples} with {base_samples} base samples needs over a gigabyte; "
            f"give at most {RESAMPLED // base_samples}."
        )
    check_bool("second_order", second)


def _seeds(seed: int) -> tuple[int, int]:
    """Two seeds for SALib, never 0, which it takes for none."""
    design, bootstrap = np.random.SeedSequence(seed).generate_state(2)
    return int(design) % (2**31 - 1) + 1, int(bootstrap) % (2**31 - 1) + 1


def _moment(moment: Callable[[np.ndarray], np.floating], column: np.ndarray) -> float:
    present = column[np.isfinite(column)]
    return float(moment(present)) if present.size else float("nan")


def _indices(
    problem: dict[str, Any], blocks: np.ndarray, second: bool, resamples: int, seed: int, name: str
) -> _Indices:
    """Indices of one quantity from its blocks [base samples, evaluations of each]."""
    whole = np.isfinite(blocks).all(axis=1)
    kept, dropped = blocks[whole], int((~whole).sum())
    share = float((~np.isfinite(blocks)).mean())
    if kept.shape[0] * 2 < blocks.shape[0]:
        note = (
            f"{name} is undefined or failed for {share:.1%} of the devices, which leaves {kept.shape[0]} of "
            f"{blocks.shape[0]} rows of the design: too few for indices; narrow the space or change the quantity."
        )
        return _missing(problem, dropped, note)
    if np.ptp(kept) <= 1e-12 * np.abs(kept).max():
        return _missing(problem, dropped, f"{name} is {kept.flat[0]:.6g} for every device: no variance to share out.")
    s = saltelli_estimate.analyze(problem, kept.ravel(), calc_second_order=second, num_resamples=resamples, seed=seed)
    note = (
        f"{name}: {share:.1%} of the devices had no value; {dropped} of {len(blocks)} rows of the design are left out."
    )
    none = np.full((problem["num_vars"],) * 2, np.nan)
    return _Indices(
        s["S1"], s["S1_conf"], s["ST"], s["ST_conf"],
        s["S2"] if second else none, s["S2_conf"] if second else none,
        dropped, note if dropped else None,
    )  # fmt: skip


def _missing(problem: dict[str, Any], dropped: int, note: str) -> _Indices:
    line = np.full(problem["num_vars"], np.nan)
    square = np.full((line.size, line.size), np.nan)
    return _Indices(line, line, line, line, square, square, dropped, note)
