"""Which parameters a curve determines: Fisher information, profile likelihood, and what a further drive would add.

All in coordinates of the unit cube, on which the prior is uniform. Fisher information J^T C^-1 J is that of the
likelihood with its covariance held (likelihood.py), to which the prior adds the inverse of its variance of 1/12. The
profile (Venzon and Moolgavkar, doi 10.2307/2347496; Raue et al., doi 10.1093/bioinformatics/btp358) is the least chi^2
over all other parameters; its intervals follow from Wilks' theorem.
"""

import dataclasses
import itertools
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2 as chi_squared

from memflux.analysis import verdict
from memflux.analysis.inverse import FitResult
from memflux.analysis.least_squares import least_squares
from memflux.analysis.likelihood import Likelihood, Noise
from memflux.analysis.points import Section
from memflux.analysis.results import AbstractResult
from memflux.contracts import CurveCost, Predictor
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Space

PRIOR_VARIANCE = 1.0 / 12.0  # of a coordinate
STARTS = 16  # ends of the fit that go on to least chi^2
ITERATIONS = 40
GRID = 25  # points of a profile
REACH = 5.0  # deviations that a profile spans to either side
STEPS = 25  # of each search of a profile
INTERVAL = float(chi_squared.ppf(0.95, 1))  # 3.84: the rise of chi^2 at the ends of a 95 % interval
IMPROBABLE = 1e-3  # probability below which chi^2 is not noise
DRIVES = ("amplitude", "period", "temperature")  # what an experimenter may choose
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of each, on its own scale


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Identifiability(AbstractResult):
    """What one curve says of the F free parameters of a space, at the most probable device.

    Widths, Fisher information and correlations are in coordinates of the unit cube. `directions[:, k]` is the
    combination of parameters with the eigenvalue `information[k]`, ascending. `profile[f, g]` is the rise of
    chi^2 at `grid[f, g]`, NaN where no device was found; `low` and `high` are the ends of the 95 % intervals,
    at the end of the parameter's range where the interval is open.
    """

    KIND: ClassVar[str] = "identifiability"
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "best", "point", "fisher", "covariance", "width", "correlation", "information", "directions",
        "grid", "profile", "low", "high",
    )  # fmt: skip

    space: str
    names: tuple[str, ...]  # F
    fixed: dict[str, float]  # SI, eV
    best: Float[np.ndarray, " F"]  # SI, eV
    point: Float[np.ndarray, " F"]  # the same in the unit cube
    samples: int  # that count
    chi2: float
    scale: float  # by which deviations were multiplied; 1 where the noise explains the misfit
    noise_relative: float
    noise_absolute: float
    band: bool  # whether the predictor's own error is in the likelihood
    fisher: Float[np.ndarray, "F F"]
    covariance: Float[np.ndarray, "F F"]  # with the prior
    width: Float[np.ndarray, " F"]  # standard deviation over that of the prior: of the profile, or of `covariance`
    correlation: Float[np.ndarray, "F F"]
    information: Float[np.ndarray, " F"]
    directions: Float[np.ndarray, "F F"]
    grid: Float[np.ndarray, "F G"] | None  # SI, eV; None: not asked for
    profile: Float[np.ndarray, "F G"] | None
    low: Float[np.ndarray, " F"] | None
    high: Float[np.ndarray, " F"] | None
    drive: dict[str, float] | None  # of the further sweep that tells most; None where there is no choice
    drive_width: tuple[float, ...] | None  # of `covariance` after it
    verdict: tuple[str, ...]


