"""The data set: devices, their drive and their traces, read from or written to a folder of shards."""

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from memflux import designs
from memflux.device import QUANTITIES, Devices
from memflux.errors import DataError, InvalidValue, check_integer, check_number
from memflux.folder import Folder
from memflux.rows import Method, Rows, build_drive, drive_columns, drive_family, drive_values, keys_of, rows_of
from memflux.shards import (
    MANIFEST,
    Manifest,
    Shard,
    complete_shards,
    list_shards,
    parse,
    read_shard,
    read_tables,
    read_tallies,
    write_shard,
)
from memflux.space import Space
from memflux.tally import Tally
from memflux.traces import Traces
from memflux.waveform import Waveform

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """B devices, their drive and their traces, in the order of their index."""

    manifest: Manifest
    rows: Rows
    devices: Devices
    drive: Waveform  # one for all, or a batch of B
    traces: Traces

    @classmethod
    def open(cls, url: "str | os.PathLike[str]") -> Self:
        """Read a data set (a path or an fsspec URL); shards that are not made yet are no error.

        Raises DataError, with the name of the file, where one is missing its manifest or damaged.
        """
        folder = Folder.at(url)
        manifest = Manifest.read(folder)
        tables = [table for _, table in read_tables(folder, manifest)]
        if not tables:
            raise DataError(f"{folder.url} has no shards yet; run its campaign first.")
        try:
            rows = Rows.from_table(pa.concat_tables(tables, promote_options="default"), drive_columns(manifest.drive))
        except (pa.ArrowException, InvalidValue) as error:
            raise DataError(f"the shards of {folder.url} do not fit together: {error}") from None
        _refuse_mixed(folder, manifest, rows)
        order = np.argsort(rows.index, kind="stable")
        return cls.of(manifest, rows if np.array_equal(order, np.arange(len(rows))) else rows[order])

    @classmethod
    def of(cls, manifest: Manifest, rows: Rows) -> Self:
        """A data set in memory from its manifest and rows."""
        drive = build_drive(manifest.drive, rows.drive)
        time, _ = drive.grid(manifest.samples)
        shape = rows.current.shape
        if shape[1] != time.shape[-1]:
            raise DataError(f"the traces have {shape[1]} samples and the manifest says {time.shape[-1]}.")
        traces = Traces(
            time=np.broadcast_to(time, shape),
            voltage=rows.voltage,
            current=rows.current,
            conduction=rows.conduction,
            period=np.array(np.broadcast_to(drive.periods(), shape[:1])),
            cycles=manifest.cycles,
            status_class=rows.status_class,
            status=rows.status,
        )
        return cls(manifest=manifest, rows=rows, devices=rows.devices, drive=drive, traces=traces)

    @classmethod
    def write(
        cls,
        url: "str | os.PathLike[str]",
        *,
        devices: Devices,
        drive: Waveform,
        traces: Traces,
        space: Space | None = None,
        recipe: Mapping[str, Any] | None = None,
        shard_size: int = 1024,
        method: Method | None = None,
    ) -> Self:
        """Write devices and their traces (on the phase grid) into an empty folder as a data set."""
        method = method or Method()
        shard_size = check_integer("shard_size", shard_size, low=1, high=2**20)
        if len(devices) == 0 or len(traces) != len(devices):
            raise InvalidValue(
                f"{len(traces)} traces for {len(devices)} devices; give one trace a device, at least one."
            )
        folder = Folder.at(url)
        if folder.exists(MANIFEST):
            raise InvalidValue(f"{folder.url} holds a data set already; give an empty folder.")
        rows = rows_of(np.arange(len(devices)), devices, drive.for_batch(len(devices)), traces, method)
        manifest = Manifest(
            recipe=dict(recipe or {}),
            space=space,
            drive=drive_family(drive),
            samples=(traces.time.shape[1] - 1) // traces.cycles,
            cycles=traces.cycles,
            count=len(devices),
            shard_size=shard_size,
            method=method,
        )
        folder.create()
        folder.write(MANIFEST, manifest.to_json())
        for number in range(manifest.shards):
            part = manifest.shard_rows(number)
            write_shard(folder, number, rows[part[0] : part[-1] + 1])
        return cls.of(manifest, rows)

    @property
    def index(self) -> np.ndarray:
        """Index of each row in its campaign [B]."""
        return self.rows.index

    @property
    def status(self) -> np.ndarray:
        """A sentence a row [B]."""
        return self.rows.status

    @property
    def status_class(self) -> np.ndarray:
        """The class of each status [B], one of `traces.STATUS_CLASSES`."""
        return self.rows.status_class

    @property
    def biography(self) -> Mapping[str, np.ndarray]:
        """How each row came about: host, pid, wall time, Newton steps, ... [B] each."""
        return self.rows.biography

    @property
    def space(self) -> Space | None:
        """The space the devices were drawn from."""
        return self.manifest.space

    def samples_for(self, step: float) -> int:
        """Samples a cycle that lie `step` [s] apart.

        Raises InvalidValue where periods differ, as no step then shares them all, or the step takes samples that are
        not there.
        """
        check_number("step", step, low=1e-12, high=1e12, unit="s")
        periods = np.atleast_1d(self.drive.periods())
        if np.ptp(periods) > 1e-9 * periods.max():
            raise InvalidValue(
                f"step = {step:g} s needs one period for all drives, and theirs go from {periods.min():g} to "
                f"{periods.max():g} s; give a number of samples a cycle."
            )
        there, samples = self.manifest.samples, float(periods[0]) / step
        if abs(samples - round(samples)) > 1e-6 * samples or round(samples) < 1 or there % round(samples):
            known = [periods[0] * k / there for k in range(1, there + 1) if there % k == 0]
            raise InvalidValue(
                f"step = {step:g} s is no whole number of samples; give one of {', '.join(f'{k:g}' for k in known)}."
            )
        return round(samples)

    def space_or(self, preset: str) -> Space:
        """Its space, or the preset that stands in where it names none; InvalidValue where there is neither."""
        if self.space is not None:
            return self.space
        if not preset:
            raise InvalidValue(
                "the data set names no space; give the preset it was drawn from (--space, or 'space' of a study file)."
            )
        return Space.preset(preset)

    @property
    def content_hash(self) -> str:
        """Of keys, status classes and traces, see `Tally.content_hash`; not of the biography."""
        return Tally.of(self.rows).content_hash

    def to_xarray(self) -> "xarray.Dataset":
        """The same as an xarray Dataset with dimensions device and sample; units as attributes."""
        import xarray

        units = {name: q.unit for name, q in QUANTITIES.items()} | {"amplitude": "V", "period": "s"}
        plain = self.devices.columns() | dict(self.rows.drive)
        plain |= {"status": self.status, "status_class": self.status_class} | dict(self.biography)
        variables: dict[str, Any] = {n: ("device", v, {"units": units.get(n, "")}) for n, v in plain.items()}
        for name, unit in (("time", "s"), ("voltage", "V"), ("current", "A"), ("conduction", "A")):
            if (values := getattr(self.traces, name)) is not None:
                variables[name] = (("device", "sample"), values, {"units": unit})
        phase = np.arange(self.traces.time.shape[1]) / self.manifest.samples
        return xarray.Dataset(variables, coords={"device": self.index, "phase": ("sample", phase)})

    def take(self, rows: Bool[np.ndarray, " B"] | slice) -> Self:
        """Some of its rows, with the manifest of the whole."""
        drive = self.drive.for_batch(len(self))[rows]
        return dataclasses.replace(
            self, rows=self.rows[rows], devices=self.devices[rows], drive=drive, traces=self.traces[rows]
        )

    def __len__(self) -> int:
        return len(self.rows)


