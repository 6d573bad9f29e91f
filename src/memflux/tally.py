"""What rows add up to: counts by class, the content hash, the work. Tallies of parts add up to that of the whole.

Each shard carries the tally of its rows, so that a million rows are counted by reading a few thousand footers.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from memflux.rows import Rows

BEGINNING = b'{"memflux_tally": 1, '  # of the JSON
_MODULUS = 2**256


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Of some rows."""

    rows: int = 0
    first: int = 0  # the smallest index
    failed: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)  # indices by status class
    content: int = 0  # sum of the rows' SHA-256, modulo 2**256
    work_s: float = 0.0  # s, of the solves, where they say so
    newton_steps: int = 0
    finished: Sequence[tuple[float, int]] = ()  # s since 1970, and rows: when each part was finished

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """The tally of `rows`."""
        bad = np.flatnonzero(~rows.solved)
        failed: dict[str, list[int]] = {}
        for name, index in zip(rows.status_class[bad], rows.index[bad], strict=True):
            failed.setdefault(str(name), []).append(int(index))
        return cls(
            rows=len(rows),
            first=int(rows.index.min(initial=2**62)),
            failed=failed,
            content=content_sum(rows),
            work_s=float(np.nansum(rows.biography["wall_time_s"])),
            newton_steps=int(np.maximum(rows.biography["newton_steps"], 0).sum()),
            finished=_moments(rows.biography["finished_at"]),
        )

    @classmethod
    def sum(cls, parts: "Sequence[Tally]") -> Self:
        """The tally of all rows of the parts."""
        failed: dict[str, list[int]] = {}
        for part in parts:
            for name, indices in part.failed.items():
                failed.setdefault(name, []).extend(indices)
        return cls(
            rows=sum(part.rows for part in parts),
            first=min((part.first for part in parts), default=0),
            failed=dict(sorted(failed.items())),
            content=sum(part.content for part in parts) % _MODULUS,
            work_s=sum((part.work_s for part in parts), start=0.0),
            newton_steps=sum(part.newton_steps for part in parts),
            finished=[moment for part in parts for moment in part.finished],
        )

    @property
    def failures(self) -> int:
        """Rows whose solve failed."""
        return sum(map(len, self.failed.values()))

    @property
    def content_hash(self) -> str:
        """Of keys, status classes and traces, whatever the shards; not of the biography.

        A sum, so that it needs no order and no second look at the rows: it finds accidents and
        differences between runs; somebody who forges rows on purpose is not its business.
        """
        return f"{self.content:064x}"

    def rate(self, window: float = 600.0) -> float | None:
        """Rows a second over the last `window` seconds of work; None where too few parts say when they ended."""
        if not self.finished:
            return None
        last = max(moment for moment, _ in self.finished)
        recent = sorted(part for part in self.finished if part[0] > last - window)
        span = last - recent[0][0]
        return sum(rows for _, rows in recent[1:]) / span if span > 0 else None

    def to_json(self) -> bytes:
        """What `from_json` reads."""
        fields = dataclasses.asdict(self) | {"content": self.content_hash}
        return BEGINNING + json.dumps(fields).removeprefix("{").encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The inverse of `to_json`; what follows in `text` is not read. Raises ValueError for anything else."""
        try:
            fields, _ = json.JSONDecoder().raw_decode(text.decode("latin-1"))
            del fields["memflux_tally"]
            finished = [(float(moment), int(rows)) for moment, rows in fields["finished"]]
            return cls(**fields | {"content": int(fields["content"], 16), "finished": finished})
        except (KeyError, TypeError) as error:
            raise ValueError(f"no tally: {error}") from None


def _moments(finished_at: np.ndarray) -> list[tuple[float, int]]:
    moments, counts = np.unique(finished_at, return_counts=True)
    return list(zip(moments.tolist(), counts.tolist(), strict=True))


def content_sum(rows: Rows) -> int:
    """Sum of the SHA-256 of each row's content, modulo 2**256."""
    total = 0
    for first in range(0, len(rows), 1024):
        for row in rows[first : first + 1024].content():
            total += int.from_bytes(hashlib.sha256(row.data).digest(), "big")
    return total % _MODULUS
