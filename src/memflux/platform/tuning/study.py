"""A study on disk: who proposes settings, who ends trials early, and what became of each, in a journal of Optuna.

One process writes it, the driver; trials on other machines answer to that. Everything a study needs to go on is in
the journal: a trial that was under way when its driver died is given out again, by its number and with its settings.
"""

import contextlib
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from memflux import __version__
from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.platform.lock import LOCK, hold
from memflux.platform.tuning.plan import Plan
from memflux.training.search_space import Among, Setting, Value

JOURNAL = "journal.log"
STUDY = "study.yaml"
ENDED, BEGUN = "ended", "begun"  # attributes of a trial
NAME = "memflux"  # of the study within its journal
FIRST, FACTOR = 10, 3  # percent of a training after which asha compares, and of how many trials it keeps one
LATEST = 60  # percent of a training after which no trial is ended: what is left costs less than what was spent
ATTEMPTS = 5  # times that a trial is begun without getting any further
RANDOM = 10  # trials before a sampler learns from them

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A training to do."""

    number: int  # of the trial
    settings: Mapping[str, Value | None]
    seed: int  # of the training


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a trial tells on its way, and at its end."""

    percent: int  # of its epochs
    epochs: int  # done
    error: float  # mean validation nMAE in A now
    values: tuple[float, ...] | None = None  # of the objectives, at the end
    failure: str = ""  # at the end of a trial that has no values: a sentence
    seconds: float = 0.0  # of work
    weights: int = 0  # trained numbers

    @property
    def last(self) -> bool:
        """Whether the trial is over."""
        return self.values is not None or bool(self.failure)


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

    def plus(self, number: int, look: Look, state: TrialState) -> "Tally":
        """With one more trial that is over."""
        value = look.values[0] if state == TrialState.COMPLETE and look.values is not None else math.inf
        better = self.best is None or value < self.best
        return Tally(
            complete=self.complete + (state == TrialState.COMPLETE),
            pruned=self.pruned + (state == TrialState.PRUNED),
            failed=self.failed + (state == TrialState.FAIL),
            running=self.running,
            epochs=self.epochs + look.epochs,
            best=value if better and value < math.inf else self.best,
            best_number=number if better and value < math.inf else self.best_number,
        )


class Study:
    """The study of a folder, for its one driver."""

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan, self.optuna = plan, study
        self._settings = plan.settings()
        self.last_failure = ""
        self._trials: dict[int, optuna.Trial] = {}
        self._last: dict[int, Look] = {}
        self._seen: dict[int, int] = {}  # percent that a trial was at when it was interrupted
        frozen = study.get_trials(deepcopy=False)
        self._stale = [t for t in frozen if t.state == TrialState.RUNNING]
        self._count = sum(t.state != TrialState.WAITING for t in frozen)
        self._tally = tally(study)
        self._began, self._before = time.monotonic(), max((ended(t).after for t in frozen), default=0.0)

    @classmethod
    @contextlib.contextmanager
    def hold(
        cls, folder: Path, plan: Plan, dataset_hash: str, defaults: Mapping[str, Value | None] | None = None
    ) -> Iterator[Self]:
        """Begin the study in a folder, or go on with it; no one else may meanwhile.

        A sampler that learns begins with the `defaults`, as far as they lie in what varies: it starts from what is
        known. `random` stays random.
        Raises InvalidValue where the folder holds a study of another plan or data set, DataError where it is held
        or damaged.
        """
        strange = folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - {LOCK})
        if strange and not (folder / JOURNAL).exists():
            raise InvalidValue(f"{folder} exists and holds no study; give a new or empty folder.")
        folder.mkdir(parents=True, exist_ok=True)
        with hold(Folder.at(str(folder))):
            study = _open(folder, plan)
            _claim(study, plan, dataset_hash, folder, defaults or {})
            (folder / STUDY).write_text(plan.to_yaml(), encoding="utf-8")
            yield cls(plan, study)

    def next(self) -> Task | None:
        """The next trial: one that was interrupted, or a new one; None once the budget is spent."""
        if self._stale:
            again = self._again(self._stale.pop(0))
            if again is None:
                return self.next()
            trial = again
        elif self._spent():
            return None
        else:
            self._reseed(self._count)
            trial = self.optuna.ask()
            self._count += 1
        for name, setting in self._settings.items():
            _draw(trial, name, setting)  # what is drawn already stays
        self._trials[trial.number] = trial
        settings = {**self.plan.held(), **trial.params}
        return Task(number=trial.number, settings=settings, seed=_seed(self.plan.seed, trial.number, 1))

    def _again(self, frozen: FrozenTrial) -> optuna.Trial | None:
        """A trial that was under way; None where it was begun so often without getting on that it now has failed."""
        self._reseed(frozen.number)
        # Optuna has no public way from a trial that is under way to one that can be told of
        trial = optuna.Trial(self.optuna, frozen._trial_id)
        step, times = frozen.user_attrs.get(BEGUN, (0, 1))
        reached = frozen.last_step or 0
        times = times + 1 if reached == step else 1
        trial.set_user_attr(BEGUN, (reached, times))
        self._seen[frozen.number] = reached
        if times <= ATTEMPTS:
            return trial
        self._trials[frozen.number] = trial
        self.fail(frozen.number, f"begun {ATTEMPTS} times, it never got any further; it may take its process down")
        return None

    def tell(self, number: int, look: Look) -> bool:
        """Write down what a trial says; whether it should end here."""
        if look.last:
            self._finish(number, look)
            return True
        trial = self._trials[number]
        self._last[number] = look
        if len(self.plan.objectives) > 1:
            return False
        seen = self._seen.get(number, 0)  # what was told before an interruption was judged then, but for the last
        if look.percent > seen:
            trial.report(look.error, look.percent)
            self._seen[number] = look.percent
        if look.percent < seen or look.percent > LATEST or not trial.should_prune():
            return False
        self._close(number, look, TrialState.PRUNED)
        return True

    def fail(self, number: int, reason: str) -> None:
        """A trial ended without an answer."""
        last = self._last.get(number, Look(percent=0, epochs=0, error=math.nan))
        self._finish(number, dataclasses.replace(last, failure=reason))

    @property
    def open(self) -> bool:
        """Whether there is another trial to do."""
        return bool(self._stale) or not self._spent()

    def tally(self) -> Tally:
        """How far it is, trials under way included."""
        return dataclasses.replace(
            self._tally,
            running=len(self._trials) + len(self._stale),
            epochs=self._tally.epochs + sum(look.epochs for look in self._last.values()),
        )

    def _finish(self, number: int, look: Look) -> None:
        self.last_failure = look.failure or self.last_failure
        self._close(number, look, TrialState.FAIL if look.failure else TrialState.COMPLETE)

    def _close(self, number: int, look: Look, state: TrialState) -> None:
        trial = self._trials.pop(number)
        self._last.pop(number, None)
        self._seen.pop(number, None)
        self._tally = self._tally.plus(number, look, state)
        about = Ended(
            epochs=look.epochs, seconds=look.seconds, weights=look.weights, failure=look.failure, after=self._seconds()
        )
        trial.set_user_attr(ENDED, dataclasses.asdict(about))  # in one: each is a write that waits for the disk
        values = list(look.values) if state == TrialState.COMPLETE and look.values is not None else None
        self.optuna.tell(trial, values, state=state)

    def _seconds(self) -> float:
        """Since the study began, pauses left out."""
        return self._before + time.monotonic() - self._began

    def _spent(self) -> bool:
        plan = self.plan
        return (
            (plan.trials is not None and self._count >= plan.trials)
            or (plan.hours is not None and self._seconds() >= 3600.0 * plan.hours)
            or (plan.total_epochs is not None and self.tally().epochs >= plan.total_epochs)
        )

    def _reseed(self, number: int) -> None:
        """What is drawn for a trial depends on its number and on what is known by then, not on who draws."""
        self.optuna.sampler = _sampler(self.plan.sampler, _seed(self.plan.seed, number, 0))


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


