"""The workers of one run on Ray: who makes what, who died of what, and what is tried again."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import ray

from memflux.errors import ServiceError
from memflux.platform.campaigns.isolation import refuse_all_lost
from memflux.platform.campaigns.shard_work import CRASHED, NODE_LOST, OUT_OF_MEMORY, Job, ShardReport
from memflux.platform.cluster import head_answers, require_head
from memflux.platform.environment import WORKER_ENVIRONMENT, scrub_launcher_environment

SHORT_S = 5.0  # of shards that take less, a worker holds the next one too, so that it need not wait for the driver
CHANCES = {CRASHED: 2, OUT_OF_MEMORY: 2, NODE_LOST: 3}  # times that a shard, and then a device, may take a worker down
START_S = 300.0  # how long there may be no worker that has started
LOOK_S = 5.0  # between two looks at the cluster: whether it has grown, and its head lives

# What a worker's death looks like from here.
_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,  # its answer went with its node
)


class Task(NamedTuple):
    """A shard, which its worker writes, or one device of it, whose row comes back."""

    number: int
    device: int | None = None  # its index in the campaign


READY = Task(-1)  # in place of a task: the worker is getting ready


class ShardWorker:
    """One process that solves: PETSc is not thread-safe, so it does one thing at a time."""

    def start(self, job: Job) -> str:
        """Get the predictor ready; the id of the node."""
        scrub_launcher_environment()
        self.job = job
        self.predictor = job.predictor()
        return str(ray.get_runtime_context().get_node_id())

    def make(self, number: int) -> ShardReport:
        """Make and write one shard."""
        return self.job.make(self.predictor, number)

    def row(self, index: int) -> pa.Table:
        """The row of one device, not written."""
        return self.job.rows(self.predictor, np.array([index])).to_table()


_REMOTE: Any = ray.remote(ShardWorker)


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    """An actor and what it was given, oldest first."""

    actor: Any
    pending: dict[ray.ObjectRef, Task]
    node: str = ""
    ahead: int = 1  # tasks that it may hold

    @property
    def ready(self) -> bool:
        """Whether it has started; before, it may be waiting for a core, and work with it."""
        return READY not in self.pending.values()

    def begin(self, task: Task) -> None:
        """Hand it a task."""
        make, row = self.actor.make, self.actor.row
        self.pending[make.remote(task.number) if task.device is None else row.remote(task.device)] = task


class Pool:
    """Workers, the tasks that wait for them, and the shards that are made device by device."""

    def __init__(self, job: Job, shards: Sequence[int], count: int | None) -> None:
        self.job = job
        self._waiting = collections.deque(Task(number) for number in shards)
        self._strikes: collections.Counter[tuple[Task, str]] = collections.Counter()
        self._parts: dict[int, dict[int, pa.Table | None]] = {}  # rows by index, of shards made device by device
        self._began: dict[int, float] = {}
        self._lost: dict[int, str] = {}  # devices that took worker after worker down, and how
        self._count = count
        self._most = len(shards)
        self._shared = ray.put(job)
        self._workers: list[_Worker] = []
        self._false_starts = 0
        self._stopping = False
        self._manned = self._looked = time.monotonic()
        self._grow()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers if head_answers() else ():
            ray.kill(worker.actor)

    @property
    def cores(self) -> int:
        """Workers that have a core now; while the first one starts, one."""
        return sum(worker.ready for worker in self._workers) or 1

    @property
    def busy(self) -> bool:
        """Whether tasks wait or are being done."""
        return bool(self._waiting) or any(t != READY for w in self._workers for t in w.pending.values())

    def admit_no_more(self) -> None:
        """Let workers finish what they hold, and hand out nothing else."""
        self._stopping = True
        self._waiting.clear()

    def advance(self) -> Iterator[ShardReport]:
        """Hand out work, wait a moment for answers, and yield the shards that are done."""
        self._look()
        for worker in self._workers:
            while worker.ready and self._waiting and len(worker.pending) < worker.ahead:
                worker.begin(self._waiting.popleft())
        owners = {ref: worker for worker in self._workers for ref in worker.pending}
        ready, rest = ray.wait(list(owners), num_returns=1, timeout=0.2)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        for ref in ready:
            if ref in owners[ref].pending:  # else it went with its worker
                yield from self._collect(owners[ref], ref)

    def _collect(self, worker: _Worker, ref: ray.ObjectRef) -> Iterator[ShardReport]:
        try:
            result = _value(ref)
        except _DEATHS as error:
            yield from self._bury(worker, error)
            return
        yield from self._take(worker, worker.pending.pop(ref), result)

    def _take(self, worker: _Worker, task: Task, result: Any) -> Iterator[ShardReport]:
        """What came back of a task."""
        if task == READY:
            worker.node = result
            self._false_starts = 0
        elif task.device is None:
            worker.ahead = 2 if result.seconds < SHORT_S else 1
            yield result
        else:
            yield from self._add_part(task, result)

    def _add_part(self, task: Task, row: pa.Table) -> Iterator[ShardReport]:
        assert task.device is not None
        parts = self._parts[task.number]
        parts[task.device] = row
        if all(part is not None for part in parts.values()):
            del self._parts[task.number]
            sentences = [self._lost[i] for i in parts if i in self._lost]
            refuse_all_lost(task.number, len(sentences), len(parts), next(iter(sentences), ""))
            yield self.job.assemble(task.number, list(parts.values()), self._began[task.number])

    def _bury(self, worker: _Worker, error: Exception) -> Iterator[ShardReport]:
        """Of a dead worker's tasks, in order: some are done, the next one was its last, the rest never began."""
        require_head()
        cause = _cause_of_death(worker, error)
        blamed = False
        pending, worker.pending = worker.pending, {}
        for ref, task in pending.items():
            try:
                result = _value(ref)
            except _DEATHS:
                if task == READY:
                    self._note_false_start(error)
                elif blamed:
                    self._requeue(task)
                else:
                    yield from self._strike(task, cause, error)
                blamed = True
            else:
                yield from self._take(worker, task, result)
        with contextlib.suppress(Exception):  # it is dead already, as a rule
            ray.kill(worker.actor)
        self._workers[self._workers.index(worker)] = self._spawn()

    def _strike(self, task: Task, cause: str, error: Exception) -> Iterator[ShardReport]:
        """A task took its worker down: once more, then device by device, then a failed row."""
        self._strikes[task, cause] += 1
        if self._strikes[task, cause] < CHANCES[cause]:
            self._requeue(task)
        elif task.device is None:
            indices = self.job.indices(task.number).tolist()
            self._parts[task.number] = dict.fromkeys(indices)
            self._began[task.number] = time.perf_counter()
            for index in reversed(indices):
                self._requeue(Task(task.number, index))
        else:
            text = " ".join(str(error).split())[:200]
            sentence = f"the solver took its process down {CHANCES[cause]} times ({text})"
            self._lost[task.device] = sentence
            yield from self._add_part(task, self.job.lost_row(task.device, cause, sentence))

    def _requeue(self, task: Task) -> None:
        if not self._stopping:
            self._waiting.appendleft(task)

    def _note_false_start(self, error: Exception) -> None:
        self._false_starts += 1
        if self._false_starts > max(3, len(self._workers)):
            text = " ".join(str(error).split())
            raise ServiceError(f"workers die before they start: {text}; is memflux installed on every node?") from None

    def _look(self) -> None:
        """Now and then: does the cluster's head live, has it grown, is anybody there?"""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        require_head()
        self._grow()
        if any(worker.ready for worker in self._workers):
            self._manned = now
        elif now - self._manned > START_S:
            raise ServiceError(f"for {START_S:g} s no worker has started; has the cluster free cores?")

    def _grow(self) -> None:
        wanted = self._count or int(ray.cluster_resources().get(self._resource, 1))
        for _ in range(len(self._workers), min(max(wanted, 1), self._most)):
            self._workers.append(self._spawn())

    @property
    def _resource(self) -> str:
        return "GPU" if self.job.manifest.method.engine == "cuda" else "CPU"

    def _spawn(self) -> _Worker:
        actor = _REMOTE.options(
            num_cpus=1,
            num_gpus=int(self._resource == "GPU"),
            max_restarts=0,
            max_concurrency=1,
            runtime_env={"env_vars": dict(WORKER_ENVIRONMENT)},
        ).remote()
        return _Worker(actor=actor, pending={actor.start.remote(self._shared): READY})


def _cause_of_death(worker: _Worker, error: Exception) -> str:
    """The status class of a device that a worker died of in this way."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return OUT_OF_MEMORY
    dead = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
    return NODE_LOST if worker.node in dead or "node has died" in str(error) else CRASHED


def _value(ref: ray.ObjectRef) -> Any:
    """The result; what the worker raised comes as it was raised there."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
