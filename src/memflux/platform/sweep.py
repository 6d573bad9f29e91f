"""A sweep: a predictor is asked for very many devices of a design, and the answers are written as it goes on."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa
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
T, U = TypeVar("T"), TypeVar("U")


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
        return Answers(
            **{
                f.name: None if (value := getattr(self, f.name)) is None else value[rows]
                for f in dataclasses.fields(self)
            }
        )

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
            for number, parts, made in _shards(predictor, question, missing, pool, stopped, tick):
                if writing is not None:
                    writing.result()
                writing = pool.submit(_store, folder, number, parts, made, short)
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
) -> Iterator[tuple[int, list[dict[str, pa.Array]], Counts]]:
    """Number, columns of the parts, and counts of each shard; ends early once `stopped()`."""
    part = math.gcd(question.shard_size, POINTS_AT_ONCE) if _numbers_alone(predictor, question) else PART
    firsts = (first for n in numbers for first in question.rows(n)[::part])
    drawn = _ahead(pool, lambda first: question.draw(first, part), firsts)
    for number in numbers:
        parts, made = [], Counts()
        for first in question.rows(number)[::part]:
            if stopped():
                return
            devices, drive = next(drawn)
            rows = slice(0, min(part, question.count - first))
            answers = answer(predictor, question, devices, drive)[rows]
            parameters = _parameters(question.space, devices, drive)
            parts.append(_columns(first, {n: v[rows] for n, v in parameters.items()}, question.labels, answers))
            made = made.plus(answers.counts)
            tick(answers.counts)
        yield number, parts, made


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


def _parameters(space: Space, devices: Devices, drive: Waveform) -> dict[str, np.ndarray]:
    """What varies in the space [B], SI and eV."""
    numbers = drive_numbers(drive) if space.varies_drive else {}
    return {name: numbers[name] if name in DRIVE_PARAMETERS else getattr(devices, name) for name in space.names}


def _columns(
    first: int, parameters: dict[str, np.ndarray], labels: tuple[str, ...], answers: Answers
) -> dict[str, pa.Array]:
    size = len(answers.values)
    status, inside = answers.status_class, answers.inside
    columns = {"index": pa.array(np.arange(first, first + size), pa.int64())}
    columns |= {name: pa.array(values, pa.float64()) for name, values in parameters.items()}
    columns["inside"] = pa.nulls(size, pa.bool_()) if inside is None else pa.array(inside)
    columns["status_class"] = pa.nulls(size, pa.string()) if status is None else pa.array(status, pa.string())
    columns |= {name: pa.array(values, pa.float64()) for name, values in zip(labels, answers.values.T, strict=True)}
    if answers.current is not None:
        times = answers.current.shape[1]
        values = np.ascontiguousarray(answers.current, dtype=np.float32).ravel()
        columns["current"] = pa.ListArray.from_arrays(np.arange(0, (size + 1) * times, times, dtype=np.int32), values)
    return columns


def _store(folder: Folder, number: int, parts: list[dict[str, pa.Array]], counts: Counts, short: list[Shard]) -> None:
    """Write a shard, and remove the shorter one that it supersedes."""
    write(folder, number, parts, counts)
    for shard in short:
        if shard.number == number:
            folder.remove(shard.name)
