"""Active learning on the published 9d set: how many simulations it saves against random devices.

The 20,000 solved devices stand in for the solver: to simulate is to look a row up, and candidates are
the rows that are left. Both trainings have the same networks and the same number of steps. Active learning
pays for the random devices that it holds out; the random training holds out a tenth. Errors are those
of the 2,000 test devices, which neither sees.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

import harness
import published
from harness import Row
from memflux import Dataset, Surrogate
from memflux.training.active import HELD_OUT, MEMBERS, Goal, Round, learn
from memflux.training.evaluate import evaluate
from memflux.training.loop import fit
from memflux.training.schedule import Schedule
from memflux.training.spectral import SpectralConfig

SPACE, POOL = "9d", 20_000
FIRST, ROUND, LIMIT = 500, 500, 2000
RANDOM = (1000, 2000, 4000)  # devices of the trainings that it is compared with
QUICK_FIRST, QUICK_ROUND, QUICK_LIMIT, QUICK_RANDOM = 150, 75, 300, (150, 300)
MEASURES = {"mean nMAE": np.mean, "99th percentile of nMAE": lambda errors: np.percentile(errors, 99)}
BAR = 0.5  # simulations of active learning over those of random devices, at equal error


class Point(NamedTuple):
    """One training: its simulations and its errors on the test devices, in %."""

    simulations: int
    errors: np.ndarray


class Cache:
    """`simulate` of `learn`: rows of the solved set; `surrogates` are trained on what it gave out."""

    def __init__(self, whole: Dataset, first: int, steps: int) -> None:
        self.whole, self.first, self.steps = whole, first, steps
        self.have = np.arange(first)
        self.points: list[Point] = []

    def simulate(self, draws: Sequence[int]) -> Dataset:
        """The rows had so far, and these."""
        self.have = np.union1d(self.have, np.asarray(draws, dtype=np.int64))
        manifest = dataclasses.replace(self.whole.manifest, count=self.first).choosing(self.have, self.first)
        return Dataset.of(manifest, self.whole.rows[np.isin(self.whole.index, self.have)])

    def train(self, data: Dataset) -> Surrogate:
        """Train, and note the errors."""
        surrogate = trained(data, HELD_OUT, self.steps)
        self.points.append(Point(len(data), test_errors(surrogate)))
        say("active", self.points[-1])
        return surrogate


def saved(quick: bool) -> Iterator[Row]:
    """active learning on 9d"""
    first, each, limit, counts = (
        (QUICK_FIRST, QUICK_ROUND, QUICK_LIMIT, QUICK_RANDOM) if quick else (FIRST, ROUND, LIMIT, RANDOM)
    )
    steps = 200 if quick else 2000
    whole = published.dataset(SPACE, POOL)
    cache = Cache(whole, first, steps)
    goal = Goal(target=1e-6, limit=limit, round=each, candidates=POOL)
    outcome = learn(cache.simulate, cache.train, goal)
    at_random = [_at_random(whole, count, steps) for count in counts]
    for name, measure in MEASURES.items():
        yield from _compared(name, measure, cache.points, at_random)
    yield from _verdict(outcome.rounds, cache.points)


def _compared(name: str, measure: Callable, points: list[Point], at_random: list[Point]) -> Iterator[Row]:
    """Both learning curves; the ratio is judged at the error of the second random training.

    Beyond it more random devices hardly lower the error of networks of this size, so that a ratio there would flatter.
    """
    curves = [[(n, float(measure(errors))) for n, errors in trainings] for trainings in (points, at_random)]
    for label, curve in zip(("active", "random"), curves, strict=True):
        for simulations, error in curve:
            yield Row(what=f"{label}, {simulations} simulations: {name}", value=error, unit="%")
    for k, (simulations, error) in enumerate(curves[1]):
        needed = simulations_for(error, curves[0])
        yield Row(
            what=f"active over random simulations, {name} of {simulations} random",
            value=needed / simulations,
            unit="1",
            bar=BAR if k == 1 else None,
            note=f"active learning needs {needed:.0f} for {error:.3f} %",
        )


def _verdict(rounds: Sequence[Round], points: list[Point]) -> Iterator[Row]:
    """What the held-out random devices say, against the test devices that active learning never had."""
    last, truth = rounds[-1], float(points[-1].errors.mean())
    off = (100 * last.error - truth) / (100 * last.uncertainty)
    note = f"{100 * last.error:.3f} % on {last.tested} held-out devices, {truth:.3f} % on the test devices"
    yield Row(what="error that decides: deviation over standard error", value=abs(off), unit="1", bar=3.0, note=note)


def _at_random(whole: Dataset, count: int, steps: int) -> Point:
    data = Dataset.of(whole.manifest, whole.rows[:count])
    point = Point(count, test_errors(trained(data, published.FRACTIONS, steps)))
    say("random", point)
    return point


def trained(data: Dataset, fractions: Sequence[float], steps: int) -> Surrogate:
    """The same training for both."""
    assert data.space is not None
    config, schedule = SpectralConfig(members=MEMBERS), Schedule(steps=steps)
    return fit(data.devices, data.drive, data.traces, data.space, config, schedule, fractions=fractions)


def test_errors(surrogate: Surrogate) -> np.ndarray:
    """nMAE [%] of the test devices."""
    return 100 * evaluate(surrogate, *published.tests(SPACE)).nmae


def simulations_for(error: float, curve: Sequence[tuple[int, float]]) -> float:
    """Simulations at which a learning curve first passes `error`, straight in logarithms; its ends beyond them."""
    if error >= curve[0][1]:
        return curve[0][0]
    for (fewer, above), (more, below) in itertools.pairwise(curve):
        if below <= error < above:
            part = np.log(above / error) / np.log(above / below)
            return float(fewer * (more / fewer) ** part)
    return curve[-1][0]


def say(label: str, point: Point) -> None:
    """A line of progress."""
    tail = np.percentile(point.errors, 99)
    print(f"{label}, {point.simulations}: {point.errors.mean():.3f} %, 99 % {tail:.3f} %", file=sys.stderr, flush=True)


if __name__ == "__main__":
    harness.run("surrogate_active", [saved])
