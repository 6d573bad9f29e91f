"""How an answer travels back: arrays by name, one entry a device, as an Arrow stream or JSON.

Times and voltages do not travel to programs: they follow from the drive and the samples a cycle.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from memflux.errors import ServiceError
from memflux.platform.serving.streams import write_stream

ROWS_A_BATCH = 8_192  # of an Arrow stream


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """What is said of B devices: arrays [B] or [B, K] of numbers, flags or words, and what holds for all."""

    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, object]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def part(self, rows: slice) -> "Answer":
        """The answer for some of the devices."""
        return Answer(arrays={name: array[rows] for name, array in self.arrays.items()}, about=self.about)

    def to_arrow(self) -> bytes:
        """An Arrow stream; `about` lies in its metadata."""
        parts = range(0, max(len(self), 1), ROWS_A_BATCH)
        batches = [{n: _column(a[k : k + ROWS_A_BATCH]) for n, a in self.arrays.items()} for k in parts]
        return write_stream(batches, self.about)

    def to_json(self) -> dict[str, object]:
        """Lists by name beside `about`; null stands for NaN."""
        return {**self.about, **{name: listed(array) for name, array in self.arrays.items()}}


def read(body: bytes, shapes: Mapping[str, tuple[int, ...]], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of an Arrow answer that `shapes` names; numbers of 32 bits stay so.

    A first size of -1 takes any number of devices. Raises ServiceError where one that is not `optional` is
    missing, or one is of another shape.
    """
    try:
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        raise ServiceError(f"the endpoint's answer is not an Arrow stream: {error}") from None
    if missing := set(shapes) - set(optional) - set(table.column_names):
        raise ServiceError(f"the endpoint sent no {', '.join(sorted(missing))}; update the older side.")
    found = {}
    for name in set(shapes) & set(table.column_names):
        array, (count, *rest) = _array(table[name]), shapes[name]
        if count not in (len(table), -1) or array.size != len(table) * math.prod(rest):
            raise ServiceError(
                f"the endpoint sent {array.size} values of {name} for {len(table)} devices; expected {count} "
                f"times {math.prod(rest)}."
            )
        found[name] = array.reshape(len(table), *rest)
    return found


def listed(array: np.ndarray) -> list:
    """Nested lists with null for NaN, which JSON has no word for."""
    plain = np.asarray(array).astype(object)
    if array.dtype.kind == "f":
        plain[~np.isfinite(array)] = None
    return plain.tolist()


def _column(array: np.ndarray) -> pa.Array:
    if array.dtype.kind == "O":
        return pa.array(array.astype(str)).dictionary_encode()
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).ravel()), array.shape[1])


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """The entries of a column, those of lists end to end."""
    parts = list(_parts(column))
    return np.concatenate(parts) if parts else np.empty(0)


def _parts(column: pa.ChunkedArray) -> Iterator[np.ndarray]:
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):  # one object a distinct word
            yield np.array(chunk.dictionary.to_pylist(), dtype=object)[chunk.indices.to_numpy()]
        elif pa.types.is_fixed_size_list(chunk.type):
            yield chunk.flatten().to_numpy(zero_copy_only=False)
        else:
            yield chunk.to_numpy(zero_copy_only=False)
