"""Bands around predicted curves that hold the true ones with a stated probability.

Split conformal prediction with normalised scores (Papadopoulos et al., doi 10.1007/3-540-36755-1_29;
Lei et al., doi 10.1080/01621459.2017.1307116): on devices that training never saw, half fit an
estimate s(b, t) of the error and the other half measure how far true errors exceed it. A quantile
of |error| / s for each time gives the pointwise band, one of the largest over the curve the band
of the whole curve (Diquigiovanni et al., arXiv 2106.01792), once devices with heavier tails are
levelled. The coverage holds for devices drawn like those of the calibration, on average over them
and over calibrations.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue, check_choice, check_integer, check_names, check_number, check_numbers
from memflux.traces import Traces
from memflux.training.difficulty import Difficulty, peak_of
from memflux.training.evaluate import solved_in_both
from memflux.training.scaling import InputScaling
from memflux.training.spread import Spread
from memflux.training.tail import Tail
from memflux.waveform import Waveform

KINDS = ("pointwise", "curve")
FEWEST = 80  # calibration devices below which the estimate of the error is no more than noise
# Both measured on the set "5d-parametric". An exponent below 1 narrows the widest bands, which cost
# the most and are rare, and widens the others; below 0.9 the hardest tenth of devices pays for it.
SHARPNESS = 0.92
# Near zero crossings the estimate is small and a shift of a flank many times larger: without a
# floor that one time sets the width of the whole curve, with a large one the band is a tube.
FLOOR = 0.6


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bands:
    """Calibrated bands for one predictor: half width over the peak of the prediction.

    pointwise[t] s(b, t)^sharpness at each time, and for the whole curve
    curve g(b) (s(b, t)^2 + floor^2 mean_t s(b, t)^2)^(1/2).
    """

    coverage: float  # probability that the truth is inside
    count: int  # devices that the quantiles were measured on
    sharpness: float
    floor: float
    pointwise: Float[np.ndarray, " T"]
    curve: float
    difficulty: Difficulty  # s
    tail: Tail  # g

    def around(
        self,
        prediction: Traces,
        unit: Float[np.ndarray, "B P"],
        spread: Float[np.ndarray, "B T"] | None = None,
        kind: str = "pointwise",
    ) -> tuple[Float[np.ndarray, "B T"], Float[np.ndarray, "B T"]]:
        """Lower and upper ends [A] of the band around each predicted curve; NaN where the prediction failed.

        With kind "pointwise" the truth is inside at each time with probability `coverage`, with
        "curve" the whole true curve is. `unit` are the scaled parameters of the devices, `spread` [A] that of
        the members if the bands were calibrated with one. Raises InvalidValue for another grid.
        """
        check_choice("kind", kind, KINDS)
        size = self.difficulty(unit, prediction.current, spread)
        factor = _pointwise(size, self.sharpness) * self.pointwise
        if kind == "curve":
            size = _curve(size, self.floor)
            factor = size * self.tail(unit, size) * self.curve
        half = factor * np.abs(prediction.current).max(axis=1, keepdims=True)
        return prediction.current - half, prediction.current + half

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        numbers = {name: getattr(self, name) for name in ("coverage", "count", "sharpness", "floor", "curve")}
        parts = {"difficulty": self.difficulty.to_dict(), "tail": self.tail.to_dict()}
        return {**numbers, "pointwise": self.pointwise.tolist(), **parts}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown fields are refused."""
        check_names("field of bands", fields, [f.name for f in dataclasses.fields(cls)])
        rest = dict(fields)
        return cls(
            pointwise=check_numbers("pointwise", rest.pop("pointwise"), low=0.0, high=math.inf),
            difficulty=Difficulty.from_dict(rest.pop("difficulty")),
            tail=Tail.from_dict(rest.pop("tail")),
            **rest,
        )


