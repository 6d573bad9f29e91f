"""What a sweep costs beside the answers themselves, and what a Pareto search costs beside its predictor.

One torch thread. The bare predictor answers the same devices, drawn before, without a file being written.
"""

import resource
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import torch

import harness
from harness import Row
from memflux import Space, Surrogate
from memflux.analysis.pareto import pareto
from memflux.analysis.quantities import evaluate
from memflux.platform.sweep import sweep
from memflux.platform.sweep_files import PART, Question

SPACE = Space.preset("5d-parametric")


def rate(quick: bool) -> Iterator[Row]:
    """sweep"""
    torch.set_num_threads(1)
    surrogate = Surrogate.load(SPACE.name)
    question = Question(space=SPACE, count=12 * PART if quick else 1_000_000)
    before = _bare(surrogate, question)
    at_first = _memory()
    with tempfile.TemporaryDirectory() as folder:
        state = sweep(surrogate, question, folder)
    at_last = _memory()
    bare = 0.5 * (before + _bare(surrogate, question))  # around it: the machine may change meanwhile
    note = f"{state.rate:,.0f} a second, bare {bare:,.0f}"
    what = f"sweep of {question.count:,}"
    yield Row(
        what=f"{what}: share of the bare rate", value=state.rate / bare, unit="1", bar=0.9, better="higher", note=note
    )
    note = f"{at_last:.0f} MB in all"
    yield Row(what=f"{what}: memory beyond the bare predictor", value=at_last - at_first, unit="MB", bar=200, note=note)


def front(quick: bool) -> Iterator[Row]:
    """Pareto 200 x 200 beside its predictor"""
    predictor = _Timed()
    began = time.perf_counter()
    pareto(predictor, SPACE, population=200, generations=40 if quick else 200)
    seconds = time.perf_counter() - began - predictor.seconds
    yield Row(what="Pareto 200 x 200, outside the predictor", value=seconds, unit="s", bar=3.0)


class _Timed:
    """ZDT1 of the coordinates, and the time that it takes."""

    seconds = 0.0

    def __call__(self, devices: object, drive: object) -> None:
        raise NotImplementedError

    def quantities(self, devices, drive, names):
        """Both objectives."""
        began = time.perf_counter()
        x = SPACE.coordinates(devices, drive)
        g = 1.0 + 9.0 * x[:, 1:].mean(axis=1)
        values = np.stack([x[:, 0], -g * (1.0 - np.sqrt(np.clip(x[:, 0], 0.0, None) / g))], axis=1)
        self.seconds += time.perf_counter() - began
        return values


def _bare(surrogate: Surrogate, question: Question) -> float:
    """Devices a second of the predictor and the quantities alone."""
    seconds, parts = 0.0, 6
    for k in range(parts):
        devices, drive = question.draw(k * PART)
        began = time.perf_counter()
        evaluate(surrogate, devices, drive, question.quantities)
        seconds += time.perf_counter() - began
    return parts * PART / seconds


def _memory() -> float:
    """Largest so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    harness.run("sweep_speed", [rate, front])
