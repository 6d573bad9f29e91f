"""The error of a surrogate against the number of simulations it was trained on, and what it cost.

error(n) = a n^-b + c

is the usual form of learning curves (Viering and Loog, doi 10.1109/TPAMI.2022.3220744). It is
fitted to logarithms of errors with a loss that a single failed training cannot throw; how far a
forecast may be off comes from refits to resampled residuals.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from memflux.errors import InvalidValue, check_integer, check_names, check_number

FEWEST = 4  # different counts: one more than numbers fitted
REFITS = 100
STEEPEST = 4.0  # exponent b; no model learns faster from independent draws
MOST = 10**12  # simulations


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """An estimate and the ends of the interval that it lies in with the probability asked for."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LearningCurve:
    """Measured errors and the power law through them; `refits` are a, b, c of resampled points."""

    counts: tuple[int, ...]  # simulations of each training
    errors: tuple[float, ...]
    a: float
    b: float
    c: float  # what no number of simulations removes
    refits: tuple[tuple[float, float, float], ...]

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        """Count and error of each training."""
        return tuple(zip(self.counts, self.errors, strict=True))

    @property
    def scatter(self) -> float:
        """Standard deviation of ln(error) of single trainings around the curve."""
        residual = np.log(self.errors) - np.log(_law(np.array([[self.a, self.b, self.c]]), np.array(self.counts))[0])
        return float(np.sqrt((residual**2).sum() / max(residual.size - 3, 1)))

    def forecast(self, count: int, level: float = 0.9) -> Range:
        """Error of one training on `count` simulations, and the interval it lies in with probability `level`."""
        count = check_integer("count", count, low=1, high=MOST)
        level = check_number("level", level, low=0.5, high=0.99)
        laws = np.array([(self.a, self.b, self.c), *self.refits])
        values = _law(laws, np.array([count]))[:, 0]
        # evenly spaced quantiles of the scatter instead of draws: the same answer every time
        noise = self.scatter * np.array([-1.64, -1.04, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.04, 1.64])
        low, high = np.quantile(values[1:, None] * np.exp(noise), [0.5 - level / 2, 0.5 + level / 2])
        return Range(value=float(values[0]), low=min(float(low), float(values[0])), high=max(float(high), values[0]))

    def needed(self, error: float, level: float = 0.9) -> Range:
        """Simulations for an expected error of `error`; infinite where the curve never gets there."""
        error = check_number("error", error, low=1e-300, high=1e300)
        level = check_number("level", level, low=0.5, high=0.99)
        counts = [_count_for(law, error) for law in ((self.a, self.b, self.c), *self.refits)]
        refits = sorted(counts[1:])
        ends = [refits[round((0.5 + side * level / 2) * (len(refits) - 1))] for side in (-1, 1)]
        return Range(value=counts[0], low=min(ends[0], counts[0]), high=max(ends[1], counts[0]))

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        lists = {"counts": list(self.counts), "errors": list(self.errors), "refits": [list(r) for r in self.refits]}
        return {**lists, "a": self.a, "b": self.b, "c": self.c}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown fields are refused."""
        check_names("field of a learning curve", fields, [f.name for f in dataclasses.fields(cls)])
        return cls(
            counts=tuple(fields["counts"]),
            errors=tuple(fields["errors"]),
            refits=tuple((r[0], r[1], r[2]) for r in fields["refits"]),
            **{name: fields[name] for name in ("a", "b", "c")},
        )


def learning_curve(fit_at: Callable[[int], float], counts: Sequence[int], seed: int = 0) -> LearningCurve:
    """Train at each count with `fit_at`, which returns a positive error, and fit the power law.

    A count may come several times, for several seeds. `seed` draws the refits. Raises InvalidValue for
    fewer than four different counts, or an error that is not a positive number.
    """
    counts = [check_integer(f"counts[{k}]", n, low=1, high=MOST) for k, n in enumerate(counts)]
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    if len(set(counts)) < FEWEST:
        raise InvalidValue(f"counts = {counts} has {len(set(counts))} different numbers; give at least {FEWEST}.")
    errors = [check_number(f"error at {n} simulations", fit_at(n), low=1e-300, high=1e300) for n in counts]
    n, log_error = np.array(counts, dtype=np.float64), np.log(errors)
    starts = [(0.25, 0.0), (0.5, 0.5), (1.0, 0.9)]  # b, and c over the smallest error
    law = min((_fit(n, log_error, start, 1e-10) for start in starts), key=lambda found: found[1])[0]
    expected = np.log(_law(law[None], n)[0])
    residual = (log_error - expected) * math.sqrt(n.size / max(n.size - 3, 1))  # three numbers took their share
    draws = np.random.default_rng(seed).choice(residual, size=(REFITS, n.size))
    start = (float(law[1]), float(law[2] / np.exp(log_error).min()))
    refits = [_fit(n, expected + draw, start, 1e-5)[0] for draw in draws]
    return LearningCurve(
        counts=tuple(counts),
        errors=tuple(errors),
        a=float(law[0]),
        b=float(law[1]),
        c=float(law[2]),
        refits=tuple((float(r[0]), float(r[1]), float(r[2])) for r in refits),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What one training cost and reached."""

    simulations: int
    data_hours: float  # core-hours of the simulations
    training_hours: float  # core-hours of the training
    error: float

    def __post_init__(self) -> None:
        check_integer("simulations", self.simulations, low=1, high=MOST)
        check_number("data_hours", self.data_hours, low=0.0, high=1e12, unit="core-hours")
        check_number("training_hours", self.training_hours, low=0.0, high=1e12, unit="core-hours")
        check_number("error", self.error, low=0.0, high=1e300)

    @property
    def hours(self) -> float:
        """Core-hours of both."""
        return self.data_hours + self.training_hours


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The trainings so far, in their order."""

    entries: tuple[Entry, ...] = ()

    def add(self, entry: Entry) -> Self:
        """The ledger with one more."""
        return dataclasses.replace(self, entries=(*self.entries, entry))

    def cheapest(self, error: float) -> Entry | None:
        """The entry of fewest core-hours that reached `error`; None where none did."""
        reached = [e for e in self.entries if e.error <= check_number("error", error, low=0.0, high=1e300)]
        return min(reached, key=lambda e: e.hours, default=None)

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"entries": [dataclasses.asdict(e) for e in self.entries]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown fields are refused."""
        check_names("field of a ledger", fields, ["entries"])
        for entry in fields["entries"]:
            check_names("field of an entry", entry, [f.name for f in dataclasses.fields(Entry)])
        return cls(entries=tuple(Entry(**entry) for entry in fields["entries"]))


