"""The files of a sweep: the question in `sweep.json`, and Parquet shards whose names certify their content.

Shards are named and made whole as those of a data set are (decision 0005); their rows are answers,
not solutions, so they have no keys and no biography.
"""

import collections
import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from memflux import designs
from memflux.analysis.quantities import CURVES_AT_ONCE, POINTS_AT_ONCE, Quantity, label
from memflux.device import Devices
from memflux.errors import DataError, InvalidValue, check_bool, check_choice, check_integer
from memflux.folder import TEMPORARY, Folder
from memflux.shards import Shard, certified, list_shards, shard_name
from memflux.space import Space
from memflux.waveform import Waveform

FORMAT = 1  # of the folder; a reader refuses any other
MANIFEST = "sweep.json"
PART = CURVES_AT_ONCE  # devices asked at once; the last part is asked in full, so that no answer depends on the count
SHARD, SHARD_OF_CURVES = 16 * PART, 2 * PART  # rows; some 7 and 20 MB
ALIKE = 1e-4  # of the largest value among the probes: what precision and machine may change
_COUNTS = b"memflux"  # key of the counts in the footer of a shard


class Counts(NamedTuple):
    """What the rows of a shard add up to."""

    rows: int = 0
    outside: int = 0  # the space that the model was trained on
    failed: int = 0  # no curve
    undefined: int = 0  # some quantity without a value, failed ones included

    def plus(self, other: "Counts") -> "Counts":
        """The sums."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked of which devices. Row i depends on everything here but `count`."""

    space: Space
    count: int
    quantities: tuple[Quantity, ...] = ("symmetry", "on_off_ratio")
    design: str = "sobol"
    seed: int = 0
    curves: bool = False  # write the current of every device, too
    shard_size: int = 0  # rows, a multiple of PART; 0: as many as suit

    def __post_init__(self) -> None:
        check_integer("count", self.count, low=1, high=2**32 - POINTS_AT_ONCE)
        check_choice("design", self.design, designs.DESIGNS)
        check_integer("seed", self.seed, low=0, high=2**63 - 1)
        check_bool("curves", self.curves)
        if not self.quantities and not self.curves:
            raise InvalidValue("quantities are empty; give one or more, or ask for curves.")
        names = ["index", *self.space.names, "inside", "status_class", *self.labels, "current"]
        if repeated := [name for name, times in collections.Counter(names).items() if times > 1]:
            raise InvalidValue(f"{repeated[0]} would be the name of two columns; give each quantity once.")
        size = self.shard_size or (SHARD_OF_CURVES if self.curves else SHARD)
        check_integer("shard_size", size, low=PART, high=2**17 if self.curves else 2**24)
        if size % PART:
            raise InvalidValue(f"shard_size = {size} is not a multiple of {PART}; give {size // PART * PART}.")
        object.__setattr__(self, "shard_size", size)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns of the quantities."""
        return tuple(label(q) for q in self.quantities)

    @property
    def shards(self) -> int:
        """How many shards the whole sweep has."""
        return -(-self.count // self.shard_size)

    def rows(self, number: int) -> range:
        """The rows of shard `number`."""
        first = number * self.shard_size
        return range(first, min(first + self.shard_size, self.count))

    def draw(self, first: int, count: int = PART) -> tuple[Devices, Waveform]:
        """Devices `first` .. `first + count - 1`, and their drive."""
        return designs.sample(self.space, self.design, count, self.seed, first)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; a function of one's own is its name."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields |= {"space": self.space.to_dict(), "quantities": list(self.labels)}
        return dict(json.loads(json.dumps(fields)))


def claim(folder: Folder, question: Question, answers: Float[np.ndarray, "K A"]) -> None:
    """Make the folder this sweep's, or check that it is; only `count` may grow.

    `answers` are what the model says to a few devices of the question: another model is known by
    them, wherever it lies. Raises InvalidValue for another question or model, DataError for a folder
    of something else.
    """
    wanted = question.to_dict()
    if folder.exists(MANIFEST):
        have = _read(folder)
        known = np.array(have.pop("answers"), dtype=np.float64)
        _refuse_other(folder, have, wanted)
        if not alike(known, answers):
            raise InvalidValue(
                f"the model answers otherwise than the one that {folder.url} was begun with; "
                "ask that one, or choose another folder."
            )
        if have["count"] == wanted["count"]:
            return
        answers = known
    elif list_shards(folder):
        raise DataError(f"{folder.url} has shards and no {MANIFEST}; put it back, or choose another folder.")
    plain = [[None if np.isnan(x) else x for x in row] for row in answers.tolist()]
    folder.write(MANIFEST, json.dumps({"format": FORMAT, **wanted, "answers": plain}, indent=1).encode())


def _read(folder: Folder) -> dict[str, Any]:
    try:
        fields = dict(json.loads(folder.read(MANIFEST)))
        version = fields.pop("format")
        if version == FORMAT and {"count", "answers"} <= set(fields):
            return fields
    except (ValueError, KeyError, TypeError):
        version = "?"
    raise DataError(
        f"{folder.path(MANIFEST)} is damaged or of another version (format {version}, this memflux writes {FORMAT}); "
        "choose another folder."
    )


def _refuse_other(folder: Folder, have: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, want in wanted.items():
        if name == "count" and want < have[name]:
            raise InvalidValue(
                f"count = {want} is below the {have[name]} rows that {folder.url} is to hold; "
                "only a larger count can be asked of it."
            )
        if name != "count" and have.get(name) != want:
            raise InvalidValue(
                f"{name} = {want!r} differs from the {have.get(name)!r} that {folder.url} was begun with; "
                "change it back or choose another folder (only count may grow)."
            )


def alike(known: np.ndarray, answers: np.ndarray) -> bool:
    """Whether each column is the same but for a little of its largest value, with the same gaps."""
    if known.shape != answers.shape or not np.array_equal(np.isnan(known), np.isnan(answers)):
        return False
    size = np.fmax.reduce(np.abs(known), axis=0)
    apart = np.fmax.reduce(np.abs(known - answers), axis=0)
    return bool((np.nan_to_num(apart) <= ALIKE * np.nan_to_num(size)).all())


def survey(folder: Folder, question: Question) -> tuple[Counts, list[int], list[Shard]]:
    """What the good shards add up to, the numbers of those to be made, and files to remove once they are.

    Damaged and half-written files are removed at once; a last shard that grows stays until the longer one is there.
    """
    for name in folder.names():
        if name.startswith(TEMPORARY):
            folder.remove(name)
    there: dict[int, Counts] = {}
    short = []
    for shard in list_shards(folder):
        content = folder.read(shard.name)
        counts = _counts(content) if certified(shard, content) else Counts()
        if counts.rows and counts.rows == len(question.rows(shard.number)):
            there[shard.number] = counts
        elif counts.rows:
            short.append(shard)
        else:
            folder.remove(shard.name)
    for shard in (s for s in short if s.number in there):  # a run was killed before it removed it
        folder.remove(shard.name)
    total = Counts()
    for counts in there.values():
        total = total.plus(counts)
    return total, [n for n in range(question.shards) if n not in there], short


def _counts(content: bytes) -> Counts:
    try:
        return Counts(**json.loads(pq.read_metadata(io.BytesIO(content)).metadata[_COUNTS]))
    except (pa.ArrowException, KeyError, ValueError, TypeError):
        return Counts()


def write(folder: Folder, question: Question, number: int, columns: Mapping[str, np.ndarray], counts: Counts) -> None:
    """Write one shard, so that it appears whole under the name that certifies it.

    `columns` are parameters and quantities, and what is known of "inside", "status_class" and "current".
    """
    rows = question.rows(number)
    kinds = {"inside": pa.bool_(), "status_class": pa.string()}
    arrays = {"index": pa.array(np.arange(rows.start, rows.stop), pa.int64())}
    for name in (*question.space.names, *kinds, *question.labels):
        kind = kinds.get(name, pa.float64())
        arrays[name] = pa.array(columns[name], kind) if name in columns else pa.nulls(len(rows), kind)
    if question.curves:
        current = columns["current"]
        ends = np.arange(0, current.size + 1, current.shape[1], dtype=np.int32)
        arrays["current"] = pa.ListArray.from_arrays(ends, current.ravel())
    plain = [name for name, array in arrays.items() if pa.types.is_floating(array.type)]
    sink = io.BytesIO()
    pq.write_table(
        pa.table(arrays).replace_schema_metadata({_COUNTS: json.dumps(counts._asdict())}),
        sink,
        compression="zstd",
        use_dictionary=["status_class"],
        column_encoding=dict.fromkeys([*plain, *(["current.list.element"] * question.curves)], "BYTE_STREAM_SPLIT"),
    )
    content = sink.getvalue()
    folder.write(shard_name(number, content), content)
