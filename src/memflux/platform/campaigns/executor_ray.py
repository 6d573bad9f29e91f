"""The Ray executor: one synchronous actor a core makes and writes shards; only reports come back."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Self

from memflux.errors import InvalidValue
from memflux.platform.campaigns.counters import Counters
from memflux.platform.campaigns.ray_pool import Pool
from memflux.platform.campaigns.shard_work import Job, ShardReport
from memflux.platform.cluster import Cluster, local_cluster


class RayExecutor:
    """Workers on the Ray at `address`, or on an embedded one.

    Without a number of `workers` there is one a core (a GPU, for engine "cuda"), and more as nodes
    join. A worker that dies is replaced and its shard tried once more; a shard that takes two
    workers down is made device by device, and the device that does it twice becomes a failed row.
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self.workers = workers
        self.address = address
        self._stack = contextlib.ExitStack()
        self._cluster: Cluster | None = None
        self._pool: Pool | None = None

    @property
    def cores(self) -> int:
        """Workers that it has now; before the first, how many it is to have."""
        if self._pool is not None:
            return self._pool.cores
        return self.workers or (self._cluster.cores if self._cluster else 0)

    def __enter__(self) -> Self:
        self._cluster = self._stack.enter_context(local_cluster(self.workers, self.address))
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the workers go; what they have not finished is dropped, and leaves nothing behind."""
        self._stack.close()

    def run(self, job: Job, shards: Sequence[int], stopped: Callable[[], bool]) -> Generator[ShardReport, None, None]:
        """Make `shards` in any order; once `stopped()`, only what is in flight."""
        if self._cluster is None:
            raise InvalidValue("the executor has no workers yet; use it in a with statement.")
        counters = Counters.of(job)
        with Pool(job, shards, self.workers) as pool:
            self._pool = pool
            while pool.busy:
                if stopped():
                    pool.admit_no_more()
                for report in pool.advance():
                    counters.count(report)
                    yield report