def _open(folder: Path, plan: Plan) -> optuna.Study:
    journal = folder / JOURNAL
    if journal.exists():
        # a driver that was killed holds Optuna's lock for ever, and may have left half a line
        (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)
        _mend(journal)
        if journal.stat().st_size:
            study = _load(folder)
            study.pruner = _pruner(plan.pruner)
            # hyperband has no brackets before it is first asked, and the next trial would be drawn without them
            study.pruner.prune(study, optuna.trial.create_trial(value=0.0))
            return study
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=NAME,
        directions=["minimize"] * len(plan.objectives),
        pruner=_pruner(plan.pruner),
    )


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


def _claim(
    study: optuna.Study, plan: Plan, dataset_hash: str, folder: Path, defaults: Mapping[str, Value | None]
) -> None:
    """See that the folder's study is this one; a new one is marked as such."""
    mine: dict[str, Any] = {"recipe": plan.recipe(), "dataset_hash": dataset_hash}
    there = study.user_attrs.get("study")
    if there is None:
        known = {k: defaults[k] for k, setting in plan.settings().items() if k in defaults and defaults[k] in setting}
        if known and plan.sampler != "random" and not study.get_trials(deepcopy=False):
            study.enqueue_trial(known)
        study.set_user_attr("study", mine)
        study.set_user_attr("memflux", __version__)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(plan.objectives))
        return
    there = json.loads(json.dumps(there))
    if there["dataset_hash"] != dataset_hash:
        raise InvalidValue(f"the data set is not the one that {folder} was begun with; choose another folder.")
    for name, value in mine["recipe"].items():
        if there["recipe"].get(name) != value:
            raise InvalidValue(
                f"{name} = {value!r} differs from the {there['recipe'].get(name)!r} that {folder} was begun with; "
                "change it back or choose another folder (only budgets and resources may change)."
            )


def _draw(trial: optuna.Trial, name: str, setting: Setting) -> None:
    if isinstance(setting, Among):
        trial.suggest_categorical(name, setting.values)
    elif setting.whole:
        step = 1 if setting.step is None else int(setting.step)
        trial.suggest_int(name, int(setting.low), int(setting.high), step=step, log=setting.log)
    else:
        trial.suggest_float(name, setting.low, setting.high, step=setting.step, log=setting.log)


def _seed(seed: int, number: int, what: int) -> int:
    return int(np.random.SeedSequence([seed, number, what]).generate_state(1)[0])


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "cma-es":
                return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=RANDOM, warn_independent_sampling=False)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=2 * RANDOM)
            case _:
                return optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM, multivariate=True)


def _pruner(name: str) -> optuna.pruners.BasePruner:
    """Its steps are percent of a training, so that trials of few and of many epochs compare."""
    match name:
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST, reduction_factor=FACTOR)
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=RANDOM // 2, n_warmup_steps=FIRST)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=FIRST, max_resource=100, reduction_factor=FACTOR)
        case _:
            return optuna.pruners.NopPruner()
