"""A sweep: a predictor is asked for very many devices of a design, and the answers are written as it goes on."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float

from memflux.analysis.quantities import POINTS_AT_ONCE, AbstractQuantity, evaluate, resolve
from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.folder import Folder
from memflux.platform.lock import hold
from memflux.platform.signals import stop_on_signals
from memflux.platform.sweep_files import PART, Counts, Question, claim, survey, write
from memflux.shards import Shard
from memflux.space import DRIVE_PARAMETERS, Space, drive_numbers
from memflux.traces import SOLVED
from memflux.waveform import Waveform

PROBES, LOOKS = 16, 8  # devices, and samples of the current of each, by which a model is known
T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """How far a sweep is."""

    wanted: int
    before: int  # rows that were there when the run began
    counts: Counts  # of all rows that are answered, those of the shard in work included
    seconds: float = 0.0  # of this run
    stopped: bool = False  # the run was asked to stop before its end

    @property
    def made(self) -> int:
        """Rows that this run answered."""
        return self.counts.rows - self.before

    @property
    def rate(self) -> float:
        """Devices a second of this run."""
        return self.made / self.seconds if self.seconds > 0 else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """What is known of B devices; None where the predictor does not say."""

    values: Float[np.ndarray, "B Q"]  # NaN where undefined
    inside: Bool[np.ndarray, " B"] | None
    status_class: np.ndarray | None  # [B] of str
    current: Float[np.ndarray, "B T"] | None  # A

    def __getitem__(self, rows: slice) -> "Answers":
        inside, status, current = (
            None if a is None else a[rows] for a in (self.inside, self.status_class, self.current)
        )
        return Answers(values=self.values[rows], inside=inside, status_class=status, current=current)

    @property
    def counts(self) -> Counts:
        """What they add up to."""
        return Counts(
            rows=len(self.values),
            outside=0 if self.inside is None else int((~self.inside).sum()),
            failed=0 if self.status_class is None else int((self.status_class != SOLVED).sum()),
            undefined=int(np.isnan(self.values).any(axis=1).sum()),
        )


def sweep(
    predictor: Predictor,
    question: Question,
    out: str,
    on_progress: Callable[[State], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> State:
    """Fill the folder `out` (or URL) with what is missing of the sweep; the same call resumes it.

    Devices are drawn and shards are written in threads while the predictor answers, so memory holds
    two shards at most. Interrupt, SIGTERM and SIGUSR1 end it after the part in work, with `stopped`;
    the rows of an unfinished shard are asked again. Only `count` may grow: another question or
    another model is refused (InvalidValue), as are two runs into one folder (DataError).
    """
    folder = Folder.at(out)
    folder.create()
    with hold(folder), stop_on_signals(on_stop) as stopped:
        claim(folder, question, probe(predictor, question))
        counts, missing, short = survey(folder, question)
        state = State(wanted=question.count, before=counts.rows, counts=counts)
        report, started = on_progress or (lambda _: None), time.perf_counter()

        def tick(part: Counts) -> None:
            nonlocal state
            seconds = time.perf_counter() - started
            state = dataclasses.replace(state, counts=state.counts.plus(part), seconds=seconds)
            report(state)

        tick(Counts())
        with ThreadPoolExecutor(2) as pool:  # one thread draws, one writes
            writing: Future[None] | None = None
            for number, columns, made in _shards(predictor, question, missing, pool, stopped, tick):
                if writing is not None:
                    writing.result()
                writing = pool.submit(_store, folder, question, number, columns, made, short)
                counts = counts.plus(made)
            if writing is not None:
                writing.result()
        seconds = time.perf_counter() - started
        return dataclasses.replace(state, counts=counts, seconds=seconds, stopped=counts.rows < question.count)


def probe(predictor: Predictor, question: Question) -> Float[np.ndarray, "K A"]:
    """Quantities and some currents of the first few devices: what a model is known by."""
    devices, drive = question.draw(0, PROBES)
    traces = predictor(devices, drive)
    looks = np.linspace(0, traces.current.shape[1] - 1, LOOKS + 2)[1:-1].astype(int)  # not the ends: no current there
    values = evaluate(lambda *_: traces, devices, drive, question.quantities)
    return np.hstack([values, traces.current[:, looks]])


def answer(predictor: Predictor, question: Question, devices: Devices, drive: Waveform) -> Answers:
    """Ask for numbers alone where curves need not come here, else for curves, which say more."""
    if _numbers_alone(predictor, question):
        own = getattr(predictor, "space", None)
        return Answers(
            values=evaluate(predictor, devices, drive, question.quantities),
            inside=own.contains(devices, drive) if isinstance(own, Space) else None,
            status_class=None,
            current=None,
        )
    traces = predictor(devices, drive)
    return Answers(
        values=evaluate(lambda *_: traces, devices, drive, question.quantities),
        inside=traces.inside,
        status_class=traces.status_class,
        current=traces.current if question.curves else None,
    )


def _numbers_alone(predictor: Predictor, question: Question) -> bool:
    """Whether the predictor computes the quantities itself, as an endpoint does, and no curves are wanted."""
    known = all(isinstance(resolve(q), AbstractQuantity) for q in question.quantities)
    return callable(getattr(predictor, "quantities", None)) and known and not question.curves


def _shards(
    predictor: Predictor,
    question: Question,
    numbers: list[int],
    pool: Executor,
    stopped: Callable[[], bool],
    tick: Callable[[Counts], None],
) -> Iterator[tuple[int, dict[str, np.ndarray], Counts]]:
    """Number, columns, and counts of each shard; ends early once `stopped()`."""
    part = math.gcd(question.shard_size, POINTS_AT_ONCE) if _numbers_alone(predictor, question) else PART
    firsts = (first for n in numbers for first in question.rows(n)[::part])
    drawn = _ahead(pool, lambda first: question.draw(first, part), firsts)
    for number in numbers:
        shard, made = question.rows(number), Counts()
        columns: dict[str, np.ndarray] = {}
        for place in range(0, len(shard), part):
            if stopped():
                return
            devices, drive = next(drawn)
            rows = slice(place, min(place + part, len(shard)))
            answers = answer(predictor, question, devices, drive)[: rows.stop - place]
            for name, values in _columns(question, devices, drive, answers).items():
                # Whole columns from the start: many small arrays that stay would leave the heap in pieces.
                if name not in columns:
                    columns[name] = np.empty((len(shard), *values.shape[1:]), values.dtype)
                columns[name][rows] = values[: rows.stop - place]
            made = made.plus(answers.counts)
            tick(answers.counts)
        yield number, columns, made


def _ahead(pool: Executor, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """The function of each item; while one is used, the pool works on the next."""
    waiting: Future[U] | None = None
    for item in items:
        coming = pool.submit(function, item)
        if waiting is not None:
            yield waiting.result()
        waiting = coming
    if waiting is not None:
        yield waiting.result()


def _columns(question: Question, devices: Devices, drive: Waveform, answers: Answers) -> dict[str, np.ndarray]:
    """What is to be written of some devices; what the predictor does not say is left out."""
    numbers = drive_numbers(drive) if question.space.varies_drive else {}
    columns = {n: numbers[n] if n in DRIVE_PARAMETERS else getattr(devices, n) for n in question.space.names}
    columns |= dict(zip(question.labels, answers.values.T, strict=True))
    if answers.inside is not None:
        columns["inside"] = answers.inside
    if answers.status_class is not None:
        columns["status_class"] = answers.status_class
    if answers.current is not None:
        columns["current"] = answers.current.astype(np.float32)
    return columns


def _store(
    folder: Folder, question: Question, number: int, columns: dict[str, np.ndarray], counts: Counts, short: list[Shard]
) -> None:
    """Write a shard, and remove the shorter one that it supersedes."""
    write(folder, question, number, columns, counts)
    for shard in short:
        if shard.number == number:
            folder.remove(shard.name)
