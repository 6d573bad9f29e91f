"""How an answer travels back: currents, quantities, or a cost and its gradient; Arrow or JSON.

Times and voltages do not travel to programs: they follow from the drive and the samples a cycle.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from memflux.errors import ServiceError
from memflux.platform.serving.streams import write_stream
from memflux.traces import Traces


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curves:
    """What of B traces the drive does not determine."""

    current: np.ndarray  # A, [B, T]
    status_class: np.ndarray  # [B] of str
    status: np.ndarray  # [B] of str
    inside: np.ndarray | None  # [B] of bool


def curves_to_arrow(parts: Sequence[Traces], samples: int) -> bytes:
    """Traces on the phase grid, `samples` a cycle; one record batch a part."""
    return write_stream([_curve_columns(p) for p in parts], {"samples": samples, "cycles": parts[0].cycles})


def _curve_columns(traces: Traces) -> dict[str, pa.Array]:
    columns = {
        "current": _fixed(traces.current),
        "status_class": pa.array(traces.status_class.astype(str)).dictionary_encode(),
        "status": pa.array(traces.status.astype(str)).dictionary_encode(),
    }
    if traces.inside is not None:
        columns["inside"] = pa.array(traces.inside)
    return columns


def curves_from_arrow(body: bytes, count: int, times: int) -> Curves:
    """The inverse; ServiceError unless it holds `count` curves at `times` times."""
    table = _table(body, count, ("current", "status_class", "status"))
    current = _flat(table["current"])
    if current.size != count * times:
        raise ServiceError(f"the endpoint sent {current.size} currents for {count} devices at {times} times.")
    return Curves(
        current=current.reshape(count, times),
        status_class=_words(table["status_class"]),
        status=_words(table["status"]),
        inside=table["inside"].to_numpy() if "inside" in table.column_names else None,
    )


def curves_to_json(traces: Traces, samples: int) -> dict[str, object]:
    """Lists of time, voltage, current, status and inside; null stands for NaN."""
    return {
        "samples": samples,
        "cycles": traces.cycles,
        "time": listed(traces.time),
        "voltage": listed(traces.voltage),
        "current": listed(traces.current),
        "status": [str(s) for s in traces.status],
        "inside": None if traces.inside is None else traces.inside.tolist(),
    }


def arrays_to_arrow(arrays: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[str]]) -> bytes:
    """Arrays [B] or [B, K] by name; `labels` names the K columns of an array."""
    columns = {name: _fixed(a) if a.ndim == 2 else pa.array(a) for name, a in arrays.items()}
    return write_stream([columns], {name: list(names) for name, names in labels.items()})


def array_from_arrow(body: bytes, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array `name` of the given shape; ServiceError where it is missing or of another shape."""
    flat = _flat(_table(body, shape[0], (name,))[name])
    if flat.size != math.prod(shape):
        raise ServiceError(f"the endpoint sent {flat.size} values of {name}; expected the shape {shape}.")
    return flat.reshape(shape)


def listed(array: np.ndarray) -> list:
    """Nested lists with null for NaN, which JSON has no word for."""
    plain = np.asarray(array).astype(object)
    plain[~np.isfinite(array)] = None
    return plain.tolist()


def _fixed(array: np.ndarray) -> pa.Array:
    flat = np.ascontiguousarray(array, dtype=np.float64).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), array.shape[1])


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column of numbers or of lists of numbers, end to end."""
    chunks = [c.flatten() if pa.types.is_fixed_size_list(c.type) else c for c in column.chunks]
    return np.concatenate([c.to_numpy(zero_copy_only=False).astype(np.float64, copy=False) for c in chunks])


def _words(column: pa.ChunkedArray) -> np.ndarray:
    """The strings of a dictionary-encoded column, one object a distinct string."""
    return np.concatenate(
        [np.array(c.dictionary.to_pylist(), dtype=object)[c.indices.to_numpy()] for c in column.chunks]
    )


def _table(body: bytes, count: int, names: Sequence[str]) -> pa.Table:
    try:
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        raise ServiceError(f"the endpoint's answer is not an Arrow stream: {error}") from None
    if table.num_rows != count or not set(names) <= set(table.column_names):
        raise ServiceError(
            f"the endpoint sent {table.num_rows} rows of {', '.join(table.column_names)}; "
            f"expected {count} of {', '.join(names)}; update the older side."
        )
    return table
