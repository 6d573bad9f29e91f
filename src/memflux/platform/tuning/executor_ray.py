"""Trials side by side on Ray Tune: it places, watches and restarts them; the study alone decides what runs.

Tune's own Optuna search keeps its study in memory, seeds it once, and takes a trial that its scheduler stopped for a
finished one. Here search and scheduler are two doors to one `Study`, the same as without Ray (decision 0015).
"""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from memflux.platform.cluster import local_cluster
from memflux.platform.tuning.study import Look, Study, Task
from memflux.platform.tuning.trial import Job

ATTEMPTS = 3  # times that a trial may take its process down, or lose its node
OBJECT_STORE = 2**30  # bytes, for the data set of an embedded Ray
ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver has its own
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # of the state of Tune, which nothing is read from
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class RayTrials:
    """What runs the trials of a study; see `memflux.platform.tuning.tune`."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self.workers, self.address = workers, address

    def run(self, study: Study, job: Job, stopped: Callable[[], bool], on_look: Callable[[], None]) -> None:
        """Until the budget is spent or `stopped()`: then trials under way go on from their checkpoints next time."""
        os.environ.update(ENVIRONMENT)
        with (
            local_cluster(self.workers, self.address, object_store=OBJECT_STORE),
            tempfile.TemporaryDirectory(prefix="memflux-tune-", dir=_scratch()) as folder,
        ):
            search = _Search(study, job, _room(study), on_look)
            trainable = tune.with_resources(tune.with_parameters(TuneTrial, job=job), _resources(study))
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    metric="error", mode="min", search_alg=search, scheduler=_Judge(search),
                    num_samples=-1, reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="study", storage_path=folder, verbose=0, stop=_Stop(stopped),
                    failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )  # fmt: skip
            tuner.fit()


class _Shared:
    """Tune copies what it is given; the study has one driver."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class TuneTrial(tune.Trainable):
    """An actor that does one trial after the other."""

    def setup(self, config: dict[str, Any], job: Job) -> None:  # type: ignore[override]
        """Called in each process, once; the data set lies in the node's shared memory."""
        self.job = job
        self.reset_config(config)

    def reset_config(self, config: dict[str, Any]) -> bool:
        """Take up another trial."""
        self.looks: Iterator[Look] = self.job.looks(Task(**config["task"]))
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next look."""
        look = next(self.looks)
        return {**dataclasses.asdict(look), "done": look.last}


class _Search(_Shared, Searcher):
    """Hands out the trials of the study, and tells it how they ended."""

    def __init__(self, study: Study, job: Job, room: int, on_look: Callable[[], None]) -> None:
        super().__init__(metric="error", mode="min")
        self.study, self.job, self.room, self.on_look = study, job, room, on_look
        self.running: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial; None while there is no room, FINISHED once the budget is spent."""
        if len(self.running) >= self.room:
            return None
        task = self.study.next()
        if task is None:
            return Searcher.FINISHED
        self.running[trial_id] = task.number
        return {"task": dataclasses.asdict(task)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The end of a trial that was not told of by its last look: a death that was the last one allowed."""
        number = self.running.get(trial_id)
        if number is not None and error:
            self.study.fail(number, f"its process died {ATTEMPTS} times, or its node with it")
            self.end(trial_id)

    def judge(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell the study of a look; whether the trial is over."""
        names = [f.name for f in dataclasses.fields(Look)]
        number = self.running[trial_id]
        look = Look(**{name: result[name] for name in names})
        ended = self.study.tell(number, look)
        if ended:
            self.end(trial_id)
        self.on_look()
        return ended

    def end(self, trial_id: str) -> None:
        """The trial is over: its place is free, its checkpoint of no use."""
        self.job.forget(self.running.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the journal has what matters."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        """A study goes on from its journal."""
        raise NotImplementedError


class _Judge(_Shared, FIFOScheduler):
    """Asks the study whether a trial should go on."""

    def __init__(self, search: _Search) -> None:
        super().__init__()
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """After each look but the last."""
        over = self._search.judge(trial.trial_id, result)
        return TrialScheduler.STOP if over else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """After the last look, of which the above is not told."""
        if trial.trial_id in self._search.running:
            self._search.judge(trial.trial_id, result)


class _Stop(_Shared, tune.Stopper):
    """Ends the run when it is asked to stop; trials under way stay under way in the journal."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Asked between events."""
        return self._stopped()


def _scratch() -> str | None:
    """Where Tune may keep its folder a trial, which nobody reads: in memory, if there is a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _resources(study: Study) -> dict[str, float]:
    plan = study.plan
    return {"cpu": float(plan.cpus), "gpu": plan.gpus} if plan.gpus else {"cpu": float(plan.cpus)}


def _room(study: Study) -> int:
    """Trials that the cluster holds at a time."""
    plan, there = study.plan, ray.cluster_resources()
    rooms = [there.get("CPU", 1.0) / (plan.cpus * plan.processes)]
    if plan.gpus:
        rooms.append(there.get("GPU", 0.0) / (plan.gpus * plan.processes))
    return max(1, min(math.floor(min(rooms)), plan.concurrent or 10**9))
