"""A data set that grows by whatever others happen to solve: no campaign says which rows come next."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from memflux.errors import InvalidValue
from memflux.folder import Folder
from memflux.rows import Method, Rows, free_family
from memflux.shards import MANIFEST, Manifest, complete_shards, parse, read_columns, read_shard, write_shard
from memflux.space import Space

SHARD = 2**16  # currents of a full shard: an addition writes the one that is not full anew
MOST_ROWS = 1024  # of a shard


class Kept:
    """The one writer of such a data set. It remembers the keys of all rows (100 bytes each), and the shard that grows.

    Rows are numbered in the order in which they come. `Dataset.open` reads the folder at any moment after the first
    addition: the manifest announces rows before their shard is there, and a shard that has grown appears beside
    its older copy, which stays until the next addition for whoever is reading it.
    """

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        """Go on with a folder of that manifest, or begin one; `open` checks which. DataError where it is damaged."""
        self.folder, self.manifest = folder, manifest
        self._keys: set[str] = set()
        self._next = 0  # index of the next row
        self._growing: Rows | None = None  # rows of the shard that is not full
        self._file: str | None = None  # that holds them
        self._older: str | None = None  # a copy of it with fewer
        if folder.exists(MANIFEST):
            self._find()

    @classmethod
    def open(
        cls,
        url: "str | os.PathLike[str]",
        *,
        recipe: Mapping[str, Any],
        space: Space,
        drive: Mapping[str, Any],
        samples: int,
        method: Method,
    ) -> Self:
        """The data set at `url`, or a new one, whose files appear with its first rows.

        `recipe` says where rows come from, `drive` is their family, `samples` those of a cycle, `method` what solves
        them. Raises InvalidValue where the folder holds a data set of which one of these is another.
        """
        folder, family = Folder.at(url), free_family(drive)
        cycles = int(family["cycles"])
        manifest = Manifest(
            recipe=dict(recipe),
            space=space,
            drive=family,
            samples=samples,
            cycles=cycles,
            count=1,
            shard_size=min(max(SHARD // (samples * cycles + 1), 1), MOST_ROWS),
            method=method,
        )
        if folder.exists(MANIFEST):
            there = Manifest.read(folder)
            _refuse_others(folder, there, manifest)
            manifest = there
        return cls(folder, manifest)

    def add(self, rows: Rows) -> int:
        """Write those of the rows whose key is new, whatever their index; how many these are.

        Raises DataError where the folder cannot be written; the same rows may then be given again. Raises InvalidValue
        for rows of another engine, version or number of samples.
        """
        self._check(rows)
        rows = self.new(rows)
        count = len(rows)
        while len(rows):
            room = self.manifest.shard_size - self._next % self.manifest.shard_size
            self._append(rows[:room])
            rows = rows[room:]
        return count

    def new(self, rows: Rows) -> Rows:
        """Those whose key is not there yet, each once."""
        first = {key: i for i, key in reversed(list(enumerate(rows.key))) if key not in self._keys}
        return rows[np.array(sorted(first.values()), dtype=np.int64)]

    def __len__(self) -> int:
        return len(self._keys)

    def _find(self) -> None:
        """What the folder holds."""
        shards, superseded = complete_shards(self.folder, self.manifest)
        for shard in superseded:
            self.folder.remove(shard.name)
        for shard in shards:
            columns = read_columns(self.folder, shard, ["index", "key"])
            self._keys.update(columns["key"].to_pylist())
            self._next = max(self._next, max(columns["index"].to_pylist()) + 1)
        if self._next % self.manifest.shard_size:
            self._file = shards[-1].name
            self._growing = parse(self.folder, shards[-1], read_shard(self.folder, shards[-1]), self.manifest)

    def _check(self, rows: Rows) -> None:
        known, times = self.manifest.method, self.manifest.samples * self.manifest.cycles + 1
        for name, wanted in (("engine", known.engine), ("solver_version", known.solver_version)):
            odd = np.flatnonzero(rows.biography[name] != wanted)
            if odd.size:
                raise InvalidValue(
                    f"{name} = {rows.biography[name][odd[0]]!r} of a row is not the {wanted!r} of {self.folder.url}; "
                    "keep such rows in another folder."
                )
        if rows.current.shape[1] != times:
            raise InvalidValue(
                f"rows of {rows.current.shape[1]} samples do not fit {self.folder.url}, whose rows have {times}; "
                "keep them in another folder."
            )

    def _append(self, rows: Rows) -> None:
        """Write rows that the shard which is not full has room for."""
        if self._older is not None:
            self.folder.remove(self._older)
            self._older = None
        number, end = self._next // self.manifest.shard_size, self._next + len(rows)
        rows = dataclasses.replace(rows, index=np.arange(self._next, end))
        whole = rows if self._growing is None else Rows.concatenate([self._growing, rows])
        announced = dataclasses.replace(self.manifest, count=end)
        self.folder.create()
        self.folder.write(MANIFEST, announced.to_json())
        name = write_shard(self.folder, number, whole)
        self.manifest, self._next, self._older = announced, end, self._file
        self._keys.update(rows.key.tolist())
        full = end % self.manifest.shard_size == 0
        self._growing, self._file = (None, None) if full else (whole, name)


def _refuse_others(folder: Folder, there: Manifest, wanted: Manifest) -> None:
    for what in ("recipe", "drive", "samples", "method"):
        if getattr(there, what) != getattr(wanted, what):
            raise InvalidValue(
                f"{folder.url} holds a data set of {what} = {getattr(there, what)}, not {getattr(wanted, what)}; give "
                "another folder."
            )
    if there.space != wanted.space:
        raise InvalidValue(
            f"{folder.url} holds a data set of another space than {wanted.space and wanted.space.name!r} (in its "
            "parameters, their ranges or a constant); give another folder."
        )
