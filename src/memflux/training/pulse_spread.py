"""How far replicates of a setting scatter around the predicted curve: a band with a measured coverage.

The root mean square of a curve's residual is log-linear in the settings (ridge, over the training curves); a profile
over the pulses, the quantile of the validation curves' residuals over that size, makes the band. That is a locally
weighted split conformal band: Lei et al., doi 10.1080/01621459.2017.1307116, section 5.2.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memflux.errors import InvalidValue, check_number, check_numbers
from memflux.pulse_curves import PulseCurves
from memflux.pulse_scale import ridge, vector

SMALLEST = 1e-4  # of the scaled current: residuals below are the resolution of the meter
FEWEST = 5  # curves of either part
CLIP = 3.0  # standard deviations beyond which a setting's size is extrapolated no further


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PulseSpread:
    """Half width of the band = size(setting) * profile(pulse), of the scaled current."""

    coverage: float
    center: Float[np.ndarray, " 5"]
    scale: Float[np.ndarray, " 5"]
    weights: Float[np.ndarray, " 6"]  # of ln of the size: a constant and the z-scored settings
    profile: Float[np.ndarray, " P"]
    step_weights: Float[np.ndarray, " 6"]  # of ln of the scatter of a single increment, likewise

    @classmethod
    def fit(
        cls,
        train: PulseCurves,
        train_error: Float[np.ndarray, "C P"],
        held: PulseCurves,
        held_error: Float[np.ndarray, "V P"],
        coverage: float = 0.9,
    ) -> Self:
        """From residuals of the scaled current of training curves and of curves that training did not see."""
        check_number("coverage", coverage, low=0.01, high=0.99)
        if min(len(train), len(held)) < FEWEST:
            raise InvalidValue(
                f"there are {len(train)} training and {len(held)} validation curves; give {FEWEST} of either."
            )
        center, spread = train.settings.mean(axis=0), train.settings.std(axis=0)
        scale = np.where(spread > 1e-9 * np.maximum(np.abs(center), 1e-9), spread, 1.0)
        target = np.log(np.maximum(np.sqrt((train_error**2).mean(axis=1)), SMALLEST))
        weights = ridge(_features(train.settings, center, scale), target)
        steps = np.maximum(np.diff(train_error, axis=1).std(axis=1), SMALLEST)
        size = np.exp(_features(held.settings, center, scale) @ weights)
        place = min(len(held), math.ceil((len(held) + 1) * coverage)) - 1
        profile = np.sort(np.abs(held_error) / size[:, None], axis=0)[place]
        return cls(
            coverage=coverage, center=center, scale=scale, weights=weights, profile=profile,
            step_weights=ridge(_features(train.settings, center, scale), np.log(steps)),
        )  # fmt: skip

    def half_width(self, settings: Float[np.ndarray, "S 5"]) -> Float[np.ndarray, "S P"]:
        """Half width of the band of the scaled current around the predicted curve of each setting."""
        return np.exp(_features(settings, self.center, self.scale) @ self.weights)[:, None] * self.profile

    def step(self, settings: Float[np.ndarray, "S 5"]) -> Float[np.ndarray, " S"]:
        """Standard deviation of a single increment of the scaled current about the predicted one, reads included."""
        return np.exp(_features(settings, self.center, self.scale) @ self.step_weights)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        arrays = ("center", "scale", "weights", "profile", "step_weights")
        return {"coverage": self.coverage, **{name: getattr(self, name).tolist() for name in arrays}}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], pulses: int) -> Self:
        """The inverse of `to_dict`; InvalidValue for wrong lengths or what is not finite."""
        return cls(
            coverage=check_number("coverage", fields["coverage"], low=0.01, high=0.99),
            center=vector("center", fields["center"], 5),
            scale=check_numbers("scale", vector("scale", fields["scale"], 5), low=1e-12, high=1e12),
            weights=vector("weights", fields["weights"], 6),
            step_weights=vector("step_weights", fields["step_weights"], 6),
            profile=check_numbers("profile", vector("profile", fields["profile"], pulses), low=0.0, high=1e6),
        )


def _features(settings: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(settings)), np.clip((settings - center) / scale, -CLIP, CLIP)])
