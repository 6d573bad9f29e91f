"""Data sets and trainings of the published spaces, shared by the benchmarks of surrogates and `make pretrained`.

Curves are made by the compiled engine into a cache folder, resumable, and used again; the test set is
an independent draw of 2,000 devices.
"""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from memflux import Dataset, Devices, Space, Surrogate
from memflux.platform.campaigns import runner
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.cluster import local_cluster
from memflux.traces import Traces
from memflux.training.loop import fit
from memflux.training.models import Config, name_of
from memflux.training.schedule import Schedule
from memflux.waveform import Waveform

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "memflux" / "published"
TESTED = 2000
TEST_SEED = 12
FRACTIONS = (0.9, 0.1, 0.0)  # the test set is a draw of its own


class Curves(NamedTuple):
    """Devices, their drive and their solved curves."""

    devices: Devices
    drive: Waveform
    traces: Traces


def dataset(name: str, count: int, seed: int = 0) -> Dataset:
    """At least `count` devices of a preset space, made now where the cache lacks them."""
    folder = CACHE / (f"{name}-{seed}" if seed else name)
    if not (folder / "manifest.json").exists() or len(Dataset.open(str(folder))) < count:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with local_cluster(None):
            campaign = Campaign(space=name, count=count, seed=seed, engine="compiled", shard_size=16)
            runner.run(campaign, str(folder), RayExecutor())
    return Dataset.open(str(folder))


def curves(name: str, count: int, seed: int = 0) -> Curves:
    """The first `count` devices of `dataset`."""
    data = dataset(name, count, seed)
    return Curves(data.devices[:count], data.drive[:count] if data.drive.batch else data.drive, data.traces[:count])


def tests(name: str) -> Curves:
    """2,000 devices that no training sees."""
    return curves(name, TESTED, TEST_SEED)


def trained(name: str, count: int, config: Config, schedule: Schedule | None = None, seed: int = 0) -> Surrogate:
    """A surrogate of `count` curves with its errors on `tests`; goes on where it was interrupted, then is kept."""
    tag = f"{name}-{name_of(config)}-{count}-{seed}"
    train, data = curves(name, count), dataset(name, count)
    surrogate = fit(
        *train,
        dataclasses.replace(Space.preset(name), cycles=train.drive.cycles),
        config,
        schedule,
        seed,
        FRACTIONS,
        data.content_hash,
        checkpoint=CACHE / f"{tag}.training",
    )
    return surrogate.tested(*tests(name))
