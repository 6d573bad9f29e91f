"""The MPI executor, for centres without Ray: rank 0 hands out shards and solves between two looks at its letters.

    mpiexec -n 64 memflux campaign run c.yaml --out DIR --executor mpi

Importing this module initialises MPI. The other ranks call `follow` and see neither campaign file nor progress.
"""

import collections
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, Self

import pyarrow as pa
from mpi4py import MPI

from memflux.contracts import Predictor
from memflux.folder import Folder
from memflux.platform.campaigns.isolation import CHANCES, make_isolated, make_noted, noted
from memflux.platform.campaigns.shard_work import Job, ShardReport
from memflux.platform.signals import STOP_SIGNALS

AHEAD = 2  # shards a rank holds: the one it makes and the next
IDLE_S = 0.001  # between two looks for letters; a blocking receive would spin on a core that others need
LOOK_S = 0.2  # how long rank 0 may solve between two looks


class Letter(NamedTuple):
    """What rank 0 sends: a job to get ready for, a shard to make, or nothing more to do."""

    job: Job | None = None
    shard: int | None = None


def leads() -> bool:
    """Whether this process is the one that runs the campaign; the others follow."""
    return bool(MPI.COMM_WORLD.rank == 0)


def dismiss() -> None:
    """Let the ranks that follow end."""
    for rank in range(1, MPI.COMM_WORLD.size):
        MPI.COMM_WORLD.send(Letter(), rank)


def abort() -> None:
    """End every rank at once, this one too, whatever it is at."""
    MPI.COMM_WORLD.Abort(1)


def follow() -> None:
    """Make what rank 0 asks for, until it has nothing more; what goes wrong is its to tell."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # mpiexec passes them to every rank; rank 0 decides
    world = MPI.COMM_WORLD
    job: Job | None = None
    predictor: Predictor | None = None
    while True:
        while not world.iprobe(source=0):
            time.sleep(IDLE_S)
        letter = world.recv(source=0)
        if letter == Letter():
            return
        try:
            if letter.job is not None:
                job, predictor = letter.job, letter.job.predictor()
            elif job is not None and predictor is not None and letter.shard is not None:
                world.send(make_noted(job, predictor, letter.shard), 0)
        except Exception as error:  # noqa: BLE001 - raised again by rank 0
            predictor = None  # what was sent ahead is not made
            world.send(error, 0)


class MpiExecutor:
    """Every rank of the world solves. One that dies takes the world with it; run again to resume.

    A shard that took its process down twice is made in a child process, as by the serial executor.
    """

    @property
    def cores(self) -> int:
        """Ranks, this one among them."""
        return int(MPI.COMM_WORLD.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Ranks end with `dismiss`, or, at once, with `abort`."""

    def run(self, job: Job, shards: Sequence[int], stopped: Callable[[], bool]) -> Generator[ShardReport, None, None]:
        """Make `shards` in any order; once `stopped()`, only what ranks have been given."""
        waiting = collections.deque(shards)
        ranks = _Ranks(job, waiting)
        predictor = job.predictor()
        while waiting or ranks.at_work:
            if stopped():
                waiting.clear()
            yield from ranks.answers()
            if not waiting:
                time.sleep(IDLE_S)
                continue
            for done in _in_slices(job, predictor, waiting.popleft()):
                if done is not None:
                    yield done
                if stopped():
                    waiting.clear()
                yield from ranks.answers()


class _Ranks:
    """The ranks that follow, and how many shards each has been given."""

    def __init__(self, job: Job, waiting: "collections.deque[int]") -> None:
        self._waiting = waiting
        self._given = dict.fromkeys(range(1, MPI.COMM_WORLD.size), 0)
        for rank in self._given:
            MPI.COMM_WORLD.send(Letter(job=job), rank)
        for _ in range(AHEAD):
            for rank in self._given:
                self._give(rank)

    @property
    def at_work(self) -> bool:
        """Whether any has not answered yet."""
        return any(self._given.values())

    def answers(self) -> Iterator[ShardReport]:
        """The reports that have come in; their ranks get more. Raises what was raised there."""
        status = MPI.Status()
        while MPI.COMM_WORLD.iprobe(status=status):
            answer: Any = MPI.COMM_WORLD.recv(source=status.source)
            if isinstance(answer, Exception):
                raise answer
            self._given[status.source] -= 1
            self._give(status.source)
            yield answer

    def _give(self, rank: int) -> None:
        if self._waiting:
            MPI.COMM_WORLD.send(Letter(shard=self._waiting.popleft()), rank)
            self._given[rank] += 1


def _in_slices(job: Job, predictor: Predictor, number: int) -> Iterator[ShardReport | None]:
    """Make a shard a few devices at a time: None after each slice, then the report."""
    with noted(Folder.at(job.out), number) as deaths:
        if deaths >= CHANCES:
            yield make_isolated(job, number)
            return
        started = time.perf_counter()
        index, size = job.indices(number), 1
        parts: list[pa.Table] = []
        while index.size:
            began = time.perf_counter()
            parts.append(job.rows(predictor, index[:size]).to_table())
            index = index[size:]
            pace = (time.perf_counter() - began) / size
            size = max(1, min(2 * size, int(LOOK_S / max(pace, 1e-9))))
            yield None
        yield job.assemble(number, parts, started)
