"""Simulated devices under any sequence of set pulses, bootstrapped from measured trains of equal pulses.

Levels are read currents above the first one, in units of the range of the commonest ("reference") setting. Assumed,
since only trains of equal pulses and no RESET are measured:

* A pulse of setting s takes a device from where it stands on the curve of s one pulse further (equivalent pulse
  number); at or above the end of that curve it does nothing. The curve is a smooth, never falling fit of a measured
  one: monotone interpolation of isotonic means over blocks of pulses in geometric progression.
* The range of a setting relative to the reference's is that of `AbsoluteScale.relative_range`.
* A device is one measured curve at the reference setting; how much faster it reaches half its range than the median
  one is how much faster it is at every other setting, where its curve is drawn from those measured there.
* Differences of successive reads are a random step of the device and the noise of two reads; their lag-one
  covariance tells these apart (-variance of the read noise). Both are taken as Gaussian.
"""

import dataclasses
from typing import Self

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from memflux.errors import InvalidValue, check_integer, check_number
from memflux.pulse_curves import PulseCurves
from memflux.pulse_scale import AbsoluteScale

BLOCKS = 15  # of pulses, in geometric progression
FASTEST = 4.0  # bound of a device's speed relative to the median one, either way
MOST_DEVICES = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DevicePool:
    """D devices that answer K settings; arrays over M measured curves."""

    settings: Float[np.ndarray, "K 5"]
    levels: Float[np.ndarray, "M P"]  # never falling, from 0
    step_noise: Float[np.ndarray, " M"]  # standard deviation of the random step a pulse, of a level
    curve: Int[np.ndarray, "D K"]  # whose answer device d gives at setting k
    speed: Float[np.ndarray, "D K"]  # pulses of that curve that one pulse is worth
    reference: int  # which of the settings
    read_noise: float  # standard deviation of a read level
    first: float  # A, the usual first read current
    span: float  # A, the usual range at the reference setting

    @classmethod
    def bootstrap(cls, curves: PulseCurves, count: int, seed: int = 0, read_noise: float | None = None) -> Self:
        """`count` devices out of the curves; `read_noise` replaces the measured one.

        Raises InvalidValue where fewer than two settings are there.
        """
        count = check_integer("count", count, low=1, high=MOST_DEVICES)
        seed = check_integer("seed", seed, low=0, high=2**62)
        settings, place = curves.unique_settings, curves.setting
        if len(settings) < 2:
            raise InvalidValue(
                f"{len(settings)} setting is measured, which leaves nothing to choose; give two or more."
            )
        random, scale = np.random.default_rng(seed), AbsoluteScale.fit(curves)
        reference = int(np.bincount(place).argmax())
        relative = scale.relative_range(settings, reference)[place]
        smooth = np.stack([_smoothed(curve) for curve in curves.scaled])
        levels = (smooth - smooth[:, :1]) * relative[:, None]
        noise = np.array([_noise(curve) for curve in curves.scaled]) * relative[:, None]
        draw = np.stack([random.choice(np.flatnonzero(place == k), count) for k in range(len(settings))], axis=1)
        return cls(
            settings=settings,
            levels=levels,
            step_noise=noise[:, 0],
            curve=draw,
            speed=_speeds(levels, place, draw, reference),
            reference=reference,
            read_noise=float(np.median(noise[:, 1])) if read_noise is None
            else check_number("read_noise", read_noise, low=0.0, high=1.0),
            first=float(scale.at(settings)[0][reference]),
            span=float(scale.at(settings)[1][reference]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.curve)

    def pulse(
        self,
        level: Float[np.ndarray, " D"],
        setting: Int[np.ndarray, " D"],
        random: np.random.Generator,
    ) -> Float[np.ndarray, " D"]:
        """Levels after one pulse of each device's setting."""
        rows = np.arange(len(self))
        curve = self.curve[rows, setting]
        after = advance(self.levels[curve], level, self.speed[rows, setting])
        return after + self.step_noise[curve] * random.standard_normal(len(self))

    def read(self, level: Float[np.ndarray, " D"], random: np.random.Generator) -> Float[np.ndarray, " D"]:
        """What a noisy read says of the levels."""
        return level + self.read_noise * random.standard_normal(len(self))


def advance(
    curves: Float[np.ndarray, "D P"], level: Float[np.ndarray, " D"], pulses: Float[np.ndarray, " D"]
) -> Float[np.ndarray, " D"]:
    """Levels when each device has gone `pulses` along its never falling curve from where its level lies on it.

    A level at or beyond the end of the curve stays; one below its beginning is lifted as the curve's first pulse lifts.
    """
    last = curves.shape[1] - 1
    before = np.clip((curves <= level[:, None]).sum(axis=1) - 1, 0, last - 1)  # the segment the level lies on
    rows = np.arange(len(curves))
    low, rise = curves[rows, before], curves[rows, before + 1] - curves[rows, before]
    part = np.clip((level - low) / np.where(rise > 0.0, rise, np.inf), 0.0, 1.0)
    place = np.clip(before + part + pulses, 0.0, last)
    floor = np.minimum(place.astype(np.int64), last - 1)
    there = curves[rows, floor] + (place - floor) * (curves[rows, floor + 1] - curves[rows, floor])
    begun = np.maximum(level, curves[:, 0])
    return np.where(level >= curves[:, -1], level, level + np.maximum(there - begun, 0.0))


def _smoothed(curve: np.ndarray) -> np.ndarray:
    """A never falling curve through isotonic means of blocks; a raw isotonic fit would jump by the noise."""
    edges = np.unique(np.geomspace(1, curve.size + 1, BLOCKS).round().astype(np.int64)) - 1
    sizes = np.diff(edges)
    means = np.add.reduceat(curve, edges[:-1]) / sizes
    middles = edges[:-1] + 0.5 * (sizes - 1)
    if middles.size < 2:
        return np.maximum.accumulate(curve)
    levels = isotonic_regression(means, weights=sizes).x
    return PchipInterpolator(middles, levels)(np.minimum(np.arange(curve.size), middles[-1]))


def _noise(curve: np.ndarray) -> tuple[float, float]:
    """Standard deviations of step and read of one curve, from the second half, where it is nearly straight."""
    steps = np.diff(curve[curve.size // 2 :])
    if steps.size < 3:
        return 0.0, 0.0
    steps = steps - steps.mean()
    read = max(0.0, -float((steps[1:] * steps[:-1]).mean()))
    return float(np.sqrt(max(0.0, float(steps.var()) - 2.0 * read))), float(np.sqrt(read))


def _speeds(levels: np.ndarray, place: np.ndarray, draw: np.ndarray, reference: int) -> np.ndarray:
    """How fast each device is at each setting: 1 at the reference, whose own curve says it."""
    half = 1.0 + np.argmax(levels >= 0.5 * levels[:, -1:], axis=1)
    usual = np.median(half[place == reference])
    speed = np.clip(usual / half[draw[:, reference]], 1.0 / FASTEST, FASTEST)
    speeds = np.repeat(speed[:, None], draw.shape[1], axis=1)
    speeds[:, reference] = 1.0
    return speeds
