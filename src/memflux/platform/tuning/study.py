"""A study under way: who proposes settings, who ends trials early, and the writing down of what becomes of each.

One process does it, the driver; trials on other machines answer to that. Everything a study needs to go on is in
the journal: a trial that was under way when its driver died is given out again, by its number and with its settings.
"""

import contextlib
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from memflux import __version__
from memflux.errors import InvalidValue
from memflux.folder import Folder
from memflux.platform.lock import LOCK, hold
from memflux.platform.tuning import journal
from memflux.platform.tuning.journal import ENDED, JOURNAL, STUDY, Ended, Tally, ended, tally
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.work import Look, Task
from memflux.training.setting import Among, Setting, Value

BEGUN = "begun"  # attribute of a trial
FIRST, FACTOR = 10, 4  # percent of a training after which asha compares, and of how many trials it keeps one
LATEST = 60  # percent of a training after which no trial is ended: what is left costs less than what was spent
ATTEMPTS = 5  # times that a trial is begun without getting any further
RANDOM = 10  # trials before a sampler learns from them


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
            study = journal.begin(folder, len(plan.objectives))
            study.pruner = _pruner(plan.pruner)
            # hyperband has no brackets before it is first asked, and the first trial would be drawn without them
            study.pruner.prune(study, optuna.trial.create_trial(value=0.0))
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
        values = list(look.values) if state == TrialState.COMPLETE and look.values is not None else None
        self._tally = self._tally.plus(number, state, look.epochs, values[0] if values else math.inf)
        about = Ended(
            epochs=look.epochs, seconds=look.seconds, weights=look.weights, failure=look.failure, after=self._seconds()
        )
        trial.set_user_attr(ENDED, dataclasses.asdict(about))  # in one: each is a write that waits for the disk
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
                return optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM, multivariate=False)


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
