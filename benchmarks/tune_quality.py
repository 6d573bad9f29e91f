"""Studies: what a sampler that learns and a pruner save beside random search, and what is found in the end.

Every study is kept in ~/.cache/memflux/tuning and goes on where it was interrupted.
"""

import dataclasses
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial

import harness
import published
from harness import Row
from memflux import Space
from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.importance import importances
from memflux.platform.tuning.journal import chosen_trial, ended, read
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.study import Study
from memflux.platform.tuning.trial import Job
from memflux.platform.tuning.tune import CHECKPOINTS, curves_of
from memflux.training.evaluate import evaluate
from memflux.training.loop import Recipe, Training
from memflux.training.search_space import configured, defaults_of
from memflux.training.setting import Value

CACHE = published.CACHE.with_name("tuning")
CURVES, SAMPLES = 512, 40  # of a data set; a cycle, so 80 steps a drive
TRIALS = 64
SEEDS = 5
EPOCHS = {"lstm": 12, "spectral": 60, "hybrid": 12, "neural_ode": 12}  # of a trial
DATA = {"hybrid": "16d"}
ARMS = {"TPE + ASHA": ("tpe", "asha"), "random": ("random", "none")}
LONG = 500  # epochs of a trial where the winner is compared with the default, whose 2,500 steps are as many epochs
FINAL = 3  # trainings of the tuned and of the default settings, of different seeds
PUBLISHED = {"memductance_layers": (0.07, 0.16), "clip": (0.56, 0.20), "activation": (0.01, 0.01)}  # gain, permutation


def lstm(quick: bool) -> Iterator[Row]:
    """LSTM: epochs to the same error"""
    yield from _against_random("lstm", 1 if quick else SEEDS, quick)


def spectral(quick: bool) -> Iterator[Row]:
    """spectral: epochs to the same error"""
    yield from _against_random("spectral", 1 if quick else SEEDS, quick)


def hybrid(quick: bool) -> Iterator[Row]:
    """hybrid: epochs to the same error, once"""
    yield from _against_random("hybrid", 1, quick)


def neural_ode(quick: bool) -> Iterator[Row]:
    """neural ODE: epochs to the same error, once, and its importances"""
    yield from _against_random("neural_ode", 1, quick)
    (trials,) = _studies("neural_ode", "random", 1, quick)
    ranks = importances(trials)
    yield Row(what="neural ODE, importances: R2 on held-out trials", value=ranks.r2, unit="1")
    for place in ranks.order:
        name = ranks.names[place]
        known = PUBLISHED.get(name)
        note = "" if known is None else f"published: gain {known[0]:g}, permutation {known[1]:g}"
        shares = f"gain {ranks.gain[place]:.3f}, variance {ranks.variance[place]:.3f}"
        what = f"neural ODE, importance of {name}: permutation"
        yield Row(what=what, value=ranks.permutation[place], unit="1", note=f"{shares}; {note}".rstrip("; "))


def winner(quick: bool) -> Iterator[Row]:
    """spectral: tuned beside default, on the test set"""
    epochs = EPOCHS["spectral"] if quick else LONG
    plan = _plan("spectral", "TPE + ASHA", 0, quick, epochs)
    folder = CACHE / f"{'quick-' if quick else ''}spectral-from-defaults"
    data, _ = curves_of(plan)
    _study(plan, folder, defaults_of("spectral", len(data.curves), data.space.drive))
    trial = chosen_trial(read(folder)[1])
    count = 1 if quick else FINAL
    default = configured("spectral", {}, len(data.curves))
    tuned = configured("spectral", {**trial.params, "epochs": epochs}, len(data.curves))
    errors = {}
    for name, (config, schedule) in (("default", default), ("tuned", tuned)):
        schedule = dataclasses.replace(schedule, epochs=schedule.epochs_for(len(data.curves)))
        errors[name] = [
            _tested(Training(data, Recipe(config=config, schedule=schedule, seed=seed))) for seed in range(count)
        ]
    for name, found in errors.items():
        what = f"spectral, {CURVES} curves, {name}: mean nMAE of 2,000 test devices"
        note = f"{count} seeds, {100 * min(found):.4g} to {100 * max(found):.4g} %"
        yield Row(what=what, value=100 * np.mean(found), unit="%", note=note)
    settings = f"trial {trial.number}: " + ", ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items()
    )
    ratio = np.mean(errors["tuned"]) / np.mean(errors["default"])
    yield Row(what="spectral: tuned over default, on the test set", value=ratio, unit="1", bar=1.0, note=settings)


