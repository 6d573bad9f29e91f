"""Sensitivity along the curve: Sobol' indices of the current at every sample of one cycle, and of the cycle as a whole.

The generalised indices are the shares of the variance summed over the samples (Lamboni et al., doi
10.1016/j.ress.2010.10.002). Curves are asked for in parts of which only the sums of the estimators are kept.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.bootstrap import half_widths, resampled_means
from memflux.analysis.quantities import CURVES_AT_ONCE
from memflux.analysis.results import AbstractResult
from memflux.analysis.saltelli import SaltelliDesign, indices, products, variances
from memflux.analysis.sensitivity import ALIKE, check_base_samples, check_independent, check_seed
from memflux.contracts import Predictor
from memflux.errors import SolveFailed, check_bool, check_integer, check_number
from memflux.space import Space

GROUPS = 64  # of base samples, at most: the bootstrap draws whole groups


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CurveSobolResult(AbstractResult):
    """Indices of log10|I / A| (or I) at T samples of one cycle with respect to P parameters.

    Intervals are half widths at 95 %. Samples at which the current is the same for every device have NaN.
    `generalised_*` are the indices of the whole cycle: those of the samples, weighted by their variance.
    """

    KIND: ClassVar[str] = "sobol_curve"
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "phase", "voltage", "mean", "variance", "first", "first_interval", "total", "total_interval",
        "generalised_first", "generalised_first_interval", "generalised_total", "generalised_total_interval",
    )  # fmt: skip

    space: str
    names: tuple[str, ...]  # P parameters
    log: bool  # log10|I / A|, else I / A
    floor: float  # A
    cycle: int
    phase: Float[np.ndarray, " T"]  # 0 to 1 within the cycle
    voltage: Float[np.ndarray, " T"]  # V; the mean, where the drive differs from device to device
    mean: Float[np.ndarray, " T"]
    variance: Float[np.ndarray, " T"]
    first: Float[np.ndarray, "T P"]
    first_interval: Float[np.ndarray, "T P"]
    total: Float[np.ndarray, "T P"]
    total_interval: Float[np.ndarray, "T P"]
    generalised_first: Float[np.ndarray, " P"]
    generalised_first_interval: Float[np.ndarray, " P"]
    generalised_total: Float[np.ndarray, " P"]
    generalised_total_interval: Float[np.ndarray, " P"]
    base_samples: int
    evaluations: int
    resamples: int
    seed: int
    dropped: int  # of base_samples
    notes: tuple[str, ...]


def sobol_along_curve(
    predictor: Predictor,
    space: Space,
    base_samples: int = 1024,
    log: bool = True,
    floor: float = 1e-15,
    cycle: int = -1,
    seed: int = 0,
    resamples: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> CurveSobolResult:
    """First and total order of log10(|I| + floor), or of I, at every sample of one cycle, over the box of `space`.

    `floor` [A] keeps the logarithm of a current that passes zero from deciding the indices there. Costs
    base_samples * (P + 2) curves, of which at most 8,192 are held at once. Rows of the design with
    a failed curve are left out and counted. Raises InvalidValue for arguments out of range and for
    spaces whose rule makes the parameters dependent, SolveFailed where more than half of the rows
    have a failed curve.
    """
    check_independent(space)
    check_base_samples(base_samples)
    check_bool("log", log)
    floor = check_number("floor", floor, low=1e-300, high=1e3, unit="A")
    check_integer("resamples", resamples, low=2, high=10_000)
    design_seed, bootstrap_seed = np.random.SeedSequence(check_seed(seed)).spawn(2)
    design = SaltelliDesign(len(space.names), False, np.random.default_rng(design_seed))
    sums = _Sums(base_samples, design.parameters)
    for points in design.blocks(base_samples, CURVES_AT_ONCE):
        traces = predictor(*space.build(points.reshape(-1, design.parameters))).cycle(cycle)
        current = np.where(traces.ok[:, None], traces.current, np.nan)
        values = np.log10(np.abs(current) + floor) if log else current
        sums.add(values.reshape(*points.shape[:2], -1), traces.voltage)
        if progress is not None:
            progress(sums.done * design.evaluations, base_samples * design.evaluations)
    dropped = base_samples - sums.kept
    if 2 * sums.kept < base_samples:
        raise SolveFailed(
            f"{dropped} of {base_samples} rows of the design have a failed curve, and too few are left for indices; "
            "narrow the space."
        )
    mean, variance, shares, whole = sums.estimates(resamples, np.random.default_rng(bootstrap_seed))
    half, whole_half = half_widths(shares), half_widths(whole)
    first, total = slice(0, design.parameters), slice(design.parameters, None)
    return CurveSobolResult(
        space=space.name,
        names=space.names,
        log=log,
        floor=floor,
        cycle=cycle,
        phase=np.linspace(0.0, 1.0, mean.size),
        voltage=sums.voltage / base_samples,
        mean=mean,
        variance=variance,
        first=shares[0, first].T,
        first_interval=half[first].T,
        total=shares[0, total].T,
        total_interval=half[total].T,
        generalised_first=whole[0, first],
        generalised_first_interval=whole_half[first],
        generalised_total=whole[0, total],
        generalised_total_interval=whole_half[total],
        base_samples=base_samples,
        evaluations=base_samples * design.evaluations,
        resamples=resamples,
        seed=seed,
        dropped=dropped,
        notes=(f"{dropped} of {base_samples} rows of the design are left out: a curve failed.",) if dropped else (),
    )


class _Sums:
    """Sums of `saltelli.products` in groups of successive base samples, and the number of these."""

    def __init__(self, base_samples: int, parameters: int) -> None:
        self.parameters = parameters
        self.groups = min(GROUPS, base_samples)
        self.size = base_samples // self.groups
        self.done = self.kept = 0
        self.voltage = np.zeros(1)  # [T], of all base samples

    def add(self, blocks: Float[np.ndarray, "N S T"], voltage: Float[np.ndarray, "B T"]) -> None:
        """The next N base samples."""
        whole = np.isfinite(blocks).all(axis=(1, 2))
        group = (self.done + np.flatnonzero(whole)) // self.size
        self.done += len(blocks)
        self.voltage = self.voltage + len(blocks) * voltage.mean(axis=0)
        if not group.size:
            return
        if not self.kept:  # any constant will do as the centre, so long as it is one
            self.centre = blocks[whole].mean(axis=(0, 1))
            self.counts = np.zeros(self.groups)
            self.sums = np.zeros((self.groups, 2 + 2 * self.parameters, blocks.shape[2]))
        self.kept += group.size
        terms = products(blocks[whole] - self.centre, self.parameters)
        for g in np.unique(group):
            self.counts[g] += (group == g).sum()
            self.sums[g] += terms[group == g].sum(axis=0)

    def estimates(
        self, resamples: int, generator: np.random.Generator
    ) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"], Float[np.ndarray, "R I T"], Float[np.ndarray, "R I"]]:
        """Mean and variance of the curves; indices of every sample and of the cycle, then those of the resamples."""
        counted = np.broadcast_to(self.counts[:, None, None], (self.groups, 1, self.sums.shape[2]))
        drawn = resampled_means(np.concatenate([counted, self.sums], axis=1), resamples, generator)
        means = drawn[:, 1:] / np.maximum(drawn[:, :1], 1e-9)  # a draw of empty groups alone has no index
        mean, variance = self.centre + means[0, 0], variances(means)
        moves = variance[0] > (ALIKE * np.abs(mean)) ** 2
        shares = indices(means, self.parameters)
        variance = np.where(moves, variance, 0.0)[:, None]
        everything = variance.sum(axis=2)
        whole = np.divide(
            (shares * variance).sum(axis=2), everything, out=np.full(shares.shape[:2], np.nan), where=everything > 0
        )
        return mean, variance[0, 0], np.where(moves, shares, np.nan), whole
