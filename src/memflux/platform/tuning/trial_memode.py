"""One trial of neural ODEs of measured loops: a cross-validation, told fold by fold."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from memflux import __version__
from memflux.loops import Loops
from memflux.platform.tuning.work import Look, Task, reason
from memflux.training.memode.fit import folds_of
from memflux.training.memode.model import MemOde, Scales
from memflux.training.memode.search import candidate

CONSTANT = 2.0  # L_b of a constant voltage and current: what a model is worth that says nothing


class Done(NamedTuple):
    """A fold that was left out, learned without, and foretold."""

    errors: tuple[float, ...]  # L_b of its records
    iterations: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoopsJob:
    """Trials that cross-validate: what all of a study share.

    All deal the records to folds alike, so that pruners compare like with like. A record counts with L_b = 2 at most,
    that of a constant: where an orbit does not close there is none, and one record must not decide alone.
    """

    loops: Loops  # that trials see
    objectives: tuple[str, ...]
    deal: int = 0  # seed
    threads: int = 1
    checkpoints: str | None = None  # folder, where trials that are interrupted go on from

    def looks(self, task: Task, group: None = None) -> Generator[Look, None, None]:
        """Leave out one fold after the other, and tell: the last look has values, or the reason why there are none.

        Folds from before an interruption are told again, as whoever listens may have missed them.
        """
        done, folds, weights = list[Done](), 1, 0
        try:
            config, how, folds = candidate(task.settings, len(self.loops))
            weights = MemOde.untrained(config, Scales.of(self.loops), 0).weights.size
            for part in self._read(task)[:folds]:
                done.append(part)
                yield _look(done, folds, weights)
            left = folds_of(self.loops, config, how, folds, deal=self.deal, seed=task.seed, first=len(done))
            while len(done) < folds:
                began = time.perf_counter()
                with _threads(self.threads):
                    fold = next(left)
                errors = np.minimum(fold.errors, CONSTANT).tolist()
                done.append(Done(tuple(errors), fold.iterations, time.perf_counter() - began))
                self._write(task, done)
                yield _look(done, folds, weights)
        except (ValueError, ArithmeticError, MemoryError) as error:
            yield dataclasses.replace(_look(done, folds, weights), failure=reason(error))
        else:
            end = _look(done, folds, weights)
            measure = {"loop_error": end.error, "parameters": float(weights)}
            yield dataclasses.replace(end, values=tuple(measure[name] for name in self.objectives))

    def forget(self, number: int) -> None:
        """Remove the folds of a trial that is over."""
        file = self._file(number)
        if file is not None:
            file.unlink(missing_ok=True)

    def _file(self, number: int) -> Path | None:
        return None if self.checkpoints is None else Path(self.checkpoints) / f"{number:06d}.json"

    def _whose(self, task: Task) -> list[object]:
        """What the folds of a trial depend on."""
        return [__version__, dict(task.settings), task.seed, self.deal, self.loops.content_hash]

    def _read(self, task: Task) -> list[Done]:
        """The folds that are done; none where the file is another trial's, or damaged."""
        file = self._file(task.number)
        if file is None:
            return []
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            folds = [Done(tuple(map(float, errors)), int(n), float(s)) for errors, n, s in document["folds"]]
            return folds if document["of"] == self._whose(task) else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _write(self, task: Task, done: Sequence[Done]) -> None:
        file = self._file(task.number)
        if file is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
        fresh.write_text(json.dumps({"of": self._whose(task), "folds": done}), encoding="utf-8")
        os.replace(fresh, file)


def _look(done: Sequence[Done], folds: int, weights: int) -> Look:
    errors = [error for part in done for error in part.errors]
    return Look(
        percent=100 * len(done) // folds,
        epochs=sum(part.iterations for part in done),
        error=float(np.mean(errors)) if errors else float("nan"),
        seconds=sum((part.seconds for part in done), 0.0),
        weights=weights,
    )


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many for numba, or as many as it has."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.set_num_threads(before)
