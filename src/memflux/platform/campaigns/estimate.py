"""What a campaign will cost, from a timed probe of its first devices."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.shard_work import Job, manifest_of
from memflux.rows import Rows
from memflux.shards import sizes_on_disk

SHOWN = 10  # devices listed


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Size and cost of a campaign."""

    shards: int
    samples: int  # of one curve
    engine: str
    disk_bytes: float | None  # None: no probe was made
    seconds_per_curve: float | None
    probe_failed: int
    core_hours: float | None  # of a GPU, for engine "cuda"
    first_devices: list[dict[str, float]]  # what varies, SI (energies in eV)


def estimate(campaign: Campaign, probe: int, on_device: Callable[[], None] = lambda: None) -> Estimate:
    """Solve the first `probe` devices; the first solve, which may compile, is done twice and timed once."""
    manifest = manifest_of(campaign)
    space = campaign.design_space()
    job = Job(campaign=campaign, out="", manifest=manifest)
    made = _probe(job, min(probe, campaign.count), on_device)
    mean = disk = None
    if made:
        mean = float(np.mean([rows.biography["wall_time_s"][0] for rows in made]))
        if manifest.method.engine == "cuda":
            mean = _batch_seconds(job)
        fixed, each = sizes_on_disk(made)
        disk = fixed * manifest.shards + each * campaign.count
    shown = min(SHOWN, campaign.count)
    devices, drive = campaign.sample(shown)
    values = space.values(space.coordinates(devices, drive))
    return Estimate(
        shards=manifest.shards,
        samples=manifest.samples * manifest.cycles + 1,
        engine=manifest.method.engine,
        disk_bytes=disk,
        seconds_per_curve=mean,
        probe_failed=sum(int(not rows.solved[0]) for rows in made),
        core_hours=None if mean is None else mean * campaign.count / 3600.0,
        first_devices=[dict(zip(space.names, map(float, row), strict=True)) for row in values],
    )


def _probe(job: Job, count: int, on_device: Callable[[], None]) -> list[Rows]:
    """The rows of the first devices, each solved alone; before the first one a solve that may compile."""
    if count == 0:
        return []
    predictor = job.solver_factory(job.campaign)
    job.rows(predictor, np.arange(1))
    made = []
    for i in range(count):
        made.append(job.rows(predictor, np.array([i])))
        on_device()
    return made


def _batch_seconds(job: Job) -> float:
    """Seconds a curve where a GPU solves a shard in one call, as it does in the campaign."""
    index = np.array(job.manifest.shard_rows(0))
    began = time.perf_counter()
    job.rows(job.solver_factory(job.campaign), index)
    return (time.perf_counter() - began) / index.size
