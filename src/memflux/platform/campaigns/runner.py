"""Run a campaign into a folder: make what is missing, hold the folder, stop when asked to."""

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Protocol

from memflux.contracts import Predictor
from memflux.errors import DataError, InvalidValue
from memflux.folder import TEMPORARY, Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.isolation import NOTE
from memflux.platform.campaigns.shard_work import Job, ShardReport, manifest_of, solver_for
from memflux.platform.lock import hold
from memflux.platform.signals import stop_on_signals
from memflux.shards import MANIFEST, Manifest, Shard, complete_shards, damaged_files, list_shards, read_tallies


class Executor(Protocol):
    """Where shards are made. Entering it gets the workers, leaving it lets them go."""

    @property
    def cores(self) -> int:
        """Workers that it has now, once entered."""
        ...

    def __enter__(self) -> "Executor":
        """Get the workers."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Let the workers go; shards in flight are dropped."""
        ...

    def run(self, job: Job, shards: Sequence[int], stopped: Callable[[], bool]) -> Generator[ShardReport, None, None]:
        """Make `shards`, in any order; start no more once `stopped()`. Closed early, it drops those in flight."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is."""

    wanted: int  # rows of the whole campaign
    before: int  # rows that were there when the run began, and stay
    cores: int = 0  # that work on it now
    core_seconds: float = 0.0  # cores that it held, times time
    made: int = 0  # rows made by this run
    failed_by_class: Mapping[str, int] = dataclasses.field(default_factory=dict)  # of those, whose solve failed
    work_s: float = 0.0  # s of solving, summed over the workers
    seconds: float = 0.0  # since the run began
    damaged: int = 0  # shard files that were damaged, removed, and are made again
    stopped: bool = False  # the run was asked to stop before its end

    @property
    def done(self) -> int:
        """Rows in the folder."""
        return self.before + self.made

    @property
    def failed(self) -> int:
        """Rows made by this run whose solve failed."""
        return sum(self.failed_by_class.values())

    @property
    def rate(self) -> float:
        """Curves per second of this run."""
        return self.made / self.seconds if self.seconds > 0 else 0.0

    @property
    def core_hours(self) -> float:
        """Cores that this run held, times hours: what an allocation is charged."""
        return self.core_seconds / 3600.0

    def plus(self, shard: ShardReport, seconds: float, cores: int) -> "Progress":
        """With one more shard, `seconds` after the run began, on `cores` by now."""
        failed = collections.Counter(self.failed_by_class) + collections.Counter(shard.failed)
        return dataclasses.replace(
            self,
            made=self.made + shard.rows,
            failed_by_class=dict(failed),
            work_s=self.work_s + shard.work_s,
            seconds=seconds,
            cores=cores,
            core_seconds=self.core_seconds + cores * (seconds - self.seconds),
        )


