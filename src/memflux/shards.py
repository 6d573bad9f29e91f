"""The files of a data set: the manifest, and Parquet shards whose names certify their content."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.rows import REPEATED, Rows, drive_columns, unknown_classes
from memflux.space import Space

FORMAT = 1  # of the folder; a reader refuses a later one
MANIFEST = "manifest.json"
READERS = 8  # threads that read shards
_SHARD = re.compile(r"shard-(\d{6,})-([0-9a-f]{16})\.parquet")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Manifest:
    """What a data set is to hold: the file `manifest.json`."""

    recipe: Mapping[str, Any]  # the resolved campaign, or where the rows come from
    space: Space | None
    drive: Mapping[str, Any]  # kind and constants of the drive; what varies is in the rows
    samples: int  # a cycle
    cycles: int
    count: int  # rows wanted
    shard_size: int  # rows a shard; the last one may have fewer
    engine: str
    solver_version: str
    earlier_counts: Sequence[int] = ()  # what `count` was before it grew

    def to_json(self) -> bytes:
        """The content of `manifest.json`."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        space = None if self.space is None else self.space.to_dict()
        return json.dumps({"format": FORMAT, **fields, "space": space}, indent=1).encode()

    @classmethod
    def read(cls, folder: Folder) -> Self:
        """The manifest of a folder; DataError where there is none that this version can read."""
        if not folder.exists(MANIFEST):
            raise DataError(f"{folder.url} has no {MANIFEST}; it is no data set (or the address is wrong).")
        try:
            fields = json.loads(folder.read(MANIFEST))
            version = fields.pop("format")
            if version > FORMAT:
                raise DataError(f"{folder.url} has format {version}; this memflux reads up to {FORMAT}: upgrade it.")
            space = fields.pop("space")
            return cls(space=None if space is None else Space.from_dict(space), **fields)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, InvalidValue) as error:
            raise DataError(f"{folder.path(MANIFEST)} is damaged or of another version: {error}") from None

    def shard_rows(self, number: int) -> range:
        """The indices of the rows that shard `number` is to hold."""
        return range(number * self.shard_size, min((number + 1) * self.shard_size, self.count))

    @property
    def shards(self) -> int:
        """How many shards the whole data set has."""
        return -(-self.count // self.shard_size)


class Shard(NamedTuple):
    """A shard by its number and file name; the name carries the start of its SHA-256."""

    number: int
    name: str


def list_shards(folder: Folder) -> list[Shard]:
    """Every shard file, by number and name."""
    found = ((_SHARD.fullmatch(name), name) for name in folder.names())
    return sorted(Shard(int(match[1]), name) for match, name in found if match)


def write_shard(folder: Folder, number: int, table: pa.Table) -> str:
    """Write one shard, so that it appears whole under the name that certifies it; the name."""
    content = _encode(table)
    name = _name(number, content)
    folder.write(name, content)
    return name


def _name(number: int, content: bytes) -> str:
    return f"shard-{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def sizes_on_disk(parts: Sequence[Rows]) -> tuple[float, float]:
    """Bytes that a shard takes however many rows it has, and bytes a row, as these rows have them."""
    table = pa.concat_tables([rows.to_table() for rows in parts], promote_options="default")
    fixed = len(_encode(table.slice(0, 0)))
    return float(fixed), (len(_encode(table)) - fixed) / table.num_rows


def _encode(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    lists = [name for name in ("voltage", "current", "conduction") if name in table.column_names]
    encoding = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in lists}
    pq.write_table(table, sink, compression="zstd", use_dictionary=list(REPEATED), column_encoding=encoding)
    return sink.getvalue()


def read_shard(folder: Folder, shard: Shard, columns: list[str] | None = None) -> pa.Table:
    """The table of one shard. Raises DataError, naming it, where its content is not what its name says."""
    content = folder.read(shard.name)
    if not _certified(shard, content):
        raise DataError(
            f"{folder.path(shard.name)} is damaged or truncated ({len(content)} bytes do not match its name); "
            "run the campaign again, which makes it anew."
        )
    try:
        return pq.read_table(io.BytesIO(content), columns=columns, read_dictionary=list(REPEATED))
    except pa.ArrowException as error:
        raise DataError(f"{folder.path(shard.name)} is not a Parquet file that can be read: {error}") from None


def damaged_files(folder: Folder) -> list[Shard]:
    """The shard files whose content is not what their names certify; every file is read, none parsed."""
    shards = list_shards(folder)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        sound = pool.map(lambda shard: _certified(shard, folder.read(shard.name)), shards)
        return [shard for shard, good in zip(shards, sound, strict=True) if not good]


def _certified(shard: Shard, content: bytes) -> bool:
    return shard.name == _name(shard.number, content)


def complete_shards(folder: Folder, manifest: Manifest) -> tuple[list[Shard], list[Shard]]:
    """The shards that count, one a number, and the copies they supersede.

    Two files with one number come from a shard that was made twice (a worker outlived its
    campaign), or from a last shard that grew with `count`: the one with most rows counts.
    """
    files = [shard for shard in list_shards(folder) if shard.number < manifest.shards]
    copies = collections.Counter(shard.number for shard in files)
    chosen: dict[int, Shard] = {}
    superseded = []
    for shard in files:
        rival = chosen.setdefault(shard.number, shard)
        if copies[shard.number] > 1 and rival is not shard:
            better = shard if _size(folder, shard) > _size(folder, rival) else rival
            superseded.append(rival if better is shard else shard)
            chosen[shard.number] = better
    return list(chosen.values()), superseded


def missing_shards(folder: Folder, manifest: Manifest) -> list[int]:
    """The numbers of the shards that are still to be made, or to be made longer."""
    shards, _ = complete_shards(folder, manifest)
    cut = {count // manifest.shard_size for count in manifest.earlier_counts}
    whole = {s.number for s in shards if s.number not in cut or _size(folder, s) == len(manifest.shard_rows(s.number))}
    return [number for number in range(manifest.shards) if number not in whole]


def _size(folder: Folder, shard: Shard) -> int:
    return int(read_shard(folder, shard, columns=["index"]).num_rows)


def read_tables(folder: Folder, manifest: Manifest) -> Iterator[tuple[Shard, pa.Table]]:
    """The shards that count with their tables, in order, read ahead by a few threads."""
    shards, _ = complete_shards(folder, manifest)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        for first in range(0, len(shards), 8 * READERS):
            part = shards[first : first + 8 * READERS]
            yield from zip(part, pool.map(lambda shard: read_shard(folder, shard), part), strict=True)


def parse(folder: Folder, shard: Shard, table: pa.Table, manifest: Manifest) -> Rows:
    """The rows of one shard's table. Raises DataError, naming the shard, where they are not what it should hold."""
    try:
        rows = Rows.from_table(table, drive_columns(manifest.drive))
    except (DataError, InvalidValue, pa.ArrowException) as error:
        raise DataError(f"{folder.path(shard.name)} does not hold rows of this data set: {error}") from None
    expected = np.array(manifest.shard_rows(shard.number))[: len(rows)]
    if not np.array_equal(rows.index, expected) or rows.current.shape[1] != manifest.samples * manifest.cycles + 1:
        raise DataError(f"{folder.path(shard.name)} does not hold the rows or samples that its number calls for.")
    if odd := unknown_classes(rows.status_class):
        raise DataError(f"{folder.path(shard.name)} has status {odd[0]!r}, unknown to this version; upgrade it.")
    return rows
