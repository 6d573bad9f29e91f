"""Global sensitivity: which parameters the variance of a quantity comes from.

Sobol' indices as in arXiv 2505.13882, section 4.7, with the estimators of `saltelli`, intervals by
bootstrap over the base samples, and a bound on what the error of a surrogate may add to them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from memflux.analysis.bootstrap import half_widths, resampled_means
from memflux.analysis.held_out import quantity_errors
from memflux.analysis.quantities import POINTS_AT_ONCE, Quantity, evaluate, label
from memflux.analysis.results import AbstractResult
from memflux.analysis.saltelli import SaltelliDesign, indices, pairs, products, widened_by_error
from memflux.contracts import Predictor
from memflux.errors import InvalidValue, check_bool, check_integer, check_number
from memflux.space import Space

LARGEST = 2**20  # base samples
ALIKE = 1e-12  # of the largest value: outputs that differ by less are one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SobolResult(AbstractResult):
    """Indices of Q quantities with respect to P parameters; intervals are half widths at 95 %.

    `*_interval` is what sampling leaves open: the bootstrap's, which takes the base samples for
    independent and so is rather too wide for a Sobol' sequence. `*_interval_with_error` holds for the
    truth behind a surrogate that errs by `quantity_error`; it is wider by the bound of
    `saltelli.widened_by_error`, and NaN where the predictor does not know how far it errs.
    `second[q, i, j]` is given for i < j and NaN elsewhere; the arrays of the second order are None where
    it was not asked for. A quantity without indices (constant, or missing too often) has NaN and a
    sentence in `notes`.
    """

    KIND: ClassVar[str] = "sobol"
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "first", "first_interval", "first_interval_with_error", "total", "total_interval", "total_interval_with_error",
        "second", "second_interval", "second_interval_with_error", "mean", "variance", "quantity_error",
    )  # fmt: skip

    space: str
    names: tuple[str, ...]  # P parameters
    quantities: tuple[str, ...]  # Q
    first: Float[np.ndarray, "Q P"]
    first_interval: Float[np.ndarray, "Q P"]
    first_interval_with_error: Float[np.ndarray, "Q P"]
    total: Float[np.ndarray, "Q P"]
    total_interval: Float[np.ndarray, "Q P"]
    total_interval_with_error: Float[np.ndarray, "Q P"]
    second: Float[np.ndarray, "Q P P"] | None
    second_interval: Float[np.ndarray, "Q P P"] | None
    second_interval_with_error: Float[np.ndarray, "Q P P"] | None
    mean: Float[np.ndarray, " Q"]
    variance: Float[np.ndarray, " Q"]
    quantity_error: Float[np.ndarray, " Q"]  # standard deviation of prediction minus truth, held-out devices
    base_samples: int
    evaluations: int
    resamples: int
    seed: int
    dropped: tuple[int, ...]  # of base_samples, a quantity
    notes: tuple[str, ...]


def sobol(
    predictor: Predictor,
    space: Space,
    quantities: Sequence[Quantity] = ("symmetry", "on_off_ratio"),
    base_samples: int = 1024,
    second_order: bool = False,
    seed: int = 0,
    resamples: int = 100,
    tolerance: float | None = None,
    largest: int = 65_536,
    progress: Callable[[int, int], None] | None = None,
) -> SobolResult:
    """Sobol' indices over the box of `space`, parameters uniform on their own (linear or log) scales.

    Costs base_samples * (P + 2) evaluations, or (2 P + 2) with `second_order`; `base_samples` is
    a power of two, as the Sobol' sequence needs. With a `tolerance` it is doubled until the sampling
    interval of every index is at most that, or the next doubling would pass `largest`; nothing is
    asked twice, and the result is that of asking for the final size at once. Rows of the design
    (blocks of one base sample) with a missing output are left out and counted. A predictor that
    knows its errors on held-out devices (`held_out.quantity_errors`) has them in the intervals. Raises
    InvalidValue for arguments out of range and for spaces whose rule makes the parameters dependent.
    """
    check_question(space, quantities)
    check_base_samples(base_samples)
    check_bool("second_order", second_order)
    check_integer("resamples", resamples, low=2, high=10_000)
    check_seed(seed)
    if tolerance is not None:
        check_number("tolerance", tolerance, low=1e-4, high=1.0)
        check_integer("largest", largest, low=base_samples, high=LARGEST)
    study = _Study(predictor, space, tuple(quantities), second_order, resamples, seed, progress)
    study.ask(base_samples)
    if tolerance is None:
        return study.result(())
    while (wide := study.wider_than(tolerance)) and 2 * len(study.values) <= largest:
        study.ask(len(study.values))
    return study.result(wide)


def check_question(space: Space, quantities: Sequence[Quantity]) -> None:
    """Refuse spaces and quantities that a sensitivity is not defined for; InvalidValue says why."""
    if isinstance(quantities, str) or not quantities:
        raise InvalidValue(f"quantities = {quantities!r} is not a list of quantities; give one or more.")
    check_independent(space)


def check_independent(space: Space) -> None:
    """Refuse spaces whose parameters are not independent, or whose drive is not a function of them."""
    if space.rule != "none":
        raise InvalidValue(
            f"space {space.name!r} keeps only devices of rule {space.rule!r}, so its parameters are not independent "
            "and sensitivity indices are not defined; use a space without a rule, such as '16d-raw'."
        )
    if space.drive == "random":
        raise InvalidValue(
            f"space {space.name!r} has a random drive at every point, which no parameter explains; "
            "use a space of one drive, such as '5d-parametric'."
        )


def check_seed(seed: int) -> int:
    """A seed; 0 is one."""
    return check_integer("seed", seed, low=0, high=2**63 - 1)


def check_base_samples(base_samples: int) -> int:
    """A power of two from 16 to LARGEST."""
    base_samples = check_integer("base_samples", base_samples, low=16, high=LARGEST)
    if base_samples & (base_samples - 1):
        near = 2 ** int(np.log2(base_samples))
        raise InvalidValue(f"base_samples = {base_samples} is not a power of two; give {near} or {2 * near}.")
    return base_samples


class _Shares(NamedTuple):
    """The I indices of one quantity: P first, P total, then those of pairs."""

    estimate: Float[np.ndarray, " I"]
    half_width: Float[np.ndarray, " I"]
    dropped: int
    note: str | None


class _Study:
    """The answers so far, and the indices that they give."""

    def __init__(
        self,
        predictor: Predictor,
        space: Space,
        quantities: tuple[Quantity, ...],
        second_order: bool,
        resamples: int,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.predictor, self.space, self.quantities = predictor, space, quantities
        self.resamples, self.seed, self.progress = resamples, seed, progress
        design_seed, self.bootstrap_seed = np.random.SeedSequence(seed).spawn(2)
        self.design = SaltelliDesign(len(space.names), second_order, np.random.default_rng(design_seed))
        self.labels = tuple(label(q) for q in quantities)
        self.values: Float[np.ndarray, "N S Q"] = np.empty((0, self.design.evaluations, len(quantities)))
        self.shares: list[_Shares] = []

    def ask(self, count: int) -> None:
        """The next `count` base samples, and the indices with them."""
        answers, done, goal = [self.values], len(self.values), len(self.values) + count
        for points in self.design.blocks(count, POINTS_AT_ONCE):
            devices, drive = self.space.build(points.reshape(-1, self.design.parameters))
            answer = evaluate(self.predictor, devices, drive, self.quantities)
            answers.append(answer.reshape(*points.shape[:2], -1))
            done += len(points)
            if self.progress is not None:
                self.progress(done * self.design.evaluations, goal * self.design.evaluations)
        self.values = np.concatenate(answers)
        self.shares = [self._shares(name, self.values[:, :, q]) for q, name in enumerate(self.labels)]

    def wider_than(self, tolerance: float) -> tuple[str, ...]:
        """A sentence for each quantity one of whose intervals is wider."""
        names = self.space.names
        j, k = pairs(len(names))
        of = [f"first order of {n}" for n in names] + [f"total order of {n}" for n in names]
        of += [f"second order of {names[a]} and {names[b]}" for a, b in zip(j, k, strict=True)]
        found = []
        for name, share in zip(self.labels, self.shares, strict=True):
            worst = int(np.argmax(np.nan_to_num(share.half_width)))
            if (width := share.half_width[worst]) > tolerance:
                found.append(
                    f"{name}: the interval of the {of[worst]} is +- {width:.3g} with {len(self.values)} base samples, "
                    f"above tolerance = {tolerance:g}; allow a larger sample."
                )
        return tuple(found)

    def result(self, notes: tuple[str, ...]) -> SobolResult:
        """The indices with everything that is known of them."""
        parameters = self.design.parameters
        first, total = slice(0, parameters), slice(parameters, 2 * parameters)
        index = np.stack([s.estimate for s in self.shares])
        half = np.stack([s.half_width for s in self.shares])
        variance = np.array([_moment(np.var, column) for column in self.values.T])
        error, unknown = self._error()
        relative = error / np.sqrt(np.where(variance > 0, variance, np.nan))
        wider = np.stack([widened_by_error(*row) for row in zip(index, half, relative.tolist(), strict=True)])
        return SobolResult(
            space=self.space.name,
            names=self.space.names,
            quantities=self.labels,
            first=index[:, first],
            first_interval=half[:, first],
            first_interval_with_error=wider[:, first],
            total=index[:, total],
            total_interval=half[:, total],
            total_interval_with_error=wider[:, total],
            second=self._second(index),
            second_interval=self._second(half),
            second_interval_with_error=self._second(wider),
            mean=np.array([_moment(np.mean, column) for column in self.values.T]),
            variance=variance,
            quantity_error=error,
            base_samples=len(self.values),
            evaluations=len(self.values) * self.design.evaluations,
            resamples=self.resamples,
            seed=self.seed,
            dropped=tuple(s.dropped for s in self.shares),
            notes=(*(s.note for s in self.shares if s.note), *notes, *unknown),
        )

    def _shares(self, name: str, blocks: Float[np.ndarray, "N S"]) -> _Shares:
        """Indices of one quantity."""
        kept, dropped, note = whole_blocks(name, blocks)
        parameters = self.design.parameters
        if kept is None:
            none = np.full(2 * parameters + self.design.second_order * pairs(parameters)[0].size, np.nan)
            return _Shares(none, none, dropped, note)
        means = resampled_means(
            products(kept - kept.mean(), parameters), self.resamples, np.random.default_rng(self.bootstrap_seed)
        )
        estimates = indices(means, parameters)
        return _Shares(estimates[0], half_widths(estimates), dropped, note)

    def _second(self, rows: Float[np.ndarray, "Q I"]) -> Float[np.ndarray, "Q P P"] | None:
        """What the rows hold of pairs, in the upper triangle of a matrix a quantity."""
        if not self.design.second_order:
            return None
        parameters = self.design.parameters
        square = np.full((len(rows), parameters, parameters), np.nan)
        square[(slice(None), *pairs(parameters))] = rows[:, 2 * parameters :]
        return square

    def _error(self) -> tuple[Float[np.ndarray, " Q"], tuple[str, ...]]:
        """How far the predictor errs in each quantity, NaN where that is not known, and a sentence where it matters."""
        none = np.full(len(self.labels), np.nan)
        errors = quantity_errors(self.predictor, self.quantities)
        if errors is None:
            return none, ()
        if getattr(self.predictor, "space", self.space) != self.space:
            return none, (
                f"the error of the predictor in space {self.space.name!r} is not known: it is measured in its own.",
            )
        return np.array([_moment(np.std, column) for column in errors.T]), ()


def whole_blocks(
    name: str, blocks: Float[np.ndarray, "N S"]
) -> tuple[Float[np.ndarray, "M S"] | None, int, str | None]:
    """The blocks without a missing output, how many others there are, and a sentence about them.

    None in their place where there are too few, or no variance among them.
    """
    whole = np.isfinite(blocks).all(axis=1)
    kept, dropped = blocks[whole], int((~whole).sum())
    share = float((~np.isfinite(blocks)).mean())
    if 2 * len(kept) < len(blocks):
        note = (
            f"{name} is undefined or failed for {share:.1%} of the devices, which leaves {len(kept)} of "
            f"{len(blocks)} rows of the design: too few for indices; narrow the space or change the quantity."
        )
        return None, dropped, note
    ends = kept[:, [0, -1]]  # whose variance is shared out
    if np.ptp(ends) <= ALIKE * np.abs(ends).max():
        return None, dropped, f"{name} is {ends.flat[0]:.6g} for every device of the base samples: no variance."
    note = (
        f"{name}: {share:.1%} of the devices had no value; {dropped} of {len(blocks)} rows of the design are left out."
    )
    return kept, dropped, note if dropped else None


def _moment(moment: Callable[[np.ndarray], np.floating], column: np.ndarray) -> float:
    present = column[np.isfinite(column)]
    return float(moment(present)) if present.size else float("nan")
