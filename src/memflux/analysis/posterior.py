"""Posterior samples of the parameters behind a curve, by an affine-invariant ensemble (emcee, arXiv 1202.3665).

The prior is uniform on the unit cube of the space, so on each parameter's own (linear or log) scale; the likelihood is
that of `identify`, with the predictor's own error in it. All walkers of half an ensemble are one call of the predictor.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import emcee
import numpy as np
from jaxtyping import Float

from memflux.analysis import verdict
from memflux.analysis.identifiability import Identifiability, likelihood_of, widths_of
from memflux.analysis.likelihood import Likelihood
from memflux.analysis.points import Section
from memflux.analysis.results import AbstractResult
from memflux.contracts import CurveCost, Predictor
from memflux.errors import InvalidValue, check_integer
from memflux.space import Space

# Differences of walkers (doi 10.1007/s11222-006-8769-1) and snookers: half the autocorrelation of the stretch move.
MOVES = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]
SPREAD = 1.0  # deviations of the first walkers around the most probable device
KEPT = 4000  # samples at most
LONG = 10.0  # autocorrelation times that every chain should have
BLOCK = 20  # steps between two reports of progress


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posterior(AbstractResult):
    """N samples of the F free parameters of a space, and what they say.

    `width` is the standard deviation over that of the prior, on the parameter's own scale; `low` and `high` hold
    the middle 90 %.
    """

    KIND: ClassVar[str] = "posterior"
    ARRAYS: ClassVar[tuple[str, ...]] = ("samples", "median", "low", "high", "width", "correlation")

    space: str
    names: tuple[str, ...]  # F
    fixed: dict[str, float]  # SI, eV
    samples: Float[np.ndarray, "N F"]  # SI, eV
    median: Float[np.ndarray, " F"]  # SI, eV
    low: Float[np.ndarray, " F"]
    high: Float[np.ndarray, " F"]
    width: Float[np.ndarray, " F"]
    correlation: Float[np.ndarray, "F F"]
    walkers: int
    steps: int  # after the first ones, which are left out
    left_out: int
    acceptance: float
    autocorrelation: float  # steps, of the slowest parameter
    effective: float  # independent samples that the chains are worth
    evaluations: int
    seed: int
    verdict: tuple[str, ...]


def posterior(
    predictor: Predictor,
    space: Space,
    cost: CurveCost,
    found: Identifiability,
    walkers: int = 256,
    steps: int = 400,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Posterior:
    """Samples of the posterior of the target of `cost`, starting around the device that `identify` found.

    Costs walkers * (steps + steps / 4) evaluations, of which the first fifth is left out. Raises InvalidValue for
    arguments out of range and for another space than that of `found`.
    """
    if found.space != space.name:
        raise InvalidValue(
            f"found is of space {found.space!r} and not {space.name!r}; give the space it was computed in."
        )
    walkers = check_integer("walkers", walkers, low=4 * len(found.names), high=100_000)
    steps = check_integer("steps", steps, low=20, high=1_000_000)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    likelihood = likelihood_of(predictor, space, cost, found)
    start = _start(likelihood, found, walkers, np.random.default_rng(seed))
    sampler = emcee.EnsembleSampler(walkers, len(found.names), likelihood, moves=MOVES, vectorize=True)
    # emcee would draw its own state from the global generator
    sampler.random_state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed))).get_state()
    first = steps // 4
    for done, _ in enumerate(sampler.sample(start, iterations=first + steps), 1):
        if progress is not None and (done % BLOCK == 0 or done == first + steps):
            progress(done, first + steps)
    return _result(sampler, likelihood.section, found, first, seed)


def _start(
    likelihood: Likelihood, found: Identifiability, walkers: int, generator: np.random.Generator
) -> Float[np.ndarray, "W F"]:
    """Draws of the normal around the best device that lie in the cube, and are different."""
    root = SPREAD * np.linalg.cholesky(found.covariance)
    points = found.point + generator.standard_normal((walkers, found.point.size)) @ root.T
    points = np.abs(points) % 2.0  # reflected at the faces
    points = np.where(points > 1.0, 2.0 - points, points)
    lost = ~np.isfinite(likelihood(points))
    points[lost] = np.clip(found.point + 1e-3 * generator.standard_normal((int(lost.sum()), found.point.size)), 0, 1)
    return points


def _result(
    sampler: emcee.EnsembleSampler, section: Section, found: Identifiability, first: int, seed: int
) -> Posterior:
    chain = sampler.get_chain(discard=first)
    steps, walkers, size = chain.shape
    with np.errstate(invalid="ignore"):  # of a walker that never moved
        slowest = np.max(sampler.get_autocorr_time(discard=first, tol=0))
    autocorrelation = float(slowest) if np.isfinite(slowest) else float(steps)
    flat = chain.reshape(-1, size)
    kept = flat[np.linspace(0, len(flat) - 1, min(KEPT, len(flat))).astype(int)]
    deviation = flat.std(axis=0)
    width = deviation / verdict.DEVIATION
    correlation = np.atleast_2d(np.corrcoef(flat.T)) if (deviation > 0).all() else np.eye(size)
    low, median, high = section.values(np.quantile(flat, (0.05, 0.5, 0.95), axis=0))
    information, directions = np.linalg.eigh(np.linalg.inv(np.cov(flat.T) + 1e-15 * np.eye(size)))
    return Posterior(
        space=found.space,
        names=found.names,
        fixed=found.fixed,
        samples=section.values(kept),
        median=median,
        low=low,
        high=high,
        width=width,
        correlation=correlation,
        walkers=walkers,
        steps=steps,
        left_out=first,
        acceptance=float(np.mean(sampler.acceptance_fraction)),
        autocorrelation=autocorrelation,
        effective=walkers * steps / autocorrelation,
        evaluations=walkers * (first + steps + 2),
        seed=seed,
        verdict=(
            *verdict.misfit(found.chi2 / max(found.samples - size, 1), found.scale, found.band),
            *verdict.widths(found.names, width),
            *verdict.combinations(found.names, correlation, width, information, directions),
            *(
                verdict.no_further()
                if found.drive is None or found.drive_width is None
                else verdict.further(found.names, widths_of(found.covariance), found.drive, np.array(found.drive_width))
            ),
            *verdict.chain(steps, autocorrelation, LONG),
        ),
    )
