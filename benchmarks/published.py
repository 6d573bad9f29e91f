"""Data sets and trainings of the published spaces, shared by the benchmarks of surrogates and `make pretrained`.

Curves are made by the compiled engine into a cache folder, resumable, and used again; the test set is
an independent draw of 2,000 devices.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from harness import Row
from memflux import Dataset, Devices, Space, Surrogate
from memflux.platform.campaigns import runner
from memflux.platform.campaigns.campaign import SAMPLES, Campaign
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.cluster import local_cluster
from memflux.traces import Traces
from memflux.training.data import split_curves
from memflux.training.evaluate import evaluate
from memflux.training.loop import Recipe, Training, fit
from memflux.training.models import Config, name_of
from memflux.training.schedule import Schedule, Step
from memflux.waveform import Waveform

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "memflux" / "published"
TESTED = 2000
TEST_SEED, CALIBRATION_SEED = 12, 13
FRACTIONS = (0.9, 0.1, 0.0)  # the test set is a draw of its own


class Curves(NamedTuple):
    """Devices, their drive and their solved curves."""

    devices: Devices
    drive: Waveform
    traces: Traces


def dataset(name: str, count: int, seed: int = 0) -> Dataset:
    """At least `count` devices of a preset space, made now where the cache lacks them."""
    folder = CACHE / (f"{name}-{seed}" if seed else name)
    if (folder / "manifest.json").exists() and len(found := Dataset.open(str(folder))) >= count:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with local_cluster(None):
        samples = SAMPLES // Space.preset(name).cycles
        campaign = Campaign(space=name, count=count, seed=seed, samples=samples, engine="compiled", shard_size=16)
        runner.run(campaign, str(folder), RayExecutor())
    return Dataset.open(str(folder))


def tests(name: str) -> Curves:
    """2,000 devices that no training sees."""
    return first(dataset(name, TESTED, TEST_SEED), TESTED)


def fresh(name: str) -> Curves:
    """As many that no training sees, to calibrate bands on: others than those of `tests`."""
    return first(dataset(name, TESTED, CALIBRATION_SEED), TESTED)


def trained(name: str, count: int, config: Config | None = None, epochs: int | None = None) -> Surrogate:
    """A surrogate of `count` curves (None: spectral) with its errors on `tests`.

    Goes on where it was interrupted, then is kept.
    """
    data = dataset(name, count)
    model = "" if config is None else f"-{name_of(config)}"
    schedule = None if config is None else dataclasses.replace(Schedule.of(config), epochs=epochs)
    surrogate = fit(
        *first(data, count),
        Space.preset(name),
        config,
        schedule,
        fractions=FRACTIONS,
        dataset_hash=data.content_hash,
        checkpoint=CACHE / f"{name}-{count}{model}.training",
        on_progress=_say,
    )
    return surrogate.tested(*tests(name))


def finished(name: str, count: int) -> Surrogate | None:
    """The spectral surrogate that `trained` ended with, on whatever schedule it ran; None where it has not ended.

    Trains nothing. The record of the surrogate does not tell of its training.
    """
    path = CACHE / f"{name}-{count}.training"
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        notes = json.loads(file.metadata()["memflux"])
        weights = {k.removeprefix("kept/"): file.get_tensor(k) for k in file.keys() if k.startswith("kept/")}  # noqa: SIM118
    if not notes["history"] or notes["epoch"] < notes["history"][-1]["epochs"]:
        return None
    curves = split_curves(*first(dataset(name, count), count), Space.preset(name), FRACTIONS)
    training = Training(curves, Recipe())
    training.trainer.module.load_state_dict(weights)
    return training.surrogate(None)


def scaled_error(what: str, surrogate: Surrogate, bar: float) -> Iterator[Row]:
    """Mean of the published error on `tests` of 5d-parametric, and the time of training against two hours."""
    result = evaluate(surrogate, *tests("5d-parametric"), surrogate.published)
    assert result.nmae_scaled is not None
    scaled, amperes = 100 * result.nmae_scaled, 100 * result.nmae
    note = f"99 % {np.percentile(scaled, 99):.3f} %; in A {amperes.mean():.3f} %, median {np.median(amperes):.3f} %"
    yield Row(what=f"{what}: mean nmae_scaled", value=scaled.mean(), unit="%", bar=bar, note=note)
    yield Row(what=f"{what}: training", value=surrogate.record["seconds"] / 60, unit="min", bar=120, note="one thread")


def _say(step: Step) -> None:
    print(f"epoch {step.epoch} of {step.epochs}: {100 * step.validation:.3f} %", file=sys.stderr)


def first(data: Dataset, count: int) -> Curves:
    """The first `count` devices of a data set, which may have grown beyond."""
    drive = data.drive
    return Curves(data.devices[:count], drive if drive.batch is None else drive[:count], data.traces[:count])
