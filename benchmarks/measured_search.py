"""A study of settings of neural ODEs of the tungsten SDC memristor: what a few minutes of search find."""

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness import Row
from measured_loops import VALIDATION, measured, write_records
from measured_sdc import HOW
from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.journal import chosen_trial, ended, read
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.tune import run
from memflux.training.memode.fit import fit
from memflux.training.memode.search import candidate

MINUTES = 6.0
CHEAP = {"starts": 3, "iterations": 20, "folds": 3}  # a trial
SMALL = {"starts": 1, "iterations": 5, "folds": 2, "states": 1, "steps": 32, "width": 2, "memductance_width": 2}


def study(quick: bool) -> Iterator[Row]:
    """SDC, a study: settings by Optuna inside the 14 records, and the winner on those that no trial saw"""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        records, out = Path(folder) / "records", Path(folder) / "study"
        records.mkdir()
        write_records(records)
        plan = Plan(
            model="memode", dataset=str(records), validation=VALIDATION, search="memode", cpus=2,
            fixed=SMALL if quick else CHEAP, trials=3 if quick else None, hours=MINUTES / 60.0,
        )  # fmt: skip
        run(plan, out, SerialTrials())
        plan, found = read(out)
        best, trials = chosen_trial(found), found.get_trials()
    seconds = time.perf_counter() - began
    pruned, failed = (sum(t.state.name == name for t in trials) for name in ("PRUNED", "FAIL"))
    settings = {**plan.held(), **best.params}
    yield Row(
        what="SDC, a study: best cross-validated L_b", value=best.value, unit="1",
        note=f"trial {best.number}: {', '.join(f'{k} {_short(v)}' for k, v in best.params.items())}",
    )  # fmt: skip
    first = trials[0]  # a study begins with the defaults
    yield Row(
        what="SDC, a study: cross-validated L_b of the defaults", value=first.value, unit="1",
        note=f"trained as briefly: {', '.join(f'{k} {_short(v)}' for k, v in plan.held().items())}",
    )  # fmt: skip
    yield Row(
        what="SDC, a study: trials", value=len(trials), unit="",
        note=f"{pruned} ended early, {failed} failed; {sum(ended(t).epochs for t in trials)} iterations",
    )  # fmt: skip
    yield Row(what="SDC, a study: time", value=seconds, unit="s")
    yield from _winner(settings, quick)


def _winner(settings: dict[str, object], quick: bool) -> Iterator[Row]:
    loops = measured()
    config, how, _ = candidate(settings)
    if not quick:
        how = dataclasses.replace(how, starts=HOW.starts, iterations=HOW.iterations, seconds=HOW.seconds)
    trained = fit(loops.training, config, how)
    errors = trained.model.errors(loops.every)
    held = np.isin(loops.every.names, loops.validation.names)
    per = ", ".join(f"{name} {e:.1e}" for name, e in zip(loops.every.names, errors, strict=True))
    yield Row(
        what="SDC, a study: winner, L_b, validation", value=errors[held].mean(), unit="1",
        note=f"{trained.model.weights.size} weights, {len(trained.of_starts)} starts in {trained.seconds:.0f} s; "
        f"learned from {errors[~held].mean():.2e}",
    )  # fmt: skip
    yield Row(what="SDC, a study: winner, L_b, all", value=errors.mean(), unit="1", note=per)


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


ROWS = (study,)
