"""Counters of a campaign for Prometheus, exported by the Ray that it runs on."""

import dataclasses
from typing import Self

from ray.util.metrics import Counter

from memflux.platform.campaigns.shard_work import Job, ShardReport
from memflux.traces import SOLVED


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Counters:
    """What a scrape of any node's metrics port sees, as `ray_memflux_...`, by campaign and status class."""

    campaign: str  # the folder or URL that it fills
    devices: Counter
    solve_seconds: Counter
    shards: Counter

    @classmethod
    def of(cls, job: Job) -> Self:
        """The counters of a campaign's run."""
        return cls(
            campaign=job.out,
            devices=Counter("memflux_devices", "Devices of a campaign, by status class.", ("campaign", "status_class")),
            solve_seconds=Counter("memflux_solve_seconds", "Seconds of solving, over all workers.", ("campaign",)),
            shards=Counter("memflux_shards", "Shards written.", ("campaign",)),
        )

    def count(self, report: ShardReport) -> None:
        """Add a shard. Counters take no zero."""
        tags = {"campaign": self.campaign}
        solved = {SOLVED: report.rows - sum(report.failed.values())}
        for status_class, rows in {**solved, **report.failed}.items():
            if rows:
                self.devices.inc(rows, tags | {"status_class": status_class})
        if report.work_s > 0:
            self.solve_seconds.inc(report.work_s, tags)
        self.shards.inc(1, tags)