def run(
    campaign: Campaign,
    out: str,
    executor: Executor,
    on_progress: Callable[[Progress], None] | None = None,
    solver_factory: Callable[[Campaign], Predictor] = solver_for,
    on_stop: Callable[[], None] | None = None,
    again: Sequence[str] = (),
    chosen: Iterable[int] = (),
    seconds: float | None = None,
) -> Progress:
    """Fill the folder `out` with what is missing of the campaign; the same call resumes it.

    Shards that are damaged are made again, and so are rows of the status classes `again`. Two runs
    into one folder are refused (DataError), as is a folder of another recipe (InvalidValue); a
    folder is not begun where the executor cannot be entered. Interrupt, SIGTERM and SIGUSR1 let
    shards in flight finish and return with `stopped`; a second one drops them. So does the end of
    `seconds`. `on_progress` is called when work begins and after each shard, `on_stop` as soon as the
    run is asked to stop, in another thread. `chosen` draws of the design beyond the first `count` become rows of
    the data set for good, whoever runs its campaign next.
    """
    folder = Folder.at(out)
    end = time.monotonic() + (math.inf if seconds is None else seconds)
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(stop_on_signals(on_stop))

        def stopped() -> bool:
            return asked() or time.monotonic() > end

        begun = folder.exists(MANIFEST)
        if not begun:
            stack.enter_context(executor)
            folder.create()
        stack.enter_context(hold(folder))
        manifest = claim(folder, manifest_of(campaign), chosen)
        damaged = _tidy(folder, manifest, stopped)
        work = _plan(folder, manifest, again)
        if begun and work.shards and not stopped():  # later than above: there may be nothing to do
            stack.enter_context(executor)
        progress = Progress(wanted=manifest.rows, before=manifest.rows - work.rows, damaged=damaged)
        job = Job(
            campaign=campaign,
            out=folder.root if folder.local else out,
            manifest=manifest,
            solver_factory=solver_factory,
            again=work.again,
            classes=tuple(again),
        )
        shards = () if stopped() else work.shards
        progress = _make(executor, job, shards, progress, stopped, on_progress or (lambda _: None))
        _sweep(folder, manifest)
        _sweep_notes(folder)
        return dataclasses.replace(progress, stopped=progress.done < progress.wanted)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What is to be made."""

    shards: Sequence[int]
    rows: int
    again: Mapping[int, Shard]


def _plan(folder: Folder, manifest: Manifest, again: Sequence[str]) -> _Work:
    """The shards that are missing, those that lack rows since the data set grew, and those with rows of `again`."""
    there = complete_shards(folder, manifest)[0]
    missing = set(manifest.numbers) - {shard.number for shard in there}
    rows = sum(len(manifest.shard_rows(number)) for number in missing)
    chosen: dict[int, Shard] = {}
    for shard, tally in zip(there, read_tallies(folder, there), strict=True):
        lacking = len(manifest.shard_rows(shard.number)) - tally.rows
        if found := lacking + sum(len(tally.failed.get(name, ())) for name in again):
            chosen[shard.number] = shard
            rows += found
    return _Work(shards=sorted([*missing, *chosen]), rows=rows, again=chosen)


def _make(
    executor: Executor,
    job: Job,
    shards: Sequence[int],
    progress: Progress,
    stopped: Callable[[], bool],
    report: Callable[[Progress], None],
) -> Progress:
    """Have the shards made; the progress at the end."""
    if not shards:
        report(progress)
        return progress
    progress = dataclasses.replace(progress, cores=executor.cores)
    report(progress)
    started = time.perf_counter()
    with contextlib.closing(executor.run(job, shards, stopped)) as made:
        for shard in made:
            progress = progress.plus(shard, time.perf_counter() - started, executor.cores)
            report(progress)
    return progress


def claim(folder: Folder, manifest: Manifest, chosen: Iterable[int] = ()) -> Manifest:
    """Make the folder this campaign's, or check that it is; the manifest that is now in force, with `chosen` rows.

    A folder without shards is anybody's: a run that could not begin must not hold it. Shards
    without a manifest are nobody's (DataError): what they are rows of is not known.
    """
    if not list_shards(folder):
        manifest = manifest.choosing(chosen, manifest.count)
        folder.write(MANIFEST, manifest.to_json())
        return manifest
    if not folder.exists(MANIFEST):
        raise DataError(f"{folder.url} has shards and no {MANIFEST}; put it back, or choose another folder.")
    there = Manifest.read(folder)
    _refuse_other_recipe(folder, there, manifest)
    if manifest.count < there.count:
        raise InvalidValue(
            f"count = {manifest.count} is below the {there.count} rows that {folder.url} is to hold; "
            "only a larger count can be asked of it."
        )
    manifest = dataclasses.replace(manifest, chosen=there.chosen).choosing(chosen, manifest.count)
    if (manifest.count, manifest.chosen) != (there.count, there.chosen):
        folder.write(MANIFEST, manifest.to_json())
    return manifest


def _refuse_other_recipe(folder: Folder, there: Manifest, wanted: Manifest) -> None:
    old, new = dict(there.recipe), dict(wanted.recipe)
    pairs = {
        name: (old.get(name), new.get(name)) for name in sorted(set(old) | set(new)) if name not in ("count", "engine")
    }
    for name in ("engine", "solver_version"):
        pairs[name] = (getattr(there.method, name), getattr(wanted.method, name))
    for name in ("drive", "space", "samples", "cycles", "shard_size"):
        pairs[name] = (getattr(there, name), getattr(wanted, name))
    for name, (have, want) in pairs.items():
        if have != want:
            raise InvalidValue(
                f"{name} = {want!r} differs from the {have!r} that {folder.url} was begun with; "
                "change it back or choose another folder (only count may grow)."
            )


def _tidy(folder: Folder, manifest: Manifest, stopped: Callable[[], bool]) -> int:
    """Remove damaged shards, which are of no use to anybody, and what `_sweep` removes; how many were damaged."""
    damaged = damaged_files(folder, manifest, stopped)
    for shard in damaged:
        folder.remove(shard.name)
    _sweep(folder, manifest)
    return len(damaged)


def _sweep(folder: Folder, manifest: Manifest) -> None:
    """Remove half-written files of a run that was killed, and shards that better ones supersede."""
    for name in folder.names():
        if name.startswith(TEMPORARY):
            folder.remove(name)
    for shard in complete_shards(folder, manifest)[1]:
        folder.remove(shard.name)


def _sweep_notes(folder: Folder) -> None:
    """Remove the notes of dead processes on shards that are there by now."""
    there = {f"{NOTE}{shard.number}" for shard in list_shards(folder)}
    for name in there.intersection(folder.names()):
        folder.remove(name)