def _tested(training: Training) -> float:
    for _ in training.steps():
        pass
    test = published.tests("5d-parametric")
    surrogate = training.surrogate()
    return float(evaluate(surrogate, test.devices, test.drive, test.traces.on_grid(SAMPLES)).nmae.mean())


def _against_random(model: str, seeds: int, quick: bool) -> Iterator[Row]:
    learned, random = (_studies(model, arm, seeds, quick) for arm in ARMS)
    ratios = []
    for seed, (a, b) in enumerate(zip(learned, random, strict=True)):
        target = max(_best(a), _best(b))
        spent = [_epochs_to(trials, target) for trials in (a, b)]
        ratios.append(spent[1] / spent[0])
        best = f"best {100 * _best(a):.4g} and {100 * _best(b):.4g} %"
        note = f"{best}; {spent[0]} and {spent[1]} epochs to {100 * target:.4g} %"
        yield Row(what=f"{model}, seed {seed}: times fewer epochs than random", value=ratios[-1], unit="1", note=note)
    whole = [[sum(ended(t).epochs for t in trials) for trials in arm] for arm in (learned, random)]
    share = np.median(np.divide(*whole))
    note = f"{TRIALS} trials of {EPOCHS[model]} epochs, {seeds} seeds; all together take {share:.2f} of random's"
    yield Row(what=f"{model}: times fewer epochs for the same best error, median", value=np.median(ratios), unit="1",
              bar=3.0 if seeds == SEEDS else None, better="higher", note=note)  # fmt: skip


def _studies(model: str, arm: str, seeds: int, quick: bool) -> list[list[FrozenTrial]]:
    """The trials of a study a seed, two studies at a time."""
    jobs = [(_plan(model, arm, seed, quick), _folder(model, arm, seed, quick)) for seed in range(seeds)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_study, *zip(*jobs, strict=True)))
    return [read(folder)[1].get_trials() for _, folder in jobs]


def _plan(model: str, arm: str, seed: int, quick: bool, epochs: int | None = None) -> Plan:
    sampler, pruner = ARMS[arm]
    name = DATA.get(model, "5d-parametric")
    published.dataset(name, CURVES)
    return Plan(
        model=model, dataset=str(published.CACHE / name), curves=CURVES, samples=SAMPLES, search=model,
        fixed={"epochs": epochs or EPOCHS[model]}, trials=12 if quick else TRIALS, sampler=sampler, pruner=pruner,
        seed=seed,
    )  # fmt: skip


def _folder(model: str, arm: str, seed: int, quick: bool) -> Path:
    return CACHE / f"{'quick-' if quick else ''}{model}-{arm.replace(' + ', '-')}-{seed}"


def _study(plan: Plan, folder: Path, defaults: Mapping[str, Value | None] | None = None) -> None:
    """As `memflux tune` does it, but arms that are compared do not begin with the defaults, half of the answer."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    data, content = curves_of(plan)
    job = Job(model=plan.model, data=data, objectives=plan.objectives, checkpoints=str(folder / CHECKPOINTS))
    with Study.hold(folder, plan, content, defaults) as study:
        SerialTrials().run(study, job, lambda: False, lambda: None)


def _best(trials: Sequence[FrozenTrial]) -> float:
    return min(t.values[0] for t in trials if t.values)


def _epochs_to(trials: Sequence[FrozenTrial], target: float) -> int:
    """Epochs of all trials up to the first complete one that is as good as that."""
    spent = 0
    for trial in trials:
        spent += ended(trial).epochs
        if trial.values and trial.values[0] <= target:
            break
    return spent


if __name__ == "__main__":
    assert Space.preset("5d-parametric").cycles == 2
    harness.run("tune_quality", [lstm, spectral, hybrid, neural_ode, winner])
