"""The journal of a study: Optuna's file of what was drawn, told and decided, and what can be read of it at any time."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from memflux.errors import DataError, InvalidValue
from memflux.platform.tuning.plan import Plan

JOURNAL = "journal.log"
STUDY = "study.yaml"
ENDED = "ended"  # attribute of a trial
NAME = "memflux"  # of the study within its journal

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What the journal says of a trial that is over, beyond its settings, values and looks."""

    epochs: int = 0
    seconds: float = 0.0  # of work
    weights: int = 0  # trained numbers
    failure: str = ""  # a sentence
    after: float = 0.0  # s since the study began, pauses left out


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How far a study is: trials by what became of them."""

    complete: int
    pruned: int
    failed: int
    running: int
    epochs: int  # of all trials
    best: float | None  # first objective
    best_number: int | None

    @property
    def ended(self) -> int:
        """Trials that are over."""
        return self.complete + self.pruned + self.failed

    def plus(self, number: int, state: TrialState, epochs: int, value: float = math.inf) -> "Tally":
        """With one more trial that is over; `value` is the first objective of a complete one."""
        better = self.best is None or value < self.best
        return Tally(
            complete=self.complete + (state == TrialState.COMPLETE),
            pruned=self.pruned + (state == TrialState.PRUNED),
            failed=self.failed + (state == TrialState.FAIL),
            running=self.running,
            epochs=self.epochs + epochs,
            best=value if better and value < math.inf else self.best,
            best_number=number if better and value < math.inf else self.best_number,
        )


def begin(folder: Path, objectives: int) -> optuna.Study:
    """The study of a folder for its one writer: what is there, or a new one. Raises DataError where it is damaged."""
    journal = folder / JOURNAL
    if journal.exists():
        # a driver that was killed holds Optuna's lock for ever, and may have left half a line
        (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)
        _mend(journal)
        if journal.stat().st_size:
            return _load(folder)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name=NAME, directions=["minimize"] * objectives)


def ended(trial: FrozenTrial) -> Ended:
    """How a trial ended; zeros where it has not."""
    return Ended(**trial.user_attrs.get(ENDED, {}))


def value_of(trial: FrozenTrial) -> float:
    """First objective, or the last error of a trial that was ended early; infinite where there is neither."""
    if trial.values:
        return float(trial.values[0])
    return float(trial.intermediate_values.get(trial.last_step or 0, math.inf))


def tally(study: optuna.Study) -> Tally:
    """How far a study is."""
    trials = study.get_trials(deepcopy=False)
    count = {state: sum(t.state == state for t in trials) for state in TrialState}
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    best = min(done, key=lambda t: (t.values[0], t.number), default=None)
    return Tally(
        complete=count[TrialState.COMPLETE],
        pruned=count[TrialState.PRUNED],
        failed=count[TrialState.FAIL],
        running=count[TrialState.RUNNING],
        epochs=sum(ended(t).epochs for t in trials if t.state.is_finished()),
        best=None if best is None else best.values[0],
        best_number=None if best is None else best.number,
    )


def read(folder: Path) -> tuple[Plan, optuna.Study]:
    """The plan and the trials of a folder, which may be under way. Raises DataError where it holds no study."""
    if not (folder / JOURNAL).is_file() or not (folder / STUDY).is_file():
        raise DataError(f"{folder} holds no study; give the folder that memflux tune was told with --out.")
    plan = Plan.from_yaml(folder / STUDY)
    return plan, _load(folder)


def best_trials(study: optuna.Study) -> Sequence[FrozenTrial]:
    """Finished trials, the best first: by the objective, or those of the front alone where there are several."""
    if len(study.directions) > 1:
        return sorted(study.best_trials, key=lambda t: t.values)
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda t: (t.values[0], t.number))


def chosen_trial(study: optuna.Study, number: int | None = None) -> FrozenTrial:
    """The best trial, or a complete one by its number. Raises InvalidValue where there is none."""
    done = best_trials(study)
    if not done:
        raise InvalidValue("no trial of the study is complete; let one finish.")
    if number is None:
        return done[0]
    complete = {t.number: t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if number not in complete:
        raise InvalidValue(f"trial = {number} is not complete; choose one of {', '.join(map(str, sorted(complete)))}.")
    return complete[number]


def _load(folder: Path) -> optuna.Study:
    try:
        return optuna.load_study(study_name=NAME, storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{folder / JOURNAL} is damaged ({error!r}); begin another study.") from None


def _mend(journal: Path) -> None:
    """Cut off what a writer that was killed left behind the last end of a line."""
    data = journal.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with journal.open("r+b") as file:
            file.truncate(whole)
