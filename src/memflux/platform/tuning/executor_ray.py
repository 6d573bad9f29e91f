"""Trials side by side on Ray Tune: it places, watches and restarts them; the study alone decides what runs.

Tune's own Optuna search keeps its study in memory, seeds it once, and takes a trial that its scheduler stopped for a
finished one. Here search and scheduler are two doors to one `Study`, the same as without Ray (decision 0015).
"""

import dataclasses
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Self

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from memflux.errors import InvalidValue, ServiceError
from memflux.platform.cluster import local_cluster, private_folder
from memflux.platform.processes import Processes, run_on
from memflux.platform.tuning.study import Study
from memflux.platform.tuning.work import Look, Task, Work

ATTEMPTS = 3  # times that a trial may take its process down, or lose its node
OBJECT_STORE = 2**30  # bytes, for the data set of an embedded Ray
ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver has its own
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal has it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # of the state of Tune, which nothing is read from
    "RAY_AIR_NEW_OUTPUT": "0",
}


class RayTrials:
    """What runs the trials of a study; see `memflux.platform.tuning.tune`."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self.workers, self.address = workers, address

    def run(self, study: Study, work: Work, stopped: Callable[[], bool], on_look: Callable[[], None]) -> None:
        """Until the budget is spent or `stopped()`: then trials under way go on from their checkpoints next time.

        Raises InvalidValue where there is no room for a trial, ServiceError where trials cannot begin.
        """
        if (self.address or "").startswith("ray://"):
            raise InvalidValue(f"address = {self.address!r} leads to Ray's client, not to Ray; give host:port.")
        os.environ.update(ENVIRONMENT)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what trials die of is in the journal
        with (
            local_cluster(self.workers, self.address, object_store=OBJECT_STORE),
            private_folder("memflux-tune-", "/dev/shm") as folder,  # of a file a trial, which nobody reads
        ):
            room = _room(study)
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(room)  # by itself Tune starts one actor after the other
            search = _Search(study, work, room, on_look)
            trainable = tune.with_resources(tune.with_parameters(TuneTrial, work=work), _resources(study))
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    metric="error", mode="min", search_alg=search, scheduler=_Judge(search),
                    num_samples=-1, reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="study", storage_path=str(folder), verbose=0, stop=_Stop(stopped),
                    failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
                    callbacks=[_Undertaker(search)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )  # fmt: skip
            tuner.fit()
            search.close()


class _Shared:
    """Tune copies what it is given, and saves it; a study has one driver, and goes on from its journal."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Shared, ()


