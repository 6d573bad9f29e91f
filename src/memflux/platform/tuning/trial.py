"""One trial: a training with its settings, told look by look, whose end is a value or a reason."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from memflux.errors import DataError
from memflux.platform.tuning.work import Look, Task, reason
from memflux.training.data import SplitCurves
from memflux.training.loop import Recipe, Training
from memflux.training.search_space import configured
from memflux.training.trainer import Trainer

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TIMED = 3  # runs of which the quickest counts as the time of inference


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
        training: Training | None = None
        told = 0
        try:
            training, steps = self._begun(task, group)
            for _ in steps:
                for step in training.trainer.history[told:]:
                    yield _look(training, step.epoch, step.validation)
                told = len(training.trainer.history)
            values = self._values(training)
        except Exception as error:
            if group is not None:
                raise  # the other ranks would wait for this one
            yield _look(training, failure=reason(error))
        else:
            yield _look(training, training.trainer.epoch, training.trainer.best, values=values)

    def forget(self, number: int) -> None:
        """Remove the checkpoint of a trial that is over."""
        file = self._checkpoint(number)
        if file is not None:
            file.unlink(missing_ok=True)

    def _checkpoint(self, number: int) -> Path | None:
        return None if self.checkpoints is None else Path(self.checkpoints) / f"{number:06d}.training"

    def _begun(self, task: Task, group: "ProcessGroup | None") -> tuple[Training, Iterator[object]]:
        """The training, and its steps with one thing more after the last: one that had ended has none left."""
        training = self._training(task, group)
        steps = training.steps()
        try:
            first = next(steps, None)
        except DataError:  # the checkpoint is of another version, or was cut
            self.forget(task.number)
            training = self._training(task, group)
            steps = training.steps()
            first = next(steps, None)
        return training, itertools.chain((first,), steps, (None,))

    def _training(self, task: Task, group: "ProcessGroup | None") -> Training:
        config, schedule = configured(self.model, task.settings, len(self.data.curves), self.data.space.drive)
        schedule = dataclasses.replace(schedule, threads=self.threads)
        recipe = Recipe(
            config=config,
            schedule=schedule,
            seed=task.seed,
            device=self.device,
            checkpoint=self._checkpoint(task.number),
        )
        return Training(self.data, recipe, group)

    def _values(self, training: Training) -> tuple[float, ...]:
        """Of the objectives, once the training is over."""
        trainer = training.trainer
        if not math.isfinite(trainer.best):
            raise ArithmeticError(f"no validation error was finite in {trainer.epoch} epochs")
        measure: dict[str, Callable[[], float]] = {
            "nmae": lambda: trainer.best,
            "parameters": lambda: float(_weights(trainer)),
            "inference_time": lambda: _seconds_a_curve(training),
        }
        return tuple(measure[name]() for name in self.objectives)


def _look(
    training: Training | None,
    epoch: int = 0,
    error: float = math.nan,
    values: tuple[float, ...] | None = None,
    failure: str = "",
) -> Look:
    if training is None:
        return Look(percent=0, epochs=0, error=error, failure=failure)
    return Look(
        percent=100 * epoch // training.trainer.epochs,
        epochs=training.trainer.epoch if failure else epoch,
        error=error,
        values=values,
        failure=failure,
        seconds=training.spent,
        weights=_weights(training.trainer),
    )


def _weights(trainer: Trainer) -> int:
    return sum(p.numel() for p in trainer.module.parameters())


@torch.no_grad()
def _seconds_a_curve(training: Training) -> float:
    """Of scaled parameters to currents in A, for the validation set in one batch; the quickest of some runs."""
    trainer = training.trainer
    unit, voltage, _ = trainer.validation.at(slice(None))
    trainer.module.eval()
    seconds = []
    with training.own_state():
        for _ in range(TIMED):
            began = time.perf_counter()
            trainer.outputs.unscale(*(x.double().cpu().numpy() for x in trainer.module(unit, voltage)))
            seconds.append(time.perf_counter() - began)
    return min(seconds) / len(trainer.validation)
