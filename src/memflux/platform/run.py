"""The folder of one run: where each artefact of the main job lies, and how long each step took."""

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memflux.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """Names of the files of a run; the report is built from what is there."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> "RunFolder":
        """The run in the folder `path`, which must exist."""
        root = Path(path)
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the folder of a run (make demo makes runs/demo).")
        return cls(root=root)

    @property
    def dataset(self) -> Path:
        """The data set of the campaign."""
        return self.root / "data"

    @property
    def surrogate(self) -> Path:
        """The surrogate trained on it."""
        return self.root / "surrogate"

    def answer(self, name: str) -> Path:
        """The JSON file of an analysis: "sobol", "pareto" or "fit"."""
        return self.root / f"{name}.json"

    @property
    def checks(self) -> Path:
        """Answers computed again with the FV model."""
        return self.root / "checks.json"

    @property
    def timings(self) -> Path:
        """Seconds and amounts of the steps."""
        return self.root / "timings.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    def read(self, path: Path) -> Any:
        """JSON in one of the files, or None where it is absent; DataError where it is damaged."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}; run that step again.") from None

    def steps(self) -> list[dict[str, Any]]:
        """The recorded times of the steps, oldest first; DataError where the file holds something else."""
        rows = self.read(self.timings) or []
        wanted = {"what": str, "seconds": float | int, "amount": int, "unit": str}
        good = isinstance(rows, list) and all(
            isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in wanted.items())
            for row in rows
        )
        if not good:
            raise DataError(f"{self.timings} does not hold the times of steps; delete it, or run the steps again.")
        return rows

    def write(self, path: Path, value: Any) -> None:
        """JSON into one of the files, whole or not at all; what is not finite becomes null."""
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        partial.write_text(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)

    @contextlib.contextmanager
    def timed(self, what: str, amount: int, unit: str) -> Iterator[None]:
        """Record how long the block took for `amount` of `unit`."""
        began = time.perf_counter()
        yield
        self.record(what, time.perf_counter() - began, amount, unit)

    def record(self, what: str, seconds: float, amount: int, unit: str) -> None:
        """Keep the time of a step; a step done again replaces its record."""
        known = [row for row in self.steps() if row["what"] != what]
        self.write(self.timings, [*known, {"what": what, "seconds": seconds, "amount": amount, "unit": unit}])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
