"""Screening: which parameters matter at all, from few evaluations.

Elementary effects (Morris, doi 10.1080/00401706.1991.10484804) with the mean magnitude mu* of Campolongo et al. (doi
10.1016/j.envsoft.2006.10.004), which effects of both signs do not cancel in.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from memflux.analysis.bootstrap import half_widths, resampled_means
from memflux.analysis.quantities import Quantity, at_points, label
from memflux.analysis.results import AbstractResult
from memflux.analysis.sensitivity import check_question, check_seed
from memflux.contracts import Predictor
from memflux.errors import check_integer
from memflux.space import Space

LEVELS = 4  # of a coordinate, 0 to 1: Morris's choice
STEP = LEVELS / (2 * (LEVELS - 1))  # of the cube's edge, so that every level is as likely
FEWEST = 2  # effects of which a deviation is one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MorrisResult(AbstractResult):
    """Elementary effects of P parameters on Q quantities, for the whole range of a parameter.

    `mu_star` says how much a parameter matters, with the half width of its 95 % interval; `sigma` how much its
    effect depends on where it acts: near zero for a parameter that enters linearly and alone. NaN
    where fewer than two of the `trajectories` have an effect.
    """

    KIND: ClassVar[str] = "morris"
    ARRAYS: ClassVar[tuple[str, ...]] = ("mu", "mu_star", "mu_star_interval", "sigma")

    space: str
    names: tuple[str, ...]  # P parameters
    quantities: tuple[str, ...]  # Q
    mu: Float[np.ndarray, "Q P"]
    mu_star: Float[np.ndarray, "Q P"]
    mu_star_interval: Float[np.ndarray, "Q P"]
    sigma: Float[np.ndarray, "Q P"]
    trajectories: int
    evaluations: int
    resamples: int
    seed: int
    missing: tuple[int, ...]  # effects without a value, a quantity
    notes: tuple[str, ...]


def morris(
    predictor: Predictor,
    space: Space,
    quantities: Sequence[Quantity] = ("symmetry", "on_off_ratio"),
    trajectories: int = 64,
    seed: int = 0,
    resamples: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> MorrisResult:
    """Elementary effects over the box of `space`, parameters on their own (linear or log) scales.

    Costs trajectories * (P + 1) evaluations. An effect with a missing output at either end is left out and
    counted. Raises InvalidValue for arguments out of range and for spaces whose rule makes the parameters dependent.
    """
    check_question(space, quantities)
    trajectories = check_integer("trajectories", trajectories, low=2, high=1_000_000)
    check_integer("resamples", resamples, low=2, high=10_000)
    design_seed, bootstrap_seed = np.random.SeedSequence(check_seed(seed)).spawn(2)
    points, place, sign = _trajectories(trajectories, len(space.names), np.random.default_rng(design_seed))
    values = at_points(predictor, space, points.reshape(-1, len(space.names)), quantities, progress)
    steps = np.diff(values.reshape(trajectories, -1, len(quantities)), axis=1)
    effects = np.take_along_axis(steps, place[:, :, None], axis=1) / (sign * STEP)[:, :, None]  # [N, P, Q]
    labels = tuple(label(q) for q in quantities)
    known = np.isfinite(effects)
    mu_star, half = _mean_magnitude(effects, known, resamples, np.random.default_rng(bootstrap_seed))
    mu, sigma = _moments(effects, known)
    missing = (~known).sum(axis=(0, 1))
    return MorrisResult(
        space=space.name,
        names=space.names,
        quantities=labels,
        mu=mu.T,
        mu_star=mu_star.T,
        mu_star_interval=half.T,
        sigma=sigma.T,
        trajectories=trajectories,
        evaluations=len(values),
        resamples=resamples,
        seed=seed,
        missing=tuple(missing.tolist()),
        notes=tuple(
            f"{name}: {count} of {known[:, :, 0].size} effects have no value, since a device has none."
            for name, count in zip(labels, missing, strict=True)
            if count
        ),
    )


def _trajectories(
    count: int, parameters: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "N S P"], np.ndarray, np.ndarray]:
    """Paths of S = P + 1 points through the grid of levels, each coordinate moved once by STEP, in any order.

    Also which step [N, P] moves a parameter, and its sign [N, P].
    """
    low = generator.integers(LEVELS // 2, size=(count, parameters)) / (LEVELS - 1)
    sign = generator.choice([-1.0, 1.0], size=(count, parameters))
    place = generator.permuted(np.tile(np.arange(parameters), (count, 1)), axis=1)
    moved = place[:, None, :] < np.arange(parameters + 1)[:, None]
    return low[:, None] + STEP * (moved == (sign > 0)[:, None]), place, sign


def _mean_magnitude(
    effects: Float[np.ndarray, "N P Q"],
    known: Bool[np.ndarray, "N P Q"],
    resamples: int,
    generator: np.random.Generator,
) -> tuple[Float[np.ndarray, "P Q"], Float[np.ndarray, "P Q"]]:
    """Mean of |effect| where there is one, and its interval from resampled trajectories."""
    rows = np.stack([np.where(known, np.abs(effects), 0.0), known.astype(np.float64)], axis=1)
    means = resampled_means(rows, resamples, generator)
    enough = known.sum(axis=0) >= FEWEST
    magnitude = means[:, 0] / np.maximum(means[:, 1], 1e-12)
    return np.where(enough, magnitude[0], np.nan), np.where(enough, half_widths(magnitude), np.nan)


def _moments(
    effects: Float[np.ndarray, "N P Q"], known: Bool[np.ndarray, "N P Q"]
) -> tuple[Float[np.ndarray, "P Q"], Float[np.ndarray, "P Q"]]:
    """Mean and standard deviation of the effects that there are."""
    count = known.sum(axis=0)
    mean = np.where(known, effects, 0.0).sum(axis=0) / np.maximum(count, 1)
    square = np.where(known, effects - mean, 0.0) ** 2
    deviation = np.sqrt(square.sum(axis=0) / np.maximum(count - 1, 1))
    return np.where(count >= FEWEST, mean, np.nan), np.where(count >= FEWEST, deviation, np.nan)