def identify(
    predictor: Predictor,
    space: Space,
    cost: CurveCost,
    fit: FitResult,
    noise: Noise | None = None,
    profile: bool = True,
) -> Identifiability:
    """What the target of `cost` determines, from the ends of its fit.

    Where the least chi^2 is larger than noise explains (p < 0.001), every deviation is multiplied by the root of chi^2
    over the degrees of freedom. Raises InvalidValue for a fit of another space, SolveFailed where no end has a curve.
    """
    if fit.space != space.name:
        raise InvalidValue(f"the fit is of space {fit.space!r} and not {space.name!r}; give the space of the fit.")
    noise = noise or Noise()
    section = Section.of(space, {name: fit.parameters[name] for name in fit.fixed})
    peaks = _most_probable(predictor, section, cost, fit, noise)
    best = peaks.point
    freedom = max(int(peaks.likelihood.target.size) - best.size, 1)
    excess = peaks.chi2 / freedom
    scale = float(np.sqrt(excess)) if chi_squared.sf(peaks.chi2, freedom) < IMPROBABLE else 1.0
    likelihood = peaks.likelihood.scaled(scale)
    fisher = _fisher(likelihood, best)
    covariance = _with_prior(fisher)
    information, directions = np.linalg.eigh(fisher)
    profiles = _profiles(likelihood, best, covariance) if profile else None
    width = widths_of(covariance) if profiles is None else profiles.width
    further = _further(predictor, section, best, fisher, noise, scale)
    return Identifiability(
        space=space.name,
        names=section.names,
        fixed={name: fit.parameters[name] for name in fit.fixed},
        best=section.values(best[None])[0],
        point=best,
        samples=int(likelihood.target.size),
        chi2=peaks.chi2,
        scale=scale,
        noise_relative=noise.relative,
        noise_absolute=noise.absolute,
        band=likelihood.band,
        fisher=fisher,
        covariance=covariance,
        width=width,
        correlation=correlation_of(covariance),
        information=np.maximum(information, 0.0),
        directions=directions,
        grid=None if profiles is None else profiles.grid,
        profile=None if profiles is None else profiles.rise,
        low=None if profiles is None else profiles.low,
        high=None if profiles is None else profiles.high,
        drive=None if further is None else further.drive,
        drive_width=None if further is None else tuple(map(float, further.width)),
        verdict=(
            *verdict.misfit(excess, scale, likelihood.band),
            *verdict.widths(section.names, width),
            *verdict.combinations(section.names, correlation_of(covariance), width, information, directions),
            *verdict.others(peaks.others, best),
            *(verdict.further(section.names, widths_of(covariance), *further) if further else verdict.no_further()),
        ),
    )


def likelihood_of(predictor: Predictor, space: Space, cost: CurveCost, found: Identifiability) -> Likelihood:
    """The likelihood that `found` was computed with, of the same predictor, space and cost."""
    section = Section.of(space, found.fixed)
    noise = Noise(relative=found.noise_relative, absolute=found.noise_absolute)
    return Likelihood(predictor, section, cost, found.point, noise, found.scale)


def correlation_of(covariance: Float[np.ndarray, "F F"]) -> Float[np.ndarray, "F F"]:
    """Correlation coefficients of a covariance."""
    deviation = np.sqrt(np.diag(covariance))
    return covariance / np.outer(deviation, deviation)


def widths_of(covariance: Float[np.ndarray, "F F"]) -> Float[np.ndarray, " F"]:
    """Standard deviations over that of the prior."""
    return np.sqrt(np.diag(covariance) / PRIOR_VARIANCE)


class _Peaks(NamedTuple):
    """The most probable device, its likelihood, and how many others explain the curve as well."""

    likelihood: Likelihood
    point: np.ndarray
    chi2: float
    others: np.ndarray  # [K, F]


def _most_probable(predictor: Predictor, section: Section, cost: CurveCost, fit: FitResult, noise: Noise) -> _Peaks:
    """Least chi^2 from the ends of the fit, twice: the first covariance is that of the fit's best."""
    ends = section.space.unit(fit.points)[:STARTS, section.free]
    ends = np.clip(ends[np.isfinite(fit.costs[:STARTS])], 0.0, 1.0)
    best = ends[0]
    for _ in range(2):
        likelihood = Likelihood(predictor, section, cost, best, noise)
        found = least_squares(likelihood.linearised, ends, np.zeros(ends.shape, dtype=bool), ITERATIONS)
        allowed = section.space.allowed(section.whole(found.points))
        values = np.where(allowed, found.values, np.inf)
        ends = found.points[np.argsort(values, kind="stable")]
        if not np.isfinite(values).any():
            raise SolveFailed("no end of the fit has a curve; check the predictor and the space.")
        best = ends[0]
    values = np.sort(values)
    as_good = ends[values <= values[0] + INTERVAL]
    return _Peaks(likelihood, best, float(values[0]), as_good[1:])


def _fisher(likelihood: Likelihood, point: np.ndarray) -> Float[np.ndarray, "F F"]:
    slope = likelihood.linearised(point[None])[1][0]
    if not np.isfinite(slope).all():
        raise SolveFailed("a device beside the best one has no curve, so there is no derivative; narrow the space.")
    return slope.T @ slope


def _with_prior(fisher: Float[np.ndarray, "F F"]) -> Float[np.ndarray, "F F"]:
    return np.linalg.inv(fisher + np.eye(len(fisher)) / PRIOR_VARIANCE)


