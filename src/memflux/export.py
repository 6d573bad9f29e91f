"""A data set as one file for other programs: NetCDF-4, HDF5 or CSV, written shard by shard."""

import contextlib
import errno
import io
import itertools
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from memflux import __version__
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue, MissingDependency, check_choice
from memflux.folder import Folder
from memflux.shards import Manifest, Shard, complete_shards, parse, read_shard, read_tallies

if TYPE_CHECKING:
    import h5netcdf
    import xarray

BLOCK = 1024  # rows written together, so that a file of small shards takes no longer
CHUNK_BYTES = 2**18  # of a variable in the file; several fit the cache that HDF5 has for each
ATTRIBUTE_BYTES = 60_000  # HDF5 keeps an attribute in the header of its object, which has 64 KiB
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SUFFIXES: Mapping[str, str] = {".nc": "netcdf", ".h5": "hdf5", ".csv": "csv"}


def export(
    url: "str | os.PathLike[str]",
    target: "str | os.PathLike[str]",
    file_format: str | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Write the rows that the data set at `url` has to the file `target`; how many they are.

    "netcdf" (.nc) is what xarray opens as `Dataset.to_xarray()`, with units, and the manifest in the
    attributes of the file; "hdf5" (.h5) is the same, since NetCDF-4 is HDF5. "csv" (.csv) has a line
    a device: index, device, drive, status, then voltage_000 .. and current_000 .. in SI units
    (energies in eV), empty where there is no value. None: by the suffix.
    Memory holds one shard and a block of rows. The file appears whole or not at all.

    Raises InvalidValue for an unknown format and a target that is there already (unless
    `overwrite`), DataError where a shard is damaged or the file cannot be written,
    MissingDependency without h5netcdf.
    """
    path = Path(target)
    write = _writer(path, file_format)
    if os.path.exists(path) and not overwrite:  # Path.exists raises where the folder may not be looked into
        raise InvalidValue(f"{path} is there already; give another name, or overwrite it on purpose.")
    folder = Folder.at(url)
    manifest = Manifest.read(folder)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        shards = _shards(folder, manifest)
        rows = sum(tally.rows for tally in read_tallies(folder, shards))
        write(temporary, manifest, rows, _blocks(folder, manifest, shards))
        _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(_refusal(path, error)) from None
    finally:
        with contextlib.suppress(OSError):  # where it could not be made, a file may stand for the folder
            temporary.unlink()
    return rows


def _refusal(path: Path, error: OSError) -> str:
    # pyarrow has the name of its own file and more words in strerror
    cause = os.strerror(error.errno) if error.errno else str(error)
    remedy = "make room, or choose another folder" if error.errno in _FULL else "choose another folder"
    return f"{path} cannot be written: {cause}; {remedy}."


_Writer = Callable[[Path, Manifest, int, Iterator[list[Dataset]]], None]


def _writer(path: Path, file_format: str | None) -> _Writer:
    if file_format is None and path.suffix not in _SUFFIXES:
        raise InvalidValue(f"{path} ends with none of {', '.join(_SUFFIXES)}; give such a name, or the format.")
    chosen = check_choice("format", file_format or _SUFFIXES[path.suffix], _SUFFIXES.values())
    if chosen == "csv":
        return _write_csv
    try:
        import h5netcdf  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            f"{chosen} needs h5netcdf ({error}); pip install 'memflux[export]', or write a .csv."
        ) from None
    return _write_netcdf


def _shards(folder: Folder, manifest: Manifest) -> list[Shard]:
    shards, _ = complete_shards(folder, manifest)
    if not shards:
        raise DataError(f"{folder.url} has no shards yet; run its campaign first.")
    return shards


def _blocks(folder: Folder, manifest: Manifest, shards: list[Shard]) -> Iterator[list[Dataset]]:
    """The data set in order, as lists of shards with at least BLOCK rows together."""
    block: list[Dataset] = []
    for shard in shards:
        block.append(Dataset.of(manifest, parse(folder, shard, read_shard(folder, shard), manifest)))
        if sum(map(len, block)) >= BLOCK:
            yield block
            block = []
    if block:
        yield block


def _sync(path: Path) -> None:
    """Have the file on the disk, ahead of the name that says it is complete."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


# ---- NetCDF-4, which is HDF5 ------------------------------------------------------------------


def _write_netcdf(path: Path, manifest: Manifest, rows: int, blocks: Iterator[list[Dataset]]) -> None:
    """In a thread, where Ctrl-C is not raised: within a write that HDF5 asked for it would crash or be swallowed."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        try:
            work = thread.submit(_fill, path, manifest, rows, blocks, stop)
            while wait([work], timeout=0.2).not_done:
                pass  # a wait without end is not interrupted where polars handles Ctrl-C too
            work.result()
        finally:
            stop.set()


def _fill(path: Path, manifest: Manifest, rows: int, blocks: Iterator[list[Dataset]], stop: threading.Event) -> None:
    """Dimensions are of fixed size: with an unlimited one xarray takes seconds to open a file of fifty variables."""
    import h5netcdf

    done = 0
    with _Disk(path, "w+") as disk, h5netcdf.File(disk, "w") as file:
        file.dimensions = {"device": rows, "sample": manifest.samples * manifest.cycles + 1}
        for name, value in _provenance(manifest).items():
            file.attrs[name] = value
        for block in blocks:
            done = _append(file, [part.to_xarray() for part in block], done)
            disk.check()
            if stop.is_set():
                break


class _Disk(io.FileIO):
    """The file below HDF5, which must not learn that a disk is full: closing a file with writes that fail crashes it.

    From the first write that fails on, what HDF5 writes is kept in memory, and is there when it is
    read again; `check` and `close` raise the failure. Checked after every block, it stays small.
    """

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self._failure: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        start, rest = self.tell(), memoryview(data)
        try:
            while rest and not self._failure:
                rest = rest[super().write(rest) :]  # the last of the room takes a part
        except OSError as error:
            self._failure = error
        if self._failure:
            self._kept.append((start, bytes(data)))
        return len(data)

    def readinto(self, buffer: Any) -> int:
        start, view = self.tell(), memoryview(buffer)
        count = super().readinto(view)
        if not self._kept:
            return count
        view[count:] = bytes(len(view) - count)
        for first, data in self._kept:
            low, high = max(start, first), min(start + len(view), first + len(data))
            if low < high:
                view[low - start : high - start] = data[low - first : high - first]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return self.tell() if size is None else size

    def check(self) -> None:
        if self._failure:
            raise self._failure

    def close(self) -> None:
        super().close()
        self.check()


def _append(file: "h5netcdf.File", parts: "list[xarray.Dataset]", first: int) -> int:
    """Write parts behind the `first` rows that are there; how many rows there are then."""
    last = first + sum(part.sizes["device"] for part in parts)
    models = {name: variable for part in parts for name, variable in part.variables.items()}
    for name, model in models.items():
        if name not in file.variables:
            _create(file, str(name), model)
    for name, model in models.items():
        if model.dims[0] == "device":
            # a variable that a part lacks, as shards without an answer do, is NaN there
            given = [
                np.asarray(p[name]) if name in p else np.full((p.sizes["device"], *model.shape[1:]), np.nan)
                for p in parts
            ]
            file[str(name)][first:last] = np.concatenate(given)
    return last


def _create(file: "h5netcdf.File", name: str, model: "xarray.Variable") -> None:
    """A variable as `model` is, for all rows; xarray's own conventions for what NetCDF lacks."""
    import h5py

    kind = model.dtype.kind
    numeric = kind in "fi"
    if model.dims == ("sample",):
        file.create_variable(name, model.dims, data=model.values)
        return
    variable = file.create_variable(
        name,
        model.dims,
        dtype=model.dtype if numeric else np.int8 if kind == "b" else h5py.string_dtype("utf-8"),
        fillvalue=np.nan if kind == "f" else None,
        chunks=_chunks((len(file.dimensions["device"]), *model.shape[1:])),
        **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if numeric else {}),
    )
    for attribute, value in model.attrs.items():
        variable.attrs[attribute] = value
    if kind == "b":
        variable.attrs["dtype"] = "bool"
    if model.ndim == 2:
        variable.attrs["coordinates"] = "phase"


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    rows, *rest = shape
    return (max(1, min(rows, BLOCK, CHUNK_BYTES // (8 * int(np.prod(rest, dtype=np.int64))))), *rest)


def _provenance(manifest: Manifest) -> dict[str, Any]:
    """Where the rows come from: the fields of the manifest, JSON where they are no plain values."""
    attributes: dict[str, Any] = {"source": f"memflux {__version__}"}
    for name, value in json.loads(manifest.to_json()).items():
        plain = isinstance(value, str | int | float)
        text = value if plain else json.dumps(value)
        too_long = isinstance(text, str) and len(text.encode()) > ATTRIBUTE_BYTES
        attributes[name] = f"{len(text)} characters, see the manifest of the data set" if too_long else text
    return attributes


# ---- CSV --------------------------------------------------------------------------------------


def _write_csv(path: Path, manifest: Manifest, _rows: int, blocks: Iterator[list[Dataset]]) -> None:
    parts = itertools.chain.from_iterable(blocks)
    first = _lines(next(parts))
    with csv.CSVWriter(str(path), first.schema) as file:
        for table in itertools.chain([first], map(_lines, parts)):
            file.write_table(table)


def _lines(part: Dataset) -> pa.Table:
    """A row a device with a column a sample; what is not a number is null, an empty cell."""
    columns: dict[str, np.ndarray] = {"index": part.index} | part.devices.columns() | dict(part.rows.drive)
    columns |= {"status_class": part.status_class, "status": part.status}
    samples = part.traces.voltage.shape[1]
    digits = max(3, len(str(samples - 1)))
    for name, values in (("voltage", part.traces.voltage), ("current", part.traces.current)):
        columns |= {f"{name}_{k:0{digits}}": values[:, k] for k in range(samples)}
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: np.ndarray) -> pa.Array:
    if values.dtype.kind == "f":
        return pa.array(np.ascontiguousarray(values), mask=np.isnan(values))
    return pa.array(values) if values.dtype.kind in "bi" else pa.array(values.astype(object), pa.string())
