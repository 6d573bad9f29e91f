"""The work of a campaign, one shard at a time: draw the devices, solve them, write the rows."""

import dataclasses
import os
import time
from collections.abc import Callable

import numpy as np
from llvmlite import binding

from memflux import __version__
from memflux.compact import CompactModel
from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.rows import Rows, drive_family, rows_of
from memflux.shards import Manifest, write_shard
from memflux.traces import SOLVED, Trace, Traces
from memflux.waveform import Waveform

CRASHED = "crashed"
# What stops a worker or a machine says nothing about a device, so no row may record it.
_NOT_THE_DEVICE = (ImportError, MemoryError, OSError)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardReport:
    """What a worker tells about a shard that it made."""

    number: int
    rows: int
    failed: int
    seconds: float


def solver_for(campaign: Campaign) -> Predictor:
    """The predictor that a campaign asks for."""
    if campaign.engine == "compact":
        return CompactModel(samples=campaign.samples)
    from memflux.solvers.solver import Solver

    return Solver(control=campaign.control, engine=campaign.engine, samples=campaign.samples)


def engine_of(campaign: Campaign) -> tuple[str, str]:
    """The engine that answers here, "auto" resolved, and the version of its numbers."""
    if campaign.engine == "compact":
        return "compact", __version__
    from memflux.solvers.batch import VERSION
    from memflux.solvers.solver import Solver

    return Solver(control=campaign.control, engine=campaign.engine, samples=campaign.samples).engine, VERSION


def manifest_of(campaign: Campaign) -> Manifest:
    """The manifest of the data set that a campaign makes."""
    space = campaign.design_space()
    engine, version = engine_of(campaign)
    _, drive = space.sample(1, campaign.seed)
    return Manifest(
        recipe=campaign.recipe(),
        space=space,
        drive=drive_family(drive),
        samples=campaign.samples,
        cycles=space.cycles,
        count=campaign.count,
        shard_size=campaign.shard_size,
        engine=engine,
        solver_version=version,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """A campaign, the folder it fills, and where its predictor comes from: all that a worker needs."""

    campaign: Campaign
    out: str
    manifest: Manifest
    solver_factory: Callable[[Campaign], Predictor] = solver_for

    def rows(self, predictor: Predictor, index: range) -> Rows:
        """The rows `index`: a pure function of the campaign and the indices, biography aside."""
        devices, drive = self._sample(index)
        started = time.perf_counter()
        traces = solve_all(predictor, devices, drive, self.manifest.samples)
        seconds = (time.perf_counter() - started) / len(index)
        biography: dict[str, object] = self._biography()
        if traces.history is None:
            biography["wall_time_s"] = seconds
        return rows_of(np.array(index), devices, drive, traces, biography)

    def crashed_rows(self, index: range, sentence: str) -> Rows:
        """The rows of devices whose solve took its process down."""
        devices, drive = self._sample(index)
        traces = crashed(devices, drive, self.manifest.samples, sentence)
        return rows_of(np.array(index), devices, drive, traces, self._biography())

    def make(self, predictor: Predictor, number: int) -> ShardReport:
        """Solve and write shard `number`."""
        started = time.perf_counter()
        rows = self.rows(predictor, self.manifest.shard_rows(number))
        return self.write(number, rows, started)

    def write(self, number: int, rows: Rows, started: float) -> ShardReport:
        """Write the rows of shard `number`, begun at `started` on the performance counter."""
        write_shard(Folder.at(self.out), number, rows.to_table())
        failed = int((rows.status_class != SOLVED).sum())
        return ShardReport(number=number, rows=len(rows), failed=failed, seconds=time.perf_counter() - started)

    def _sample(self, index: range) -> tuple[Devices, Waveform]:
        space = self.manifest.space
        assert space is not None
        return space.sample(len(index), self.campaign.seed, first=index.start)

    def _biography(self) -> dict[str, object]:
        version = self.manifest.solver_version
        return {"engine": self.manifest.engine, "solver_version": version, "cpu_target": cpu_target()}


def solve_all(predictor: Predictor, devices: Devices, drive: Waveform, samples: int) -> Traces:
    """The traces of all devices; one that raises becomes a row of class "crashed", not a lost shard."""
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
    except Exception as error:  # noqa: BLE001 - the row says what it was; the campaign goes on
        text = " ".join(str(error).split())
        return next(iter(crashed(device, drive, samples, f"the solver raised {type(error).__name__}: {text}")))


def crashed(devices: Devices, drive: Waveform, samples: int, sentence: str) -> Traces:
    """Traces of devices that were not answered at all: every current is NaN."""
    time_, voltage = drive.grid(samples)
    nothing = np.full((len(devices), time_.shape[-1]), np.nan)
    traces = Traces.of(
        time=time_, voltage=voltage, current=nothing, period=drive.periods(), cycles=drive.cycles, status=sentence
    )
    return dataclasses.replace(traces, conduction=nothing, status_class=np.full(len(devices), CRASHED, dtype=object))


def cpu_target() -> str:
    """The CPU that numba compiles for: bit-identical rows are promised on equal targets."""
    return str(os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name())