def calibrate(
    predict: Predictor,
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    inputs: InputScaling,
    coverage: float = 0.95,
    spread: Spread | None = None,
    seed: int = 0,
) -> Bands:
    """Bands for `predict` from devices that were drawn independently of its training, and their solved traces.

    `inputs` scale the parameters that the devices vary in; `spread` tells how far members of an
    ensemble disagree. Rows that failed are left out. `seed` draws the halves and the network.
    Raises InvalidValue for too few devices, another grid, or a coverage outside 0.5 to 0.999.
    """
    coverage = check_number("coverage", coverage, low=0.5, high=0.999)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    drive = drive.for_batch(len(devices))
    prediction = predict(devices, drive)
    rows = _usable(prediction, traces, coverage)
    chosen, wave, current = devices[rows], drive[rows], prediction.current[rows]
    unit = inputs.scale(inputs.values(chosen, wave))
    scatter = None if spread is None else np.asarray(spread(chosen, wave), dtype=np.float64)
    error = relative_error(current, traces.current[rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    first, second = order[: len(rows) // 2], order[len(rows) // 2 :]

    def of(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        return unit[part], current[part], None if scatter is None else scatter[part]

    difficulty = Difficulty.fit(of(first)[0], of(first)[1], error[first], of(first)[2], prediction.cycles, seed)
    # Times differ in how heavy the tails are: level them, or the worst sets the band of the whole curve.
    difficulty = difficulty.scaled(quantile(error[first] / difficulty(*of(first)), coverage))
    whole = _curve(difficulty(*of(first)), FLOOR)
    tail = Tail.fit(unit[first], whole, (error[first] / whole).max(axis=1))
    size = difficulty(*of(second))
    whole = _curve(size, FLOOR)
    return Bands(
        coverage=coverage,
        count=int(second.size),
        sharpness=SHARPNESS,
        floor=FLOOR,
        pointwise=quantile(error[second] / _pointwise(size, SHARPNESS), coverage),
        curve=float(quantile((error[second] / (whole * tail(unit[second], whole))).max(axis=1), coverage)),
        difficulty=difficulty,
        tail=tail,
    )


def quantile(scores: Float[np.ndarray, "N ..."], coverage: float) -> np.ndarray:
    """The ceil((N + 1) coverage)-th smallest score along the first axis.

    One more score of the same distribution lies at or below it with at least that probability.
    Raises InvalidValue where N scores are too few for it to exist.
    """
    # less a rounding error: 0.07 * 100 is more than 7
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    if place > len(scores):
        raise InvalidValue(
            f"{len(scores)} scores cannot give a coverage of {coverage:g}; give at least {fewest(coverage)}."
        )
    return np.asarray(np.partition(scores, place - 1, axis=0)[place - 1])


def fewest(coverage: float) -> int:
    """Scores that a quantile of that coverage needs."""
    return math.ceil(coverage / (1.0 - coverage) - 1e-9)


def relative_error(current: Float[np.ndarray, "B T"], truth: Float[np.ndarray, "B T"]) -> Float[np.ndarray, "B T"]:
    """|truth - current| over the peak magnitude of `current`."""
    return np.abs(truth - current) / peak_of(current)


def _pointwise(size: Float[np.ndarray, "B T"], sharpness: float) -> Float[np.ndarray, "B T"]:
    return size**sharpness


def _curve(size: Float[np.ndarray, "B T"], floor: float) -> Float[np.ndarray, "B T"]:
    return np.sqrt(size**2 + floor**2 * (size**2).mean(axis=1, keepdims=True))


def _usable(prediction: Traces, traces: Traces, coverage: float) -> np.ndarray:
    """Rows that are solved in both, or InvalidValue where they do not fit together or are too few."""
    rows = solved_in_both(prediction, traces)
    needed = max(FEWEST, 2 * fewest(coverage))
    if rows.size < needed:
        raise InvalidValue(
            f"{rows.size} of the {len(traces)} devices are solved; give at least {needed} for a coverage of "
            f"{coverage:g}, better 2,000."
        )
    if not np.isfinite(traces.current[rows]).all():
        raise InvalidValue("the traces hold currents that are not finite though marked solved; repair or drop them.")
    return rows