class TuneTrial(tune.Trainable):
    """An actor that does one trial after the other."""

    def setup(self, config: dict[str, Any], work: Work) -> None:  # type: ignore[override]
        """Called in each process, once; the data set lies in the node's shared memory."""
        self.work = work
        self.shared: ray.ObjectRef | None = None
        self.looks: Generator[Look, None, None] | None = None
        self.reset_config(config)

    def reset_config(self, config: dict[str, Any]) -> bool:
        """Take up another trial."""
        self.cleanup()
        task = Task(**config["task"])
        if config["processes"] is None:
            self.looks = self.work.looks(task)
        else:
            self.shared = self.shared or ray.put(self.work)  # once an actor, not once a trial
            self.looks = run_on(Processes(**config["processes"]), _Ranks(self.shared, task), attempts=1)
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next look."""
        assert self.looks is not None
        look = next(self.looks)
        return {**dataclasses.asdict(look), "done": look.last}

    def cleanup(self) -> None:
        """Let go of a trial that was ended early."""
        if self.looks is not None:
            self.looks.close()


@dataclasses.dataclass(frozen=True, slots=True)
class _Ranks:
    """What each process of a trial does."""

    shared: ray.ObjectRef
    task: Task

    def __call__(self, group: Any) -> Generator[Look, None, None]:
        return ray.get(self.shared).looks(self.task, group)


class _Search(_Shared, Searcher):
    """Hands out the trials of the study, and tells it how they ended."""

    def __init__(self, study: Study, work: Work, room: int, on_look: Callable[[], None]) -> None:
        super().__init__(metric="error", mode="min")
        self.study, self.work, self.room, self.on_look = study, work, room, on_look
        self.running: dict[str, Task] = {}
        self._again: list[Task] = []  # whose actor died before they were begun
        self._deaths: Counter[int] = Counter()  # of processes, by the number of the trial
        self.broken = ""  # what trials die of before they say anything
        self._spoken = study.tally().ended > 0  # whether a trial has said anything
        self._false_starts: list[tuple[int, str]] = []  # trials that died before that, and of what

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial; None while there is no room, FINISHED once the budget is spent."""
        if len(self.running) >= self.room:
            return None
        task = None if self.broken else self._again.pop() if self._again else self.study.next()
        if task is None:
            return None if self.running and not self.broken else Searcher.FINISHED  # one under way may come back
        self.running[trial_id] = task
        plan = self.study.plan
        processes = Processes(count=plan.processes, cpus=plan.cpus, gpus=plan.gpus) if plan.processes > 1 else None
        return {
            "task": dataclasses.asdict(task),
            "processes": None if processes is None else dataclasses.asdict(processes),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Of an end `judge` or `bury` has told the study; a trial that is stopped with the run has none."""

    def bury(self, trial_id: str, deaths: int, error: str) -> None:
        """Tune gave a trial up: it died as often as it may, or its actor did before the trial was begun.

        Where no trial has said anything yet, it may not be the trial's fault.
        """
        task = self.running.pop(trial_id)
        number = task.number
        self._deaths[number] += deaths
        if self._deaths[number] < ATTEMPTS:
            self._again.append(task)
            return
        reason = f"its process died, or its node with it, as often as it may: {error}"
        if self._spoken:
            self._fail(number, reason)
            return
        self._false_starts.append((number, reason))
        if len(self._false_starts) == ATTEMPTS:
            self.broken = error

    def judge(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell the study of a look; whether the trial is over."""
        names = [f.name for f in dataclasses.fields(Look)]
        number = self.running[trial_id].number
        if not self._spoken:
            self._spoken = True
            for other, reason in self._false_starts:
                self._fail(other, reason)
            self._false_starts.clear()
        look = Look(**{name: result[name] for name in names})
        ended = self.study.tell(number, look)
        if ended:
            self.work.forget(self.running.pop(trial_id).number)
        self.on_look()
        return ended

    def close(self) -> None:
        """Once the run is over. Raises ServiceError where three trials died, and none has ever said a word."""
        if self.broken:
            raise ServiceError(f"trials die before they begin: {self.broken}; is memflux installed on every node?")
        for number, reason in self._false_starts:
            self._fail(number, reason)

    def _fail(self, number: int, reason: str) -> None:
        self.study.fail(number, reason)
        self.work.forget(number)
        self.on_look()

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


class _Undertaker(_Shared, tune.Callback):
    """Learns what a trial died of, where Tune does not begin it again: it never does before a trial has begun."""

    def __init__(self, search: _Search) -> None:
        self._search = search

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """After Tune's last attempt."""
        self._search.bury(trial.trial_id, max(trial.num_failures, 1), _last_words(trial))


class _Stop(_Shared, tune.Stopper):
    """Ends the run when it is asked to stop; trials under way stay under way in the journal."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Asked between events."""
        return self._stopped()


def _last_words(trial: Trial) -> str:
    """What Ray says of a trial's last death, without the places in the code."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        return "no reason given"
    last = text.rpartition("Failure #")[2]
    if "running low on memory" in last:
        return "out of memory, killed by Ray"
    return last.strip().splitlines()[-1][:200]


def _resources(study: Study) -> dict[str, float]:
    plan = study.plan
    if plan.processes > 1:
        return {"memory": 1.0}  # Ray Train asks for the cores of its processes itself; something must be asked for
    return {"cpu": float(plan.cpus), "gpu": plan.gpus} if plan.gpus else {"cpu": float(plan.cpus)}


def _room(study: Study) -> int:
    """Trials that the cluster holds at a time. Raises InvalidValue where it holds none: Ray would wait for ever."""
    plan = study.plan
    each = {"CPU": plan.cpus, **({"GPU": plan.gpus} if plan.gpus else {})}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(math.floor(min(node.get(name, 0.0) / amount for name, amount in each.items())) for node in nodes)
    if slots < plan.processes:
        wanted = " and ".join(f"{amount:g} {name}" for name, amount in each.items())
        raise InvalidValue(
            f"a trial asks for {plan.processes} processes with {wanted} each and this Ray has room for {slots}; lower "
            "processes, cpus or gpus, or give the --address of a larger cluster."
        )
    return min(slots // plan.processes, plan.concurrent or slots)
