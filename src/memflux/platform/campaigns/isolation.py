"""Shards that take their process down: noticed afterwards, and then made device by device in a child process.

Before a shard is made a note is left in the folder, and taken away afterwards, whatever was raised. Where a
process died (a crash in a solver, the system's out-of-memory killer, an operator) the note stays, and the next
run finds how often that happened. Executors that watch their workers from outside have no need of notes.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Self

import numpy as np
import pyarrow as pa

from memflux.contracts import Predictor
from memflux.errors import DataError, ServiceError
from memflux.folder import Folder
from memflux.platform.campaigns.shard_work import CRASHED, Job, ShardReport
from memflux.platform.environment import scrub_launcher_environment
from memflux.platform.signals import STOP_SIGNALS

NOTE = ".making-"
CHANCES = 2  # times that a shard, and then a device, may take its process down


def make_noted(job: Job, predictor: Predictor, number: int) -> ShardReport:
    """Make a shard in this process, or in a child where it has taken a process down `CHANCES` times."""
    with noted(Folder.at(job.out), number) as deaths:
        return job.make(predictor, number) if deaths < CHANCES else make_isolated(job, number)


@contextlib.contextmanager
def noted(folder: Folder, number: int) -> Iterator[int]:
    """Within, there is a note; yields how many processes died on this shard before."""
    name = f"{NOTE}{number}"
    deaths = len(folder.read(name)) if folder.exists(name) else 0
    folder.write(name, b"|" * (deaths + 1))  # a stroke a begun attempt
    try:
        yield deaths
    finally:
        with contextlib.suppress(DataError):
            folder.remove(name)


def make_isolated(job: Job, number: int) -> ShardReport:
    """Make a shard device by device in a child; a device that kills it `CHANCES` times is a row of class "crashed".

    Raises ServiceError where every device seems to: then it is not the devices.
    """
    started = time.perf_counter()
    indices = job.indices(number).tolist()
    parts: dict[int, pa.Table] = {}
    lost: dict[int, str] = {}
    with _Child(job) as child:
        for index in indices:
            try:
                parts[index] = _row(child, index)
            except _DeadlyDeviceError as death:
                lost[index] = str(death)
    refuse_all_lost(number, len(lost), len(indices), next(iter(lost.values()), ""))
    for index, sentence in lost.items():
        parts[index] = job.lost_row(index, CRASHED, sentence)
    return job.assemble(number, list(parts.values()), started)


def refuse_all_lost(number: int, lost: int, devices: int, sentence: str) -> None:
    """ServiceError where all of several devices of a shard took their process down."""
    if lost == devices > 1:
        raise ServiceError(
            f"all {devices} devices of shard {number} ended their process, so it is not the devices: {sentence}; "
            "see that the engine works on this machine (memflux doctor) and run the same command again."
        )


class _DeadlyDeviceError(Exception):
    """A device took its process down more than once; says how."""


def _row(child: "_Child", index: int) -> pa.Table:
    cause = ""
    for _ in range(CHANCES):
        try:
            return child.row(index)
        except (EOFError, ConnectionError):
            cause = child.bury()
    raise _DeadlyDeviceError(f"the solver took its process down {CHANCES} times ({cause})")


class _Child:
    """A process that makes one row at a time, started when it is needed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self.bury()

    def row(self, index: int) -> pa.Table:
        """The row of one device. Raises EOFError or ConnectionError where the process dies, and what it raised."""
        if self._pipe is None:
            self._pipe = self._start()
        self._pipe.send(index)
        return _answer(self._pipe)

    def bury(self) -> str:
        """How the process ended."""
        assert self._process is not None
        if self._pipe is not None:
            self._pipe.close()
        self._process.join()
        code = self._process.exitcode or 0
        self._process = self._pipe = None
        return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # never fork where MPI or PETSc may be at work
        mine, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._job, other), daemon=True)
        self._process.start()
        other.close()
        try:
            _answer(mine)
        except (EOFError, ConnectionError):
            mine.close()
            raise ServiceError(f"a process to make a shard in does not start ({self.bury()}).") from None
        return mine


def _answer(pipe: Connection) -> pa.Table | None:
    """What the child sends; raises what it raised."""
    answer = pipe.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(job: Job, pipe: Connection) -> None:
    """The life of a child: a row for each index, until the pipe is closed."""
    scrub_launcher_environment()  # it is no rank of its parent's world
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # of a terminal or a batch system; the parent decides
    try:
        predictor = job.predictor()
        pipe.send(None)
        while True:
            pipe.send(job.rows(predictor, np.array([pipe.recv()])).to_table())
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - raised again by the parent
        pipe.send(error)
