"""How well the perceptrons predict curves that they never saw, and how much data that takes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from memflux.pulse_curves import PulseCurves
from memflux.pulse_scale import AbsoluteScale
from memflux.training.pulse_folds import Folds, thinned
from memflux.training.pulse_mlp import PulseConfig
from memflux.training.pulse_spread import PulseSpread
from memflux.training.pulse_training import FittedNetworks, Progress, PulseRecipe, fit_networks

FRACTIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoldErrors:
    """Mean squared errors of the scaled current over the E test parts."""

    pooled: float  # over all test pulses of all folds
    median: float  # over test curves, of the curve's own error
    of_fold: Float[np.ndarray, " E"]

    @classmethod
    def of(cls, error: Float[np.ndarray, "E C P"], parts: np.ndarray) -> "FoldErrors":
        """From the errors of all curves, counted where a part's mask is true."""
        square = error**2
        each = [
            (s * m).sum(axis=1)[m.any(axis=1)] / m.sum(axis=1)[m.any(axis=1)]
            for s, m in zip(square, parts, strict=True)
        ]
        return cls(
            pooled=float(square[parts].mean()),
            median=float(np.median(np.concatenate(each))),
            of_fold=np.array([s[m].mean() for s, m in zip(square, parts, strict=True)]),
        )


def residuals(fitted: FittedNetworks, curves: PulseCurves) -> Float[np.ndarray, "E C P"]:
    """Predicted minus measured scaled current of every curve by every network."""
    return fitted.curves(curves.unique_settings)[:, curves.setting] - curves.scaled


def cross_validate(
    curves: PulseCurves,
    parts: Folds,
    config: PulseConfig,
    recipe: PulseRecipe,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[FittedNetworks, FoldErrors]:
    """One network a fold, all trained at once, and their errors on the test parts."""
    fitted = fit_networks(curves, parts.train, config, recipe, seed, progress)
    return fitted, FoldErrors.of(residuals(fitted, curves), parts.test)


def mean_curve(curves: PulseCurves, parts: Folds) -> FoldErrors:
    """The baseline: every test curve predicted as the mean of the training curves, pulse by pulse."""
    count = np.maximum(parts.train.sum(axis=1), 1)  # [E, P]
    mean = (parts.train * curves.scaled).sum(axis=1) / count
    return FoldErrors.of(mean[:, None] - curves.scaled[None], parts.test)


def replicate_scatter(curves: PulseCurves) -> float:
    """Variance of the scaled current among curves of one setting, unbiased, averaged over their curves.

    No model that sees settings alone errs less on fresh curves of these settings.
    """
    total, count = 0.0, 0
    for number in range(len(curves.unique_settings)):
        same = curves.scaled[curves.setting == number]
        if len(same) > 1:
            total += float(same.var(axis=0, ddof=1).mean()) * len(same)
            count += len(same)
    return total / count if count else float("nan")


def learning_curve(
    curves: PulseCurves,
    parts: Folds,
    config: PulseConfig,
    recipe: PulseRecipe,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> dict[float, FoldErrors]:
    """Errors on the whole test parts, of networks that learned from a fraction of the training parts."""
    return {
        fraction: cross_validate(curves, thinned(parts, fraction, seed), config, recipe, seed)[1]
        for fraction in fractions
    }


def band_coverage(curves: PulseCurves, parts: Folds, error: Float[np.ndarray, "E C P"], coverage: float = 0.9) -> float:
    """The share of test pulses that lie in the band of `PulseSpread`, over all folds."""
    inside = []
    for e, train, held, test in zip(error, parts.train, parts.validation, parts.test, strict=True):
        a, b, c = (mask.any(axis=1) for mask in (train, held, test))
        spread = PulseSpread.fit(curves.take(a), e[a], curves.take(b), e[b], coverage)
        inside.append(np.abs(e[c]) <= spread.half_width(curves.settings[c]))
    return float(np.concatenate(inside).mean())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AbsoluteErrors:
    """Median over test curves of the mean absolute error in A over the curve's largest current."""

    unknown_device: float  # from the settings alone
    known_first: float  # given the device's read current after its first pulse


def absolute_errors(curves: PulseCurves, parts: Folds, fitted: FittedNetworks) -> AbsoluteErrors:
    """Errors in A on the test curves that begin with a positive current, the scale fitted to the training curves."""
    shapes = fitted.curves(curves.unique_settings)[:, curves.setting]
    found: list[list[np.ndarray]] = [[], []]
    for shape, train, test in zip(shapes, parts.train, parts.test, strict=True):
        scale = AbsoluteScale.fit(curves.take(train.any(axis=1)))
        rows = np.flatnonzero(test.any(axis=1) & (curves.current[:, 0] > 0.0))
        measured = curves.current[rows]
        for place, first in enumerate((None, measured[:, 0])):
            begin, span = scale.at(curves.settings[rows], first)
            predicted = begin[:, None] + span[:, None] * (shape[rows] - shape[rows, :1])
            found[place].append(np.abs(predicted - measured).mean(axis=1) / np.abs(measured).max(axis=1))
    return AbsoluteErrors(
        unknown_device=float(np.median(np.concatenate(found[0]))),
        known_first=float(np.median(np.concatenate(found[1]))),
    )
