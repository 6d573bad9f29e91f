"""The work of a campaign, one shard at a time: draw the devices, solve them, write the rows."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from llvmlite import binding

from memflux import __version__, designs
from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import DataError
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.rows import Method, Rows, drive_columns, drive_family, rows_of
from memflux.shards import MANIFEST, Manifest, Shard, parse, read_shard, write_shard
from memflux.stand_in import StandIn
from memflux.traces import Trace, Traces
from memflux.waveform import Waveform

CRASHED, OUT_OF_MEMORY, NODE_LOST = "crashed", "out_of_memory", "node_lost"
UNLUCKY = (CRASHED, OUT_OF_MEMORY, NODE_LOST, "out_of_budget")
"""Classes that may end otherwise the next time: what failed was a process or machine, or the budget of seconds."""
# What stops a worker or a machine says nothing about a device, so no row may record it.
_NOT_THE_DEVICE = (ImportError, OSError)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardReport:
    """What a worker tells about a shard that it made."""

    number: int
    rows: int  # that were solved
    failed: Mapping[str, int]  # of those, by status class
    work_s: float  # s of solving
    seconds: float  # from beginning to end


def solver_for(campaign: Campaign) -> Predictor:
    """The predictor that a campaign asks for."""
    if campaign.engine == "compact":
        return StandIn(samples=campaign.samples)
    from memflux.solvers.solver import Solver

    return Solver(control=campaign.control, engine=campaign.engine, samples=campaign.samples)


def method_of(campaign: Campaign) -> Method:
    """What answers here: the control, the engine ("auto" resolved) and the version of its numbers."""
    if campaign.engine == "compact":
        return Method(engine="compact", solver_version=__version__)
    from memflux.solvers.batch import VERSION
    from memflux.solvers.solver import Solver

    engine = Solver(control=campaign.control, engine=campaign.engine, samples=campaign.samples).engine
    return Method(control=campaign.control, engine=engine, solver_version=VERSION)


def manifest_of(campaign: Campaign) -> Manifest:
    """The manifest of the data set that a campaign makes."""
    space = campaign.design_space()
    _, drive = campaign.sample(1)
    return Manifest(
        recipe=campaign.recipe(),
        space=space,
        drive=drive_family(drive),
        samples=campaign.samples,
        cycles=space.cycles,
        count=campaign.count,
        shard_size=campaign.shard_size,
        method=method_of(campaign),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """A campaign, the folder it fills, and where its predictor comes from: all that a worker needs.

    `again` are shards that are there, by number, of which rows are to be solved: those that they lack,
    and those of the classes `classes`. Their other rows stay.
    """

    campaign: Campaign
    out: str
    manifest: Manifest
    solver_factory: Callable[[Campaign], Predictor] = solver_for
    again: Mapping[int, Shard] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def predictor(self) -> Predictor:
        """A solver, and the folder is there: DataError where this process does not see it."""
        folder = Folder.at(self.out)
        if not folder.exists(MANIFEST):
            raise DataError(
                f"{folder.url} is not to be seen by process {os.getpid()} on {os.uname().nodename}; "
                "give a folder that every node mounts, or a URL."
            )
        return self.solver_factory(self.campaign)

    def indices(self, number: int) -> np.ndarray:
        """The rows of shard `number` that are to be solved."""
        wanted = np.array(self.manifest.shard_rows(number))
        if number not in self.again:
            return wanted
        there = self._there(number)
        kept = there.index[~np.isin(there.status_class.astype(str), self.classes)]
        return np.setdiff1d(wanted, kept)

    def rows(self, predictor: Predictor, index: np.ndarray) -> Rows:
        """The rows `index`: a pure function of the campaign and the indices, biography aside."""
        devices, drive = self._sample(index)
        started = time.perf_counter()
        traces = solve_all(predictor, devices, drive, self.manifest.samples)
        seconds = (time.perf_counter() - started) / len(index)
        return self._rows_of(index, devices, drive, traces, seconds)

    def lost_row(self, index: int, status_class: str, sentence: str) -> pa.Table:
        """The row of a device whose solve took its process down."""
        at = np.array([index])
        devices, drive = self._sample(at)
        traces = lost(devices, drive, self.manifest.samples, status_class, sentence)
        return self._rows_of(at, devices, drive, traces).to_table()

    def make(self, predictor: Predictor, number: int) -> ShardReport:
        """Solve and write shard `number`."""
        started = time.perf_counter()
        return self.write(number, self.rows(predictor, self.indices(number)), started)

    def assemble(self, number: int, parts: list[pa.Table], started: float) -> ShardReport:
        """Write shard `number` from tables of its rows, in any order."""
        table = pa.concat_tables(parts, promote_options="default")
        rows = Rows.from_table(table, drive_columns(self.manifest.drive))
        return self.write(number, rows[np.argsort(rows.index)], started)

    def write(self, number: int, rows: Rows, started: float) -> ShardReport:
        """Write shard `number` with the rows that were solved, begun at `started` on the performance counter.

        A shard that it supersedes stays until the run ends: whoever makes this one once more, because
        a process died in between, needs it.
        """
        whole = _merged(self._there(number), rows) if number in self.again else rows
        write_shard(Folder.at(self.out), number, whole)
        classes, counts = np.unique(rows.status_class[~rows.solved].astype(str), return_counts=True)
        return ShardReport(
            number=number,
            rows=len(rows),
            failed=dict(zip(classes.tolist(), counts.tolist(), strict=True)),
            work_s=float(np.nansum(rows.biography["wall_time_s"])),
            seconds=time.perf_counter() - started,
        )

    def _there(self, number: int) -> Rows:
        folder = Folder.at(self.out)
        return parse(folder, self.again[number], read_shard(folder, self.again[number]), self.manifest)

    def _sample(self, index: np.ndarray) -> tuple[Devices, Waveform]:
        return designs.at(self.campaign.design_space(), self.campaign.design, index, self.campaign.seed)

    def _rows_of(
        self, index: np.ndarray, devices: Devices, drive: Waveform, traces: Traces, seconds: float = 0.0
    ) -> Rows:
        biography: dict[str, object] = {"cpu_target": cpu_target()}
        if traces.history is None:
            biography["wall_time_s"] = seconds
        return rows_of(index, devices, drive, traces, self.manifest.method, biography)


def _merged(there: Rows, solved: Rows) -> Rows:
    """Rows as they were, but for those that were solved again."""
    rows = Rows.concatenate([there[~np.isin(there.index, solved.index)], solved])
    return rows[np.argsort(rows.index)]


def solve_all(predictor: Predictor, devices: Devices, drive: Waveform, samples: int) -> Traces:
    """The traces of all devices; one that raises becomes a failed row, not a lost shard."""
    try:
        return predictor(devices, drive)
    except _NOT_THE_DEVICE:
        raise
    except Exception:  # noqa: BLE001 - whatever a solver raises is one device's failure: find out whose
        rows = [np.arange(i, i + 1) for i in range(len(devices))]
        return Traces.stack([_solve_one(predictor, devices[r], drive[r], samples) for r in rows])


def _solve_one(predictor: Predictor, device: Devices, drive: Waveform, samples: int) -> Trace:
    try:
        return next(iter(predictor(device, drive)))
    except _NOT_THE_DEVICE:
        raise
    except MemoryError:
        return next(iter(lost(device, drive, samples, OUT_OF_MEMORY, "the solver ran out of memory")))
    except Exception as error:  # noqa: BLE001 - the row says what it was; the campaign goes on
        sentence = f"the solver raised {type(error).__name__}: {' '.join(str(error).split())}"
        return next(iter(lost(device, drive, samples, CRASHED, sentence)))


def lost(devices: Devices, drive: Waveform, samples: int, status_class: str, sentence: str) -> Traces:
    """Traces of devices that were not answered at all: every current is NaN."""
    time_, voltage = drive.grid(samples)
    nothing = np.full((len(devices), time_.shape[-1]), np.nan)
    traces = Traces.of(
        time=time_, voltage=voltage, current=nothing, period=drive.periods(), cycles=drive.cycles, status=sentence
    )
    return dataclasses.replace(
        traces, conduction=nothing, status_class=np.full(len(devices), status_class, dtype=object)
    )


def cpu_target() -> str:
    """The CPU that numba compiles for: bit-identical rows are promised on equal targets."""
    return str(os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name())