def _law(laws: Float[np.ndarray, "R 3"], count: np.ndarray) -> Float[np.ndarray, "R N"]:
    a, b, c = laws.T[:, :, None]
    return a * np.asarray(count, dtype=np.float64) ** -b + c


def _count_for(law: Sequence[float], error: float) -> float:
    a, b, c = law
    if error <= c or b <= 0:
        return 1.0 if error >= a + c else math.inf
    return max(1.0, min(math.exp(min(math.log(a / (error - c)) / b, 700.0)), math.inf))


def _fit(
    count: Float[np.ndarray, " N"], log_error: Float[np.ndarray, " N"], start: tuple[float, float], tolerance: float
) -> tuple[Float[np.ndarray, " 3"], float]:
    """a, b, c and the cost reached from a start (b, c over the smallest error)."""
    centre, smallest = float(np.exp(np.log(count).mean())), float(np.exp(log_error.min()))
    x = np.log(count / centre)

    def parts(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        power = np.exp(p[0] - p[1] * x)
        return power, power + p[2] * smallest

    def residual(p: np.ndarray) -> np.ndarray:
        return np.log(parts(p)[1]) - log_error

    def jacobian(p: np.ndarray) -> np.ndarray:
        power, total = parts(p)
        return np.stack([power, -power * x, np.full_like(x, smallest)], axis=1) / total[:, None]

    median = float(np.median(log_error))
    found = least_squares(
        residual,
        [median, start[0], start[1]],
        jac=jacobian,
        bounds=([median - 30.0, 0.0, 0.0], [median + 5.0, STEEPEST, 1.0]),
        x_scale=[1.0, 0.5, 0.5],
        xtol=tolerance,
        ftol=tolerance,
        loss="soft_l1",
        f_scale=0.1,  # errors that are more than 10 % off count in proportion, not squared
    )
    height, b, c = found.x
    return np.array([math.exp(height + b * math.log(centre)), b, c * smallest]), float(found.cost)
