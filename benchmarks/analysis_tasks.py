"""The published design tasks, asked of an endpoint on this machine, and of the LSTM in this process.

The bars are for the spectral model behind two replicas of one CPU each; the published times are of an i9-14900KF
(arXiv 2505.13882, Table 1). Every task is timed after a short one of its kind.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import harness
from harness import Row
from memflux import Client, Solver, Surrogate
from memflux.analysis.inverse import fit_curve
from memflux.analysis.maps import metric_map
from memflux.analysis.optimise import optimise
from memflux.analysis.pareto import pareto
from memflux.analysis.sensitivity import sobol
from memflux.contracts import CurveCost
from memflux.platform.cluster import local_cluster
from memflux.platform.serving.serve import Scale, endpoint, free_port

SPECTRAL, LSTM = "5d-parametric", "5d-parametric-lstm"
TARGET_SEED = 7  # of the device whose simulated curve is fitted
EVALUATIONS = 75_000  # of the published fit


class Task(NamedTuple):
    """One of the published tasks: what is asked, how long it took them, and how long it may take us."""

    name: str
    ask: Callable[[Any, int], Any]  # of a predictor and a divisor of the effort
    bar: float  # s
    published: float  # s, on a CPU
    devices: Callable[[Any], str]  # what the result says of its effort


def tasks() -> tuple[Task, ...]:
    """The tasks; the target of the fit is a simulated curve."""
    space, cost = Surrogate.load(SPECTRAL).space, _target()
    return (
        Task(
            "maps",
            lambda model, less: metric_map(model, space, points=(64 // less, 64 // less, 6)),
            1.0,
            33.0,
            lambda r: f"{r.evaluations} devices",
        ),
        Task(
            "Sobol, second order",
            lambda model, less: sobol(model, space, base_samples=16_384 // less, second_order=True),
            6.0,
            336.0,
            lambda r: f"{r.evaluations} devices, {r.resamples} resamples",
        ),
        Task(
            "inverse fit, 500 starts",
            lambda model, less: fit_curve(model, space, cost, starts=500 // less),
            5.0,
            110.0,
            lambda r: f"{r.evaluations} evaluations, cost {r.cost:.2e}, nMAE {100 * r.nmae:.3f} %",
        ),
        Task(
            "scalar optimum",
            lambda model, less: optimise(model, space, generations=max(80 // less, 2)),
            5.0,
            145.0,
            lambda r: f"{r.evaluations} evaluations, S {r.values[0]:.3f}, R {r.values[1]:.3f}",
        ),
        Task(
            "Pareto front, 200 x 200",
            lambda model, less: pareto(model, space, generations=max(200 // less, 2)),
            8.0,
            73.0,
            lambda r: f"{r.evaluations} evaluations, {len(r.objectives)} on the front",
        ),
    )


def through_the_endpoint(quick: bool) -> Iterator[Row]:
    """spectral model, through the endpoint"""
    with (
        local_cluster(2),
        endpoint({SPECTRAL: SPECTRAL}, port=free_port(), scale=Scale(replicas=2)) as served,
        Client(served.url, token=served.token) as client,
    ):
        for task in tasks():
            yield _timed(task, client, "endpoint", task.bar, quick)


def lstm(quick: bool) -> Iterator[Row]:
    """LSTM, in this process"""
    model = Surrogate.load(LSTM).on("cpu", "float32")
    torch.set_num_threads(2)
    for task in tasks():
        yield _timed(task, model, "LSTM", task.published, quick)


def same_cost(quick: bool) -> Iterator[Row]:
    """the fit against one of 75,000 evaluations"""
    model, cost, starts = Surrogate.load(SPECTRAL).on("cpu", "float32"), _target(), 50 if quick else 500
    ours = fit_curve(model, model.space, cost, starts=starts)
    long = fit_curve(model, model.space, cost, starts=starts, iterations=EVALUATIONS // 500)
    note = f"{ours.evaluations} evaluations, cost {ours.cost:.4e}; {long.evaluations}, {long.cost:.4e}"
    yield Row(
        what="fit: cost over that of 75,000 evaluations", value=ours.cost / long.cost, unit="1", bar=1.01, note=note
    )


def _target() -> CurveCost:
    """The distance from a simulated curve."""
    devices, drive = Surrogate.load(SPECTRAL).space.sample(1, seed=TARGET_SEED)
    return CurveCost(kind="log_curve", target=Solver(samples=160)(devices, drive).cycle(-1).current[0])


def _timed(task: Task, model: object, where: str, bar: float, quick: bool) -> Row:
    task.ask(model, 32)  # first steps
    began = time.perf_counter()
    result = task.ask(model, 8 if quick else 1)
    seconds = time.perf_counter() - began
    note = f"{task.devices(result)}; published {task.published:g} s"
    return Row(what=f"{where}: {task.name}", value=seconds, unit="s", bar=bar, note=note)


if __name__ == "__main__":
    harness.run("analysis_tasks", [through_the_endpoint, same_cost, lstm])
