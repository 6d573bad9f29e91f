"""Rows of a data set: devices, drives, traces and how they came about, as columns of an Arrow table.

A row is a device. Column names are the Device fields, the numbers of the drive ("amplitude",
"period"; other ones carry the prefix "drive_", because "width" is taken), "voltage" and
"current" (lists of float64 on the phase grid), "status_class", "status" and the biography.
"key" is the content address: what was solved, and by what.
"""

import dataclasses
import hashlib
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int, UInt8

from memflux import waveform
from memflux.device import FIELDS, OPTIONAL, Devices
from memflux.errors import DataError, InvalidValue
from memflux.space import DRIVE_PARAMETERS
from memflux.traces import SOLVED, STATUS_CLASSES, Traces
from memflux.waveform import Waveform

# How a row came about: no part of the content hash, because it differs from run to run.
BIOGRAPHY: Mapping[str, pa.DataType] = {
    "host": pa.string(),
    "pid": pa.int64(),
    "finished_at": pa.float64(),  # s since 1970, UTC
    "wall_time_s": pa.float64(),
    "newton_steps": pa.int64(),  # -1: the predictor does not say
    "rejected_steps": pa.int64(),
    "rescues": pa.int64(),
    "engine": pa.string(),
    "cpu_target": pa.string(),
    "solver_version": pa.string(),
}
REPEATED = ("contact_density", "status_class", "status", "host", "engine", "cpu_target", "solver_version")
CLASS_BYTES = 32  # width of a status class within the content hash
KEY_DIGITS = 32  # hexadecimal digits of a key


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """What solved the rows. Rows of different methods are different rows, and never mix in one data set."""

    control: str = ""
    engine: str = ""
    solver_version: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rows:
    """B rows as arrays."""

    index: Int[np.ndarray, " B"]
    key: np.ndarray  # [B] of str, see `keys_of`
    devices: Devices
    drive: Mapping[str, np.ndarray]  # column name to [B]
    voltage: Float[np.ndarray, "B T"]  # V
    current: Float[np.ndarray, "B T"]  # A; NaN from the level on that a failed solve did not reach
    conduction: Float[np.ndarray, "B T"] | None = None  # A
    status_class: np.ndarray  # [B] of str
    status: np.ndarray  # [B] of str
    biography: Mapping[str, np.ndarray]  # column name to [B]

    @classmethod
    def concatenate(cls, parts: "Sequence[Rows]") -> Self:
        """The rows of all parts (one family of drive, equally many samples), one after the other.

        A part without conduction has NaN there, where another one has it. Raises InvalidValue where there are none.
        """
        if not parts:
            raise InvalidValue("parts has no entries; give at least one.")

        def joined(values: "list[Mapping[str, np.ndarray]]") -> dict[str, np.ndarray]:
            return {name: np.concatenate([v[name] for v in values]) for name in values[0]}

        names = ("index", "key", "voltage", "current", "status_class", "status")
        unknown = [p.conduction is None for p in parts]
        conduction = [np.full_like(p.current, np.nan) if p.conduction is None else p.conduction for p in parts]
        return cls(
            devices=Devices.concatenate([p.devices for p in parts]),
            drive=joined([p.drive for p in parts]),
            biography=joined([p.biography for p in parts]),
            conduction=None if all(unknown) else np.concatenate(conduction),
            **joined([{name: getattr(p, name) for name in names} for p in parts]),
        )

    @property
    def solved(self) -> Bool[np.ndarray, " B"]:
        """Which rows were solved."""
        return np.asarray(self.status_class == SOLVED, dtype=bool)

    def to_table(self) -> pa.Table:
        """The rows as an Arrow table; an optional field is null where it is not given."""
        columns: dict[str, pa.Array] = {"index": pa.array(self.index, pa.int64()), "key": _array(self.key)}
        for name, values in self.devices.columns().items():
            columns[name] = pa.array(values, mask=np.isnan(values)) if name in OPTIONAL else _array(values)
        columns |= {name: pa.array(values, pa.float64()) for name, values in self.drive.items()}
        columns |= {"voltage": _lists(self.voltage), "current": _lists(self.current)}
        if self.conduction is not None:
            columns["conduction"] = _lists(self.conduction)
        columns |= {"status_class": _array(self.status_class), "status": _array(self.status)}
        columns |= {name: pa.array(self.biography[name], kind) for name, kind in BIOGRAPHY.items()}
        return pa.table(columns)

    @classmethod
    def from_table(cls, table: pa.Table, drive_columns: tuple[str, ...]) -> Self:
        """The inverse of `to_table`. Raises DataError where columns are missing or ragged."""
        wanted = {"index", "key", *FIELDS, *drive_columns, "voltage", "current", "status_class", "status", *BIOGRAPHY}
        if missing := sorted(wanted - set(table.column_names)):
            raise DataError(f"the table has no column {', '.join(missing)}.")
        lists = {name: _matrix(name, table[name]) for name in ("voltage", "current")}
        return cls(
            index=_values(table["index"]),
            key=_values(table["key"]),
            devices=Devices(**{name: _field(name, table[name]) for name in FIELDS}),
            drive={name: _values(table[name]) for name in drive_columns},
            conduction=_matrix("conduction", table["conduction"]) if "conduction" in table.column_names else None,
            status_class=_values(table["status_class"]),
            status=_values(table["status"]),
            biography={name: _values(table[name]) for name in BIOGRAPHY},
            **lists,
        )

    def content(self) -> UInt8[np.ndarray, "B W"]:
        """What the content hash covers, one row of bytes a device, independent of how rows are sharded.

        Index, key (which stands for device, drive and method), status class, voltage and current;
        every NaN is the same NaN.
        """
        block = np.concatenate([self.index.astype("<f8")[:, None], self.voltage, self.current], axis=1)
        block = np.ascontiguousarray(np.where(np.isnan(block), np.nan, block), dtype="<f8")
        names = [self.key.astype(f"S{KEY_DIGITS}"), self.status_class.astype(f"S{CLASS_BYTES}")]
        return np.concatenate([block.view(np.uint8), *(n.view(np.uint8).reshape(len(n), -1) for n in names)], axis=1)

    def __len__(self) -> int:
        return int(self.index.size)

    def __getitem__(self, rows: "slice | np.ndarray") -> Self:
        return dataclasses.replace(
            self,
            index=self.index[rows],
            key=self.key[rows],
            devices=self.devices[rows],
            drive={name: values[rows] for name, values in self.drive.items()},
            voltage=self.voltage[rows],
            current=self.current[rows],
            conduction=None if self.conduction is None else self.conduction[rows],
            status_class=self.status_class[rows],
            status=self.status[rows],
            biography={name: values[rows] for name, values in self.biography.items()},
        )