def _refuse_mixed(folder: Folder, manifest: Manifest, rows: Rows) -> None:
    """DataError for rows of another engine or version, or twice the same: they were put there by hand."""
    if np.unique(rows.index).size != len(rows):
        raise DataError(f"the shards of {folder.url} have rows twice; memflux campaign verify names them.")
    for name in ("engine", "solver_version"):
        wanted = getattr(manifest.method, name)
        odd = np.flatnonzero(rows.biography[name] != wanted)
        if odd.size:
            found = rows.biography[name][odd[0]]
            raise DataError(
                f"row {rows.index[odd[0]]} of {folder.url} has {name} = {found!r} where the manifest says {wanted!r}; "
                "remove its shard and run the campaign again."
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """How far a data set has come."""

    manifest: Manifest
    tally: Tally
    shards: int  # that are there
    disk_bytes: int | None  # that they take; None where the file system does not say

    @property
    def failed_by_class(self) -> dict[str, int]:
        """Rows whose solve failed, by status class."""
        return {name: len(indices) for name, indices in self.tally.failed.items()}


def summarise(url: "str | os.PathLike[str]") -> Summary:
    """Count, hash and time the rows of a data set from the footers of its shards; it may be growing.

    Raises DataError, with the name of the shard, where one has no footer. Damage elsewhere in a
    shard is found by `verify`.
    """
    folder = Folder.at(url)
    manifest = Manifest.read(folder)
    try:
        return _count(folder, manifest)
    except DataError:  # a run may have put a better file in the place of one, once
        return _count(folder, manifest)


def _count(folder: Folder, manifest: Manifest) -> Summary:
    shards, _ = complete_shards(folder, manifest)
    tally = Tally.sum(read_tallies(folder, shards))
    return Summary(manifest=manifest, tally=tally, shards=len(shards), disk_bytes=folder.size(s.name for s in shards))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What a folder holds of the shards that it is to hold."""

    wanted: int
    missing: int  # no file, or one that the growth of the data set left too short
    damaged: tuple[str, ...]  # a sentence a file that is not what it should be

    @property
    def present(self) -> int:
        """Shards that are there, be they damaged."""
        return self.wanted - self.missing


def verify(url: "str | os.PathLike[str]") -> Verification:
    """Check every shard file against the checksum in its name and the rows it should hold.

    The rows of a campaign must have the keys of the devices that the campaign draws.
    """
    folder = Folder.at(url)
    manifest = Manifest.read(folder)
    there: set[int] = set()
    sentences = []
    for shard in list_shards(folder):
        try:
            rows = parse(folder, shard, read_shard(folder, shard), manifest)
            _refuse_strangers(folder, shard, manifest, rows)
        except DataError as error:
            sentences.append(str(error))
            there.add(shard.number)
        else:
            if len(rows) == len(manifest.shard_rows(shard.number)):
                there.add(shard.number)
    missing = sum(number not in there for number in manifest.numbers)
    return Verification(wanted=manifest.shards, missing=missing, damaged=tuple(sentences))


def _refuse_strangers(folder: Folder, shard: Shard, manifest: Manifest, rows: Rows) -> None:
    """DataError where the rows are not those of the campaign: of another seed, say."""
    recipe, space = manifest.recipe, manifest.space
    if space is None or not {"design", "seed"} <= set(recipe) or not len(rows):
        return
    devices, drive = designs.at(space, recipe["design"], rows.index, recipe["seed"])
    columns = drive_values(drive, len(rows))
    if not np.array_equal(rows.key, keys_of(devices, manifest.drive, columns, manifest.samples, manifest.method)):
        raise DataError(
            f"{folder.path(shard.name)} has devices that this campaign does not draw; "
            "remove the file and run the campaign again."
        )
