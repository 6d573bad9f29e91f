"""The serial executor: every shard in this process, one after the other."""

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Self

from memflux.platform.campaigns.isolation import make_noted
from memflux.platform.campaigns.shard_work import Job, ShardReport


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SerialExecutor:
    """No workers: a solve that takes its process down takes the run down too; run again to resume.

    A shard that did so twice is made in a child process, and the device that is to blame becomes a row.
    """

    cores: int = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to let go."""

    def run(self, job: Job, shards: Sequence[int], stopped: Callable[[], bool]) -> Generator[ShardReport, None, None]:
        """Make `shards` in order, until `stopped()`."""
        predictor = job.predictor()
        for number in shards:
            if stopped():
                return
            yield make_noted(job, predictor, number)