def drive_family(drive: Waveform) -> dict[str, Any]:
    """Kind and constants of a drive, JSON-ready: everything but the numbers that vary by device."""
    return {k: v for k, v in drive.to_dict().items() if k not in drive.bounds or np.ndim(getattr(drive, k)) == 0}


def free_family(family: Mapping[str, Any]) -> dict[str, Any]:
    """A family whose numbers are all left to the rows: what is the same for every drive that may stand beside it."""
    return {k: v for k, v in family.items() if k not in waveform.KINDS[family["kind"]].bounds}


def drive_columns(family: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that the drive's numbers go to, in a fixed order."""
    return tuple(_column_of(name) for name in waveform.KINDS[family["kind"]].bounds)


def drive_values(drive: Waveform, count: int) -> dict[str, np.ndarray]:
    """Column name to the numbers of the drive of `count` devices [count]."""
    return {_column_of(n): np.array(np.broadcast_to(getattr(drive, n), (count,)), np.float64) for n in drive.bounds}


def build_drive(family: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> Waveform:
    """The drive of all rows: one where the family fixes every number, else a batch."""
    names = waveform.KINDS[family["kind"]].bounds
    return waveform.from_dict({**family, **{n: columns[_column_of(n)] for n in names if n not in family}})


def _column_of(name: str) -> str:
    return name if name in DRIVE_PARAMETERS else f"drive_{name}"


def rows_of(
    index: np.ndarray,
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    method: Method,
    biography: Mapping[str, object] | None = None,
) -> Rows:
    """Rows from a solve; what `biography` does not say is filled in here and from the history.

    Raises InvalidValue where the traces do not lie on the phase grid of the drive, because the
    data set stores no times.
    """
    samples, rest = divmod(traces.time.shape[1] - 1, traces.cycles)
    if rest or samples < 4 or not np.allclose(traces.time, drive.grid(samples)[0], rtol=1e-12, atol=0.0):
        raise InvalidValue("the traces do not lie on the phase grid of their drive; use accurate or fast control.")
    columns = drive_values(drive, len(devices))
    by = {"engine": method.engine, "solver_version": method.solver_version}
    return Rows(
        index=np.asarray(index, dtype=np.int64),
        key=keys_of(devices, drive_family(drive), columns, samples, method),
        devices=devices,
        drive=columns,
        voltage=np.asarray(traces.voltage),
        current=np.asarray(traces.current),
        conduction=traces.conduction,
        status_class=traces.status_class,
        status=traces.status,
        biography=_biography(traces, by | dict(biography or {})),
    )


def keys_of(
    devices: Devices, family: Mapping[str, Any], drive: Mapping[str, np.ndarray], samples: int, method: Method
) -> np.ndarray:
    """Content addresses [B]: equal for equal devices, drives, samples a cycle and methods, on every machine.

    `family` and `drive` (column name to [B]) are the drive as `drive_family` and `Rows.drive` have it.
    """
    identity = devices.identity()
    text = identity.pop("contact_density").astype(f"S{CLASS_BYTES}")
    numbers = np.stack([v.astype("<f8") for v in (*identity.values(), *drive.values())], axis=1) + 0.0  # no -0.0
    varying = {name.removeprefix("drive_") for name in drive}
    constant = {name: value for name, value in family.items() if name not in varying}
    common = [constant, [*identity, *drive], samples, dataclasses.astuple(method)]
    begun = hashlib.sha256(json.dumps(common, sort_keys=True).encode())
    keys = np.empty(len(numbers), dtype=object)
    for i, row in enumerate(numbers):
        digest = begun.copy()
        digest.update(row.tobytes() + text[i])
        keys[i] = digest.hexdigest()[:KEY_DIGITS]
    return keys


def _biography(traces: Traces, known: Mapping[str, object]) -> dict[str, np.ndarray]:
    count = len(traces)
    histories = traces.history or (None,) * count
    told = {
        "newton_steps": [-1 if h is None else h.newton_steps for h in histories],
        "rejected_steps": [-1 if h is None else h.rejected.size for h in histories],
        "rescues": [-1 if h is None else h.rescues for h in histories],
        "wall_time_s": [float("nan") if h is None else h.wall_time for h in histories],
    }
    here = {"host": socket.gethostname(), "pid": os.getpid(), "finished_at": time.time(), "cpu_target": ""}
    full = here | told | dict(known)
    columns = {}
    for name, kind in BIOGRAPHY.items():
        dtype = object if pa.types.is_string(kind) else kind.to_pandas_dtype()
        columns[name] = np.array(np.broadcast_to(np.asarray(full[name], dtype=dtype), (count,)))
    return columns


def unknown_classes(status_class: np.ndarray) -> list[str]:
    """Status classes that this version does not know."""
    return sorted(set(np.unique(status_class.astype(str))) - set(STATUS_CLASSES))


def _array(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(object) if values.dtype.kind == "U" else values)


def _lists(values: np.ndarray) -> pa.ListArray:
    rows, length = values.shape
    offsets = (np.arange(rows + 1) * length).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).reshape(-1), pa.float64()))


def _matrix(name: str, column: pa.ChunkedArray) -> np.ndarray:
    """A list column as [B, T], without an object a row; a null is a row of NaN."""
    lengths = pc.min_max(pc.list_value_length(column)).as_py()
    if lengths["min"] != lengths["max"]:
        raise DataError(f"column {name} has lists of {lengths['min']} to {lengths['max']} values; they must be equal.")
    values = np.full((len(column), lengths["max"] or 0), np.nan)
    if column.null_count:
        column_valid = column.is_valid().to_numpy()
        values[column_valid] = pc.list_flatten(column.drop_null()).to_numpy().reshape(-1, values.shape[1])
    else:
        values = pc.list_flatten(column).to_numpy().reshape(values.shape)
    return values


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """A plain column; of strings, the repeated ones are shared objects."""
    if pa.types.is_dictionary(column.type):
        array = column.unify_dictionaries().combine_chunks()
        return array.dictionary.to_numpy(zero_copy_only=False).astype(object)[array.indices.to_numpy()]
    return column.to_numpy()


def _field(name: str, column: pa.ChunkedArray) -> np.ndarray:
    values = _values(column)
    if name == "contact_density":
        return values.astype("U16")
    return values.astype(bool if name == "barrier_lowering" else np.float64)
