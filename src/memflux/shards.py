"""The files of a data set: the manifest, and Parquet shards whose names certify their content."""

import bisect
import concurrent.futures
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memflux.errors import DataError, InvalidValue, check_integer
from memflux.folder import Folder
from memflux.rows import REPEATED, Method, Rows, drive_columns, keys_of, unknown_classes
from memflux.space import Space
from memflux.tally import BEGINNING, Tally

FORMAT = 2  # of the folder; a reader refuses any other
MANIFEST = "manifest.json"
READERS = 8  # threads that read shards
TAIL = 2**15  # bytes at the end of a shard that hold its footer, as a rule
_TALLY = b"memflux"  # key of the tally in the footer
_SHARD = re.compile(r"shard-(\d{6,})-([0-9a-f]{16})\.parquet")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Manifest:
    """What a data set is to hold: the file `manifest.json`.

    Row i is draw i of the campaign. Wanted are the first `count` and the `chosen` ones beyond; a shard holds
    those of its block of `shard_size` indices, so growth of either moves no row.
    """

    recipe: Mapping[str, Any]  # the resolved campaign, or where the rows come from
    space: Space | None
    drive: Mapping[str, Any]  # kind and constants of the drive; what varies is in the rows
    samples: int  # a cycle
    cycles: int
    count: int  # first rows wanted
    shard_size: int  # indices a shard spans; the last one may have fewer, those of chosen rows most often do
    method: Method  # what solves them
    chosen: tuple[int, ...] = ()  # further rows wanted, ascending; each `count` or more

    def choosing(self, draws: Iterable[int], count: int) -> Self:
        """The same with more rows wanted: the first `count`, and `draws` beside those chosen before."""
        wanted = {int(i) for i in (*self.chosen, *draws) if i >= count}
        return dataclasses.replace(self, count=count, chosen=tuple(sorted(wanted)))

    def to_json(self) -> bytes:
        """The content of `manifest.json`."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["space"] = None if self.space is None else self.space.to_dict()
        fields["method"] = dataclasses.asdict(self.method)
        if not self.chosen:
            del fields["chosen"]  # as most data sets are: versions that know of none read them
        return json.dumps({"format": FORMAT, **fields}, indent=1).encode()

    @classmethod
    def read(cls, folder: Folder) -> Self:
        """The manifest of a folder; DataError where there is none that this version can read."""
        if not folder.exists(MANIFEST):
            raise DataError(f"{folder.url} has no {MANIFEST}; it is no data set (or the address is wrong).")
        try:
            fields = json.loads(folder.read(MANIFEST))
            version = fields.pop("format")
            if version != FORMAT:
                raise DataError(
                    f"{folder.url} has format {version} and this memflux reads format {FORMAT}; "
                    + (
                        "upgrade memflux."
                        if version > FORMAT
                        else "make the data set anew, or read it with an older one."
                    )
                )
            for name in ("samples", "cycles", "count", "shard_size"):
                check_integer(name, fields[name], low=1, high=2**40)
            drive_columns(fields["drive"])
            space = fields.pop("space")
            method = Method(**fields.pop("method"))
            chosen = [check_integer("chosen", i, low=fields["count"], high=2**40) for i in fields.pop("chosen", ())]
            plain = cls(space=None if space is None else Space.from_dict(space), method=method, **fields)
            return plain.choosing(chosen, plain.count)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{folder.path(MANIFEST)} is damaged or of another version: {error}") from None

    def shard_rows(self, number: int) -> range | list[int]:
        """The indices of the rows that shard `number` is to hold, ascending."""
        first, last = number * self.shard_size, (number + 1) * self.shard_size
        low, high = (bisect.bisect_left(self.chosen, end) for end in (first, last))
        early = range(first, min(last, self.count))
        return early if low == high else [*early, *self.chosen[low:high]]

    @property
    def rows(self) -> int:
        """How many rows the whole data set has."""
        return self.count + len(self.chosen)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all shards of the whole data set, ascending."""
        early = -(-self.count // self.shard_size)
        return [*range(early), *sorted({i // self.shard_size for i in self.chosen if i >= early * self.shard_size})]

    @property
    def shards(self) -> int:
        """How many shards the whole data set has."""
        return len(self.numbers)


class Shard(NamedTuple):
    """A shard by its number and file name; the name carries the start of its SHA-256."""

    number: int
    name: str


def list_shards(folder: Folder) -> list[Shard]:
    """Every shard file, by number and name."""
    found = ((_SHARD.fullmatch(name), name) for name in folder.names())
    return sorted(Shard(int(match[1]), name) for match, name in found if match)


def write_shard(folder: Folder, number: int, rows: Rows) -> str:
    """Write one shard, so that it appears whole under the name that certifies it; the name."""
    content = _encode(rows.to_table(), Tally.of(rows))
    name = shard_name(number, content)
    folder.write(name, content)
    return name


def shard_name(number: int, content: bytes) -> str:
    """The file name that certifies the content of shard `number`."""
    return f"shard-{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def sizes_on_disk(parts: Sequence[Rows]) -> tuple[float, float]:
    """Bytes that a shard takes however many rows it has, and bytes a row, as these rows have them."""
    table = pa.concat_tables([rows.to_table() for rows in parts], promote_options="default")
    fixed = len(_encode(table.slice(0, 0), Tally()))
    return float(fixed), (len(_encode(table, Tally())) - fixed) / table.num_rows


def _encode(table: pa.Table, tally: Tally) -> bytes:
    sink = io.BytesIO()
    table = table.replace_schema_metadata({_TALLY: tally.to_json()})
    lists = [name for name in ("voltage", "current", "conduction") if name in table.column_names]
    encoding = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in lists}
    pq.write_table(table, sink, compression="zstd", use_dictionary=list(REPEATED), column_encoding=encoding)
    return sink.getvalue()


def read_shard(folder: Folder, shard: Shard, columns: list[str] | None = None) -> pa.Table:
    """The table of one shard. Raises DataError, naming it, where its content is not what its name says."""
    content = folder.read(shard.name)
    if not certified(shard, content):
        raise DataError(
            f"{folder.path(shard.name)} is damaged or truncated ({len(content)} bytes do not match its name); "
            "run the campaign again, which makes it anew."
        )
    try:
        return pq.read_table(io.BytesIO(content), columns=columns, read_dictionary=list(REPEATED))
    except pa.ArrowException as error:
        raise DataError(f"{folder.path(shard.name)} is not a Parquet file that can be read: {error}") from None


def read_tally(folder: Folder, shard: Shard) -> Tally:
    """What the rows of a shard add up to, from its footer alone. Raises DataError, naming it, where there is none."""
    tail = folder.tail(shard.name, TAIL)
    length = int.from_bytes(tail[-8:-4], "little")
    if length + 8 > len(tail):
        tail = folder.tail(shard.name, length + 8)
    try:
        return _tally_in(tail)
    except ValueError as error:
        raise DataError(
            f"{folder.path(shard.name)} is damaged or truncated ({error}); run the campaign again, which makes it anew."
        ) from None


def _tally_in(tail: bytes) -> Tally:
    """The tally in a file, or in the end of one that holds its footer. Raises ValueError where there is none.

    Parquet keeps metadata as they were given, so the tally is found as text, which takes a
    hundredth of the time that parsing the description of all columns takes.
    """
    found = tail.rfind(BEGINNING, -int.from_bytes(tail[-8:-4], "little") - 8)
    if tail[-4:] != b"PAR1" or found < 0:
        raise ValueError("no footer")
    return Tally.from_json(tail[found:])


def read_tallies(folder: Folder, shards: Sequence[Shard]) -> list[Tally]:
    """The tally of each shard; from another machine's file system, several at a time."""
    if folder.local:
        return [read_tally(folder, shard) for shard in shards]
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda shard: read_tally(folder, shard), shards))


def read_columns(folder: Folder, shard: Shard, columns: list[str]) -> pa.Table:
    """Some columns of a shard, for statistics: nothing else of the file is read, so its checksum is not looked at."""
    try:
        with folder.fs.open(folder.path(shard.name)) as file:
            return pq.read_table(file, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{folder.path(shard.name)} cannot be read: {error}.") from None


def damaged_files(folder: Folder, manifest: Manifest, stopped: Callable[[], bool] = lambda: False) -> list[Shard]:
    """The shard files whose content is not what their names say; every file is read, none parsed.

    Once `stopped()`, no more of them are read.
    """

    def sound(shard: Shard) -> bool:
        if stopped():
            return True
        content = folder.read(shard.name)
        if not certified(shard, content):
            return False
        try:
            return _tally_in(content).first in manifest.shard_rows(shard.number)
        except ValueError:
            return False

    shards = list_shards(folder)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        return [shard for shard, good in zip(shards, pool.map(sound, shards), strict=True) if not good]


def certified(shard: Shard, content: bytes) -> bool:
    """Whether the content of a shard file is what its name says."""
    return shard.name == shard_name(shard.number, content)


def complete_shards(folder: Folder, manifest: Manifest) -> tuple[list[Shard], list[Shard]]:
    """The shards that count, one a number, and the copies they supersede.

    Files with one number come from a shard that was made twice (a worker outlived its campaign), one
    that grew with `count` or `chosen`, or rows that were solved again: the one with most rows
    counts, then with fewest failures, then the latest.
    """
    copies: dict[int, list[Shard]] = {}
    wanted = set(manifest.numbers)
    for shard in list_shards(folder):
        if shard.number in wanted:
            copies.setdefault(shard.number, []).append(shard)
    superseded = []
    for rivals in copies.values():
        if len(rivals) > 1:
            rivals.sort(key=lambda shard: _merit(read_tally(folder, shard)), reverse=True)
            superseded += rivals[1:]
    return [rivals[0] for rivals in copies.values()], superseded


def _merit(tally: Tally) -> tuple[int, int, float]:
    return tally.rows, -tally.failures, max((moment for moment, _ in tally.finished), default=0.0)


def read_tables(folder: Folder, manifest: Manifest) -> Iterator[tuple[Shard, pa.Table]]:
    """The shards that count with their tables, in order, read ahead by a few threads."""
    shards, _ = complete_shards(folder, manifest)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        for first in range(0, len(shards), READERS):
            part = shards[first : first + READERS]
            yield from zip(part, pool.map(lambda shard: read_shard(folder, shard), part), strict=True)


def parse(folder: Folder, shard: Shard, table: pa.Table, manifest: Manifest) -> Rows:
    """The rows of one shard's table. Raises DataError, naming the shard, where they are not what it should hold."""
    try:
        rows = Rows.from_table(table, drive_columns(manifest.drive))
    except (DataError, InvalidValue, pa.ArrowException) as error:
        raise DataError(f"{folder.path(shard.name)} does not hold rows of this data set: {error}") from None
    ordered = np.all(np.diff(rows.index) > 0) and np.isin(rows.index, manifest.shard_rows(shard.number)).all()
    if not ordered or rows.current.shape[1] != manifest.samples * manifest.cycles + 1:
        raise DataError(f"{folder.path(shard.name)} does not hold the rows or samples that its number calls for.")
    if odd := unknown_classes(rows.status_class):
        raise DataError(f"{folder.path(shard.name)} has status {odd[0]!r}, unknown to this version; upgrade it.")
    if not np.array_equal(
        rows.key, keys_of(rows.devices, manifest.drive, rows.drive, manifest.samples, manifest.method)
    ):
        raise DataError(
            f"{folder.path(shard.name)} has rows that another solver made, or that were changed since; "
            "remove the file and run the campaign again."
        )
    return rows
