"""One trial: a training with its settings, told look by look, whose end is a value or a reason."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from memflux.platform.tuning.study import Look, Task
from memflux.training.data import SplitCurves
from memflux.training.loop import Training
from memflux.training.search_space import configured
from memflux.training.trainer import Trainer

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TIMED = 3  # runs of which the quickest counts as the time of inference


class Work(Protocol):
    """What a trial does; it must be one that Ray can send to another process."""

    def looks(self, task: Task) -> Generator[Look, None, None]:
        """Do a task and tell: the last look has values, or the reason why there are none."""
        ...

    def forget(self, number: int) -> None:
        """Remove what is kept of a trial that is over."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """Trials that train: what all of a study share."""

    model: str
    data: SplitCurves
    objectives: tuple[str, ...]
    device: str = "cpu"
    threads: int = 1  # of torch
    checkpoints: str | None = None  # folder, where trials that are interrupted go on from

    def looks(self, task: Task, group: "ProcessGroup | None" = None) -> Generator[Look, None, None]:
        """Train, and tell: the last look has values, or the reason why there are none.

        Looks from before an interruption are told again, as whoever listens may have missed them.
        """
        began = time.perf_counter()
        trainer: Trainer | None = None
        told = 0
        try:
            training = self._training(task, group)
            trainer = training.trainer
            for _ in itertools.chain(training.steps(), (None,)):  # a training that had ended has no steps left
                for step in trainer.history[told:]:
                    yield _look(trainer, began, step.epoch, step.validation)
                told = len(trainer.history)
            values = self._values(trainer)
        except Exception as error:  # noqa: BLE001 - whatever a trial dies of is its result
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            yield _look(trainer, began, failure=failure)
        else:
            yield _look(trainer, began, trainer.epoch, trainer.best, values=values)

    def forget(self, number: int) -> None:
        """Remove the checkpoint of a trial that is over."""
        file = self._checkpoint(number)
        if file is not None:
            file.unlink(missing_ok=True)

    def _checkpoint(self, number: int) -> Path | None:
        return None if self.checkpoints is None else Path(self.checkpoints) / f"{number:06d}.training"

    def _training(self, task: Task, group: "ProcessGroup | None") -> Training:
        config, schedule = configured(self.model, task.settings, len(self.data.curves), self.data.space.drive)
        schedule = dataclasses.replace(schedule, threads=self.threads)
        return Training(self.data, config, schedule, task.seed, self.device, self._checkpoint(task.number), group=group)

    def _values(self, trainer: Trainer) -> tuple[float, ...]:
        """Of the objectives, once the training is over."""
        if not math.isfinite(trainer.best):
            raise ArithmeticError(f"no validation error was finite in {trainer.epoch} epochs")
        measure: dict[str, Callable[[], float]] = {
            "nmae": lambda: trainer.best,
            "parameters": lambda: float(_weights(trainer)),
            "inference_time": lambda: _seconds_a_curve(trainer),
        }
        return tuple(measure[name]() for name in self.objectives)


def _look(
    trainer: Trainer | None,
    began: float,
    epoch: int = 0,
    error: float = math.nan,
    values: tuple[float, ...] | None = None,
    failure: str = "",
) -> Look:
    return Look(
        percent=0 if trainer is None else 100 * epoch // trainer.epochs,
        epochs=epoch if trainer is None or not failure else trainer.epoch,
        error=error,
        values=values,
        failure=failure,
        seconds=time.perf_counter() - began,
        weights=0 if trainer is None else _weights(trainer),
    )


def _weights(trainer: Trainer) -> int:
    return sum(p.numel() for p in trainer.module.parameters())


def _seconds_a_curve(trainer: Trainer) -> float:
    """Of the validation set in one batch, scaling and all."""
    seconds = []
    for _ in range(TIMED):
        began = time.perf_counter()
        trainer.validation_error()
        seconds.append(time.perf_counter() - began)
    return min(seconds) / len(trainer.validation)
