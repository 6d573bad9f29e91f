"""The serial executor: every shard in this process, one after the other."""

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Self

from memflux.platform.campaigns.shard_work import Job, ShardReport


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SerialExecutor:
    """No workers: a solve that takes its process down takes the run down too; run again to resume."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to let go."""

    def run(self, job: Job, shards: Sequence[int], stopped: Callable[[], bool]) -> Generator[ShardReport, None, None]:
        """Make `shards` in order, until `stopped()`."""
        predictor = job.solver_factory(job.campaign)
        for number in shards:
            if stopped():
                return
            yield job.make(predictor, number)
