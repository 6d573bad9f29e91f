"""How probable a measured curve is for a device: noise of the measurement and the predictor's own error.

The difference between curve and prediction is normal. Its covariance has two parts: independent noise of each
sample, and the error of the predictor, whose size is that of its band and which neighbouring samples share:

C_ij = delta_ij sigma_i^2 + m_i m_j exp(-|phase_i - phase_j| / correlation)

C is taken at one device near the best, where the curve is known to within the noise whatever the device.
"""

import copy
import dataclasses
from typing import Self

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import cholesky, solve_triangular

from memflux.analysis.points import Section
from memflux.contracts import CurveCost, Predictor
from memflux.errors import InvalidValue, SolveFailed, check_number

# Errors of the shipped surrogates on fresh devices: the correlation falls to 1/e within 6 of 160 samples.
CORRELATION = 0.04  # of a cycle
DEVIATIONS = 1.96  # half a band of 95 %
STEP = 1e-3  # of the cube's edge, for derivatives


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Standard deviation of a measured sample: `relative` of its current and `absolute` of the curve's peak."""

    relative: float = 0.02
    absolute: float = 1e-3

    def __post_init__(self) -> None:
        check_number("relative", self.relative, low=0.0, high=1.0)
        check_number("absolute", self.absolute, low=1e-6, high=1.0)

    def of(self, current: Float[np.ndarray, "... S"]) -> Float[np.ndarray, "... S"]:
        """Standard deviation [A] of every sample of a curve."""
        peak = np.abs(current).max(axis=-1, keepdims=True)
        return np.hypot(self.relative * current, self.absolute * peak)


class Likelihood:
    """Log-likelihood and whitened residuals of devices, at points [B, F] of a section of a space.

    Samples whose |target| is below the floor of `cost` do not count; a target of one sign is compared with
    magnitudes. `band` says whether the predictor has one; without it its error counts as none.
    """

    def __init__(
        self,
        predictor: Predictor,
        section: Section,
        cost: CurveCost,
        around: Float[np.ndarray, " F"],
        noise: Noise,
        scale: float = 1.0,
    ) -> None:
        self.predictor, self.section, self.cycle = predictor, section, cost.cycle
        self.counts: Bool[np.ndarray, " S"] = np.abs(cost.target) > cost.floor
        self.signed = bool((cost.target < 0).any())
        self.target = cost.target[self.counts]
        curve = self.curves(around[None])
        if not np.isfinite(curve).all():
            raise SolveFailed("the best device has no curve; check the predictor and the space.")
        own = _own_error(predictor, section, around, cost)
        self.band = own is not None
        covariance = np.diag(noise.of(curve[0]) ** 2)
        if own is not None:
            phase = np.flatnonzero(self.counts) / (self.counts.size - 1)
            shared = np.exp(-np.abs(phase[:, None] - phase) / CORRELATION)
            covariance += np.outer(own[self.counts], own[self.counts]) * shared
        self.factor = scale * cholesky(covariance, lower=True)

    def scaled(self, scale: float) -> Self:
        """The same with every deviation `scale` times as large."""
        other = copy.copy(self)
        other.factor = scale * self.factor
        return other

    def curves(self, point: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "B S"]:
        """Predicted currents [A] of the samples that count, magnitudes where the target has one sign; NaN rows."""
        traces = self.predictor(*self.section.build(point))
        current = np.where(traces.ok[:, None], traces.cycle(self.cycle).current, np.nan)
        if current.shape[1] != self.counts.size:
            raise InvalidValue(
                f"target has {self.counts.size} samples for one cycle and the prediction {current.shape[1]}; "
                f"resample the target to {current.shape[1]}."
            )
        current = current[:, self.counts].astype(np.float64)
        return current if self.signed else np.abs(current)

    def residuals(self, point: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "B S"]:
        """Whitened differences: their sum of squares is chi^2. NaN where there is no answer."""
        return self._whitened(self.curves(point) - self.target)

    def linearised(
        self, point: Float[np.ndarray, "B F"]
    ) -> tuple[Float[np.ndarray, "B S"], Float[np.ndarray, "B S F"]]:
        """Residuals and their derivatives by the coordinates, by differences in one call of the predictor."""
        rows, size = point.shape
        moves = STEP * np.concatenate([np.zeros((1, size)), np.eye(size), -np.eye(size)])
        asked = np.clip(point[:, None, :] + moves, 0.0, 1.0)
        residual = self.residuals(asked.reshape(-1, size)).reshape(rows, 2 * size + 1, -1)
        up, down = residual[:, 1 : size + 1], residual[:, size + 1 :]
        width = np.einsum("bff->bf", asked[:, 1 : size + 1] - asked[:, size + 1 :])  # less than 2 STEP at a face
        return residual[:, 0], np.swapaxes((up - down) / width[..., None], 1, 2)

    def __call__(self, point: Float[np.ndarray, "B F"]) -> Float[np.ndarray, " B"]:
        """Log-likelihood but for a constant; minus infinity outside the cube or its rule, and without an answer."""
        value = np.full(len(point), -np.inf)
        inside = np.all((point >= 0.0) & (point <= 1.0), axis=1)
        inside[inside] = self.section.space.allowed(self.section.whole(point[inside]))
        if inside.any():
            chi2 = (self.residuals(point[inside]) ** 2).sum(axis=1)
            value[inside] = np.where(np.isfinite(chi2), -0.5 * chi2, -np.inf)
        return value

    def _whitened(self, difference: np.ndarray) -> np.ndarray:
        known = np.isfinite(difference).all(axis=1)
        result = np.full(difference.shape, np.nan)
        result[known] = solve_triangular(self.factor, difference[known].T, lower=True, check_finite=False).T
        return result


def _own_error(
    predictor: Predictor, section: Section, around: np.ndarray, cost: CurveCost
) -> Float[np.ndarray, " S"] | None:
    """Standard deviation [A] of the predictor's error along the cycle; None where it has no band there."""
    band = getattr(predictor, "band", None)
    if band is None:
        return None
    try:
        low, high = band(*section.build(around[None]), kind="pointwise")
    except InvalidValue:  # never calibrated
        return None
    samples = cost.target.size - 1
    first = cost.cycle % section.space.cycles * samples
    half = 0.5 * (high - low)[0, first : first + samples + 1]
    return half / DEVIATIONS if np.isfinite(half).all() else None
