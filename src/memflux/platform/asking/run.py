"""Put questions to a model, write each answer as it comes, and ask no answered question twice."""

import contextlib
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from memflux.errors import DataError, InvalidValue, MemfluxError
from memflux.folder import Folder
from memflux.platform.asking.model import Model
from memflux.platform.asking.questions import AbstractAnalysis, Answer, Stage, unseen
from memflux.platform.lock import hold
from memflux.platform.signals import stop_on_signals
from memflux.platform.sweep import PROBES, probe
from memflux.platform.sweep_files import Question, alike
from memflux.space import Space

RECORD = "_questions.json"  # no name of an analysis begins so
STATES = ("answered", "kept", "failed", "left")  # kept: from an earlier run; left: not asked, as the run was stopped
FORMAT = 1  # of the folder; a reader refuses any other


class Task(NamedTuple):
    """An analysis and where it is asked."""

    analysis: AbstractAnalysis
    space: Space


class Ended(NamedTuple):
    """What became of an analysis: an answer, or a sentence that says why there is none."""

    name: str
    answer: Answer | None
    failure: str = ""
    seconds: float = 0.0


class Asking(Protocol):
    """Where questions are asked: in this process, or by actors."""

    def run(self, tasks: Sequence[Task], stopped: Callable[[], bool]) -> Generator[Ended, None, None]:
        """Each as it ends, in any order; once `stopped()`, only those under way."""
        ...


def attempt(task: Task, opened: Callable[[], Model], stage: Stage = unseen) -> Ended:
    """Ask one question; whatever goes wrong with it is told, and does not end the others."""
    began = time.perf_counter()
    answer, failure = None, ""
    try:
        answer = task.analysis.answer(opened(), task.space, stage)
    except MemfluxError as error:
        failure = str(error)
    except Exception as error:  # noqa: BLE001 - a quantity of one's own may raise anything
        failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Ended(task.analysis.name, answer, failure, time.perf_counter() - began)


class InTurn:
    """One question after the other, in this process."""

    def __init__(self, model: Model, stage: Stage = unseen) -> None:
        self.model, self.stage = model, stage

    def run(self, tasks: Sequence[Task], stopped: Callable[[], bool]) -> Generator[Ended, None, None]:
        """See `Asking`."""
        for task in tasks:
            if stopped():
                return
            yield attempt(task, lambda: self.model, self.stage)


class Outcome(NamedTuple):
    """What became of the questions of a file, by name."""

    kept: tuple[str, ...]
    ended: Mapping[str, Ended]

    def state(self, name: str) -> str:
        """One of `STATES`."""
        if name in self.kept:
            return "kept"
        if name not in self.ended:
            return "left"
        return "failed" if self.ended[name].failure else "answered"


def ask(
    tasks: Sequence[Task],
    model: Model,
    asking: Asking,
    out: str | Path,
    on_end: Callable[[Ended, int, int], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> Outcome:
    """Ask what has no answer in the folder `out` yet; answers are NAME.json, written whole as each comes.

    Answered questions are left alone unless their analysis has changed; failed ones are asked again by the next
    call. Interrupt, SIGTERM and SIGUSR1 end it after the questions under way. Raises InvalidValue for another model
    than that of the folder, DataError for a damaged folder and for two runs into one. `on_end` gets (what, done, all).
    """
    folder = Path(out)
    place = Folder.at(str(folder))
    place.create()
    with hold(place), stop_on_signals(on_stop) as stopped:
        record = _claim(folder, model)
        known = record["asked"]
        new = [t for t in tasks if known.get(t.analysis.name) != t.analysis.asked() or not _file(folder, t).is_file()]
        by_name = {task.analysis.name: task for task in new}
        ended: dict[str, Ended] = {}
        with contextlib.closing(asking.run(new, stopped)) as told:
            for one in told:
                ended[one.name] = one._replace(answer=None)
                _settle(folder, by_name[one.name], one, record)
                _write(place, record)
                if on_end is not None:
                    on_end(one, len(ended), len(new))
    return Outcome(kept=tuple(t.analysis.name for t in tasks if t not in new), ended=ended)


def _settle(folder: Path, task: Task, one: Ended, record: dict[str, Any]) -> None:
    """Write the answer in place of what an earlier run said to another question of that name."""
    file = _file(folder, task)
    if record["asked"].pop(one.name, None) is not None:
        for old in (file, *folder.glob(f"{one.name}.*.json")):
            old.unlink(missing_ok=True)
    record["failed"].pop(one.name, None)
    if one.answer is None:
        record["failed"][one.name] = one.failure
    else:
        one.answer.to_json(file)
        record["asked"][one.name] = task.analysis.asked()


def _file(folder: Path, task: Task) -> Path:
    return folder / f"{task.analysis.name}.json"


def _claim(folder: Path, model: Model) -> dict[str, Any]:
    """What the folder knows: what was answered there, and what failed; a new one is told what its model is known by."""
    now = probe(model, Question(space=model.space, count=PROBES))
    file = folder / RECORD
    if not file.exists():
        plain = [[None if np.isnan(x) else x for x in row] for row in now.tolist()]
        return {"format": FORMAT, "model": plain, "asked": {}, "failed": {}}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        known = np.array(record["model"], dtype=np.float64)
        sound = record["format"] == FORMAT and isinstance(record["asked"], dict) and isinstance(record["failed"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise DataError(f"{file} is damaged or of another version; choose another folder.")
    if not alike(known, now):
        raise InvalidValue(
            f"the model answers otherwise than the one that {folder} was begun with; "
            "ask that one, or choose another folder."
        )
    return dict(record)


def _write(folder: Folder, record: Mapping[str, Any]) -> None:
    """The record, whole or not at all."""
    folder.write(RECORD, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
