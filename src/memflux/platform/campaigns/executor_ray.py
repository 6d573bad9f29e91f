"""The Ray executor: one synchronous actor a core makes and writes shards; only reports come back."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Self

import pyarrow as pa
import ray

from memflux.contracts import Predictor
from memflux.errors import InvalidValue, ServiceError
from memflux.platform.campaigns.shard_work import Job, ShardReport
from memflux.platform.cluster import WORKER_ENVIRONMENT, local_cluster, scrub_launcher_environment
from memflux.rows import Rows, drive_columns

AHEAD = 2  # shards a worker holds: the one it makes and the next
CHANCES = 2  # times that a shard, and then a device, may take its worker down
GRACE_S = 20.0  # how long shards in flight may go on once the run is to stop
START_S = 300.0  # how long the first worker may take to answer
_READY = -1  # in place of a shard number: the worker is getting ready


# What a worker's death looks like from here.
_DEATHS = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)


class ShardWorker:
    """One process that solves: PETSc is not thread-safe, so it does one thing at a time."""

    def start(self, job: Job) -> int:
        """Get the predictor ready."""
        scrub_launcher_environment()
        self.job = job
        self.predictor: Predictor = job.solver_factory(job.campaign)
        return _READY

    def make(self, number: int) -> ShardReport:
        """Make and write one shard."""
        return self.job.make(self.predictor, number)

    def row(self, index: int) -> pa.Table:
        """The row of one device, not written."""
        return self.job.rows(self.predictor, range(index, index + 1)).to_table()


_REMOTE: Any = ray.remote(ShardWorker)


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    """An actor and what it was given, oldest first."""

    actor: Any
    pending: dict[ray.ObjectRef, int]

    @property
    def ready(self) -> bool:
        """Whether it has started; before, it may be waiting for a core, and work with it."""
        return _READY not in self.pending.values()


class RayExecutor:
    """Workers on the Ray at `address`, or on an embedded one.

    A worker that dies is replaced and its shard tried once more; a shard that takes two workers
    down is made device by device, and the device that does it twice becomes a row of class "crashed".
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self.workers = workers
        self.address = address
        self._stack = contextlib.ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        cluster = self._stack.enter_context(local_cluster(self.workers, self.address))
        self._count = self.workers or cluster.cores
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the workers go; what they have not finished is dropped, and leaves nothing behind."""
        self._stack.close()

    def run(self, job: Job, shards: Sequence[int], stopped: Callable[[], bool]) -> Generator[ShardReport, None, None]:
        """Make `shards` in any order; once `stopped()`, only what is in flight, for a limited time."""
        if self._count == 0:
            raise InvalidValue("the executor has no workers yet; use it in a with statement.")
        with _Pool(job, shards, min(self._count, len(shards))) as pool:
            deadline = float("inf")
            while pool.busy and time.monotonic() < deadline:
                if stopped():
                    pool.waiting.clear()
                    deadline = min(deadline, time.monotonic() + GRACE_S)
                yield from pool.advance()
            for number in pool.deadly:
                if not stopped():
                    yield pool.make_by_device(number)


class _Pool:
    """The workers of one run, the shards that wait, and those that took their workers down."""

    def __init__(self, job: Job, shards: Sequence[int], count: int) -> None:
        self.job = job
        self.waiting = collections.deque(shards)
        self.deadly: list[int] = []
        self._strikes: collections.Counter[int] = collections.Counter()
        self._shared = ray.put(job)
        self._workers = [self._spawn() for _ in range(count)]
        self._began = time.monotonic()
        self._false_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            ray.kill(worker.actor)

    @property
    def busy(self) -> bool:
        """Whether shards wait or are being made."""
        return bool(self.waiting) or any(n != _READY for w in self._workers for n in w.pending.values())

    def advance(self) -> Iterator[ShardReport]:
        """Hand out work, wait a moment for answers, and yield the shards that are done."""
        for worker in self._workers:
            while worker.ready and self.waiting and len(worker.pending) < AHEAD:
                number = self.waiting.popleft()
                worker.pending[worker.actor.make.remote(number)] = number
        owners = {ref: worker for worker in self._workers for ref in worker.pending}
        ready, _ = ray.wait(list(owners), num_returns=1, timeout=0.2)
        if not ready and not any(worker.ready for worker in self._workers):
            self._check_patience()
        for ref in ready:
            yield from self._collect(owners[ref], ref)

    def make_by_device(self, number: int) -> ShardReport:
        """A deadly shard: each device alone, so that only the culprit is a failed row."""
        started = time.perf_counter()
        index = self.job.manifest.shard_rows(number)
        table = pa.concat_tables([self._row_or_crash(i) for i in index], promote_options="default")
        rows = Rows.from_table(table, drive_columns(self.job.manifest.drive))
        return self.job.write(number, rows, started)

    def _row_or_crash(self, index: int) -> pa.Table:
        for _ in range(CHANCES):
            worker = min(self._workers, key=lambda w: len(w.pending))
            try:
                return _value(worker.actor.row.remote(index))
            except _DEATHS as error:
                cause = " ".join(str(error).split())[:200]
                self._replace(worker)
        sentence = f"the solver took its process down {CHANCES} times ({cause})"
        return self.job.crashed_rows(range(index, index + 1), sentence).to_table()

    def _collect(self, worker: _Worker, ref: ray.ObjectRef) -> Iterator[ShardReport]:
        try:
            result = _value(ref)
        except _DEATHS as error:
            yield from self._bury(worker, error)
            return
        if worker.pending.pop(ref) != _READY:
            yield result

    def _bury(self, worker: _Worker, error: Exception) -> Iterator[ShardReport]:
        """Of a dead worker's shards, in order: some are done, the next took it down, the rest never began."""
        blamed = False
        for ref, number in worker.pending.items():
            try:
                result = _value(ref)
            except _DEATHS:
                if number == _READY:
                    self._note_false_start(error)
                elif blamed:
                    self.waiting.append(number)
                else:
                    self._strike(number)
                blamed = True
            else:
                if number != _READY:
                    yield result
        self._replace(worker)

    def _strike(self, number: int) -> None:
        self._strikes[number] += 1
        if self._strikes[number] < CHANCES:
            self.waiting.append(number)
        else:
            self.deadly.append(number)

    def _note_false_start(self, error: Exception) -> None:
        self._false_starts += 1
        if self._false_starts > len(self._workers):
            text = " ".join(str(error).split())
            raise ServiceError(f"workers die before they start: {text}; is memflux installed on every node?") from None

    def _check_patience(self) -> None:
        if time.monotonic() - self._began > START_S:
            raise ServiceError(f"no worker has started in {START_S:g} s; has the cluster free cores?")

    def _replace(self, worker: _Worker) -> None:
        ray.kill(worker.actor)
        self._workers[self._workers.index(worker)] = self._spawn()

    def _spawn(self) -> _Worker:
        environment = {"env_vars": dict(WORKER_ENVIRONMENT)}
        actor = _REMOTE.options(num_cpus=1, max_restarts=0, max_concurrency=1, runtime_env=environment).remote()
        return _Worker(actor=actor, pending={actor.start.remote(self._shared): _READY})


def _value(ref: ray.ObjectRef) -> Any:
    """The result; what the worker raised comes as it was raised there."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
