"""Studies on Ray: two trials at a time against one, what Tune and Optuna cost a trial, and trials a second."""

import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import harness
import published
from harness import Row
from memflux.platform.cluster import local_cluster
from memflux.platform.tuning.executor_ray import RayTrials
from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.study import Study
from memflux.platform.tuning.trial import Job
from memflux.platform.tuning.tune import Trials, curves_of
from memflux.platform.tuning.work import Look, Task, Work

LONG_S = 20.0  # of the trial whose overhead is asked for
NOTHING = 500  # no-op trials


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sleeper:
    """Trials that look a few times and take a given time, or none."""

    seconds: float
    looks_a_trial: int

    def looks(self, task: Task) -> Iterator[Look]:
        """Rest between the looks."""
        rate = float(task.settings["learning_rate"])
        for k in range(self.looks_a_trial):
            time.sleep(self.seconds / self.looks_a_trial)
            yield Look(percent=100 * (k + 1) // self.looks_a_trial, epochs=k + 1, error=rate)
        yield Look(percent=100, epochs=self.looks_a_trial, error=rate, values=(rate,))

    def forget(self, number: int) -> None:
        """Nothing is kept."""


def concurrent(quick: bool) -> Iterator[Row]:
    """two concurrent trials against one"""
    count = 4 if quick else 8
    name = "5d-parametric"
    published.dataset(name, 512)
    plan = Plan(
        model="lstm", dataset=str(published.CACHE / name), curves=512, samples=40, sampler="random", pruner="none",
        search={"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}, trials=count,
        fixed={"epochs": 5 if quick else 20, "batch_size": 32},
    )  # fmt: skip
    job = Job(model="lstm", data=curves_of(plan)[0], objectives=("nmae",))
    with local_cluster(2):
        _study(plan, job, RayTrials(), 2, trials=2)  # Tune's and torch's first steps
        one = _study(plan, job, RayTrials(), 1)
        two = _study(plan, job, RayTrials(), 2)
        again = _study(plan, job, RayTrials(), 1)
    serial = (one + again) / 2
    alone, together = (_bare(job, _tasks(plan), processes) for processes in (1, 2))
    note = f"{count} trials of an LSTM: {one:.1f} and {again:.1f} s one by one, {two:.1f} s by two"
    yield Row(what="two concurrent trials on two cores, times as fast", value=serial / two, unit="1", bar=1.7,
              better="higher", note=note)  # fmt: skip
    note = f"the same trials: {alone:.1f} s in one, {together:.1f} s in two; what these two cores can give"
    yield Row(what="two bare processes without Ray and Optuna, times as fast as one", value=alone / together, unit="1",
              better="higher", note=note)  # fmt: skip


def overhead(quick: bool) -> Iterator[Row]:
    """overhead a trial of 20 s"""
    count = 2 if quick else 4
    work = Sleeper(seconds=2.0 if quick else LONG_S, looks_a_trial=60)
    with local_cluster(2):
        _study(_plan(2), Sleeper(seconds=0.0, looks_a_trial=60), RayTrials(), 1)
        seconds = _study(_plan(count, sampler="tpe"), work, RayTrials(), 1)
    over = (seconds + work.seconds / work.looks_a_trial) / count - work.seconds  # the clock begins at the first look
    yield Row(what="overhead of Tune and Optuna, of a 20 s trial", value=100 * over / LONG_S, unit="%", bar=5.0,
              note=f"{1000 * over:.0f} ms a trial of 60 looks, {count} trials; start of Ray left out")  # fmt: skip


def nothing(quick: bool) -> Iterator[Row]:
    """no-op trials a second"""
    count = 100 if quick else NOTHING
    seconds = {}
    with local_cluster(2):
        for name, trials in (("Ray Tune", RayTrials()), ("one process", SerialTrials())):
            seconds[name] = _study(_plan(count), Sleeper(seconds=0.0, looks_a_trial=1), trials, 2)
    yield Row(what=f"{NOTHING} no-op trials, Ray Tune", value=count / seconds["Ray Tune"], unit="trials/s", bar=20.0,
              better="higher", note="class Trainable, actors used again; from the first end to the last")  # fmt: skip
    yield Row(what=f"{NOTHING} no-op trials, one process", value=count / seconds["one process"], unit="trials/s",
              note="the journal: four writes that wait for the disk")  # fmt: skip


def _plan(count: int, **changes: str) -> Plan:
    settings = {"model": "lstm", "dataset": "none", "trials": count, "sampler": "random", "pruner": "none"}
    search = {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
    return Plan(**{**settings, "search": search, **changes})


def _study(plan: Plan, work: Work, executor: Trials, concurrent: int, **changes: int) -> float:
    """Seconds from the first thing that a trial says to the last."""
    plan = Plan(**{**plan.model_dump(), "concurrent": concurrent, **changes})
    told: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Study.hold(Path(folder) / "s", plan, "") as study:
        executor.run(study, work, lambda: False, lambda: told.append(time.perf_counter()))
        assert study.tally().complete == plan.trials
    return told[-1] - told[0]


def _tasks(plan: Plan) -> list[Task]:
    """The trials of a random search, drawn at once."""
    assert plan.trials is not None
    with tempfile.TemporaryDirectory() as folder, Study.hold(Path(folder) / "s", plan, "") as study:
        return [task for _ in range(plan.trials) if (task := study.next()) is not None]


def _bare(job: Job, tasks: Sequence[Task], processes: int) -> float:
    """Seconds that so many processes take for the trials, shared out beforehand."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [tasks[k::processes] for k in range(processes)]
        begun, ended = zip(*pool.map(_work, [job] * processes, parts), strict=True)
    return max(ended) - min(begun)


def _work(job: Job, tasks: Sequence[Task]) -> tuple[float, float]:
    """When it began, torch's first steps left out, and when it ended."""
    first = job.looks(tasks[0])
    next(first)
    first.close()
    begun = time.perf_counter()
    for task in tasks:
        for look in job.looks(task):
            assert not look.failure
    return begun, time.perf_counter()


if __name__ == "__main__":
    harness.run("tune_scaling", [concurrent, overhead, nothing])