class _Profiles(NamedTuple):
    grid: Float[np.ndarray, "F G"]  # SI, eV
    rise: Float[np.ndarray, "F G"]
    low: Float[np.ndarray, " F"]
    high: Float[np.ndarray, " F"]
    width: Float[np.ndarray, " F"]  # of a normal with these intervals, over that of the prior


def _profiles(likelihood: Likelihood, best: np.ndarray, covariance: np.ndarray) -> _Profiles:
    """Least chi^2 with one parameter held, all grid points of all parameters in one search.

    Each starts where a normal posterior has the other parameters.
    """
    size, section = best.size, likelihood.section
    deviation = np.sqrt(np.diag(covariance))
    ends = np.clip(best + REACH * deviation * np.array([[-1.0], [1.0]]), 0.0, 1.0)
    grid = np.linspace(ends[0], ends[1], GRID, axis=1)  # [F, G]
    away = grid - best[:, None]
    start = np.clip(best + away[..., None] * (covariance / np.diag(covariance)[:, None])[:, None, :], 0.0, 1.0)
    held = np.broadcast_to(np.eye(size, dtype=bool)[:, None, :], start.shape)
    start[held] = grid.ravel()
    found = least_squares(likelihood.linearised, start.reshape(-1, size), held.reshape(-1, size).copy(), STEPS)
    values = np.where(section.space.allowed(section.whole(found.points)), found.values, np.nan).reshape(grid.shape)
    least = float((likelihood.residuals(best[None]) ** 2).sum())
    rise = np.where(np.isfinite(values), np.maximum(values - least, 0.0), np.nan)
    limits = np.array([_interval(*row) for row in zip(grid, rise, best, strict=True)])
    low, high = section.values(limits.T)
    width = (limits[:, 1] - limits[:, 0]) / (2.0 * np.sqrt(INTERVAL * PRIOR_VARIANCE))
    return _Profiles(section.values(grid.T).T, rise, low, high, np.minimum(width, 1.0))


def _interval(grid: np.ndarray, rise: np.ndarray, best: float) -> tuple[float, float]:
    """Where the profile passes INTERVAL on either side of the best; the end of the grid where it does not."""
    limits = []
    for side in (grid <= best, grid >= best):
        away = np.abs(grid[side] - best)
        order = np.argsort(away)
        x, y = grid[side][order], np.nan_to_num(rise[side][order], nan=np.inf)
        x, y = np.append(best, x), np.append(0.0, y)
        over = np.flatnonzero(y >= INTERVAL)
        if not over.size:
            limits.append(float(x[-1]))
            continue
        k = int(over[0])
        share = (INTERVAL - y[k - 1]) / (y[k] - y[k - 1]) if np.isfinite(y[k]) else 1.0
        limits.append(float(x[k - 1] + share * (x[k] - x[k - 1])))
    return limits[0], limits[1]


class _Further(NamedTuple):
    drive: dict[str, float]
    width: Float[np.ndarray, " F"]


def _further(
    predictor: Predictor, section: Section, best: np.ndarray, fisher: np.ndarray, noise: Noise, scale: float
) -> _Further | None:
    """The sweep among those of the space that, beside the one made, leaves the least volume of the posterior."""
    chosen = [name for name in DRIVES if name in section.fixed]
    found = None
    for levels in itertools.product(LEVELS, repeat=len(chosen)) if chosen else ():
        moved = section.moved(dict(zip(chosen, levels, strict=True)))
        covariance = _with_prior(fisher + _expected(predictor, moved, best, noise, scale))
        volume = float(np.linalg.slogdet(covariance)[1])
        if found is None or volume < found[0]:
            found = (volume, moved, covariance)
    if found is None:
        return None
    values = found[1].space.values(found[1].whole(best[None]))[0]
    drive = {name: float(values[found[1].space.names.index(name)]) for name in chosen}
    return _Further(drive, widths_of(found[2]))


def _expected(
    predictor: Predictor, section: Section, best: np.ndarray, noise: Noise, scale: float
) -> Float[np.ndarray, "F F"]:
    """Fisher information of a curve not measured yet, of the device `best` under the drive of `section`."""
    curve = predictor(*section.build(best[None])).cycle(-1).current[0].astype(np.float64)
    if not np.isfinite(curve).all() or not curve.any():
        return np.zeros((best.size, best.size))
    cost = CurveCost(kind="curve", target=curve, floor=1e-300)
    return _fisher(Likelihood(predictor, section, cost, best, noise, scale), best)
