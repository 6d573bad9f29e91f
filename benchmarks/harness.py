"""What every benchmark does alike: rows with bars, a table, a JSON file, an exit code.

A benchmark is a script with a list of functions, each of which measures one or more rows:

    python benchmarks/NAME.py [--quick] [--only ROW [--update]]

`--quick` runs smaller and writes nothing. `--update` puts what `--only` measured into the results
that are there, with its own date and commit: for a row that something else on the machine
disturbed. The exit code is 1 where a bar does not hold.
"""

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from memflux.platform.provenance import processor

RESULTS = Path(__file__).resolve().parent / "results"
ROOT = RESULTS.parents[1]


@dataclasses.dataclass(kw_only=True, slots=True)
class Row:
    """One figure; `bar` is the bound that it has to keep, None for a figure beside the claim."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    better: str = "lower"
    note: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.value = float(self.value)  # NumPy scalars are not JSON

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar


Measurement = Callable[[bool], Iterator[Row]]
"""Measure rows; the argument is `quick`."""


def run(name: str, measurements: Sequence[Measurement]) -> None:
    """Run the measurements that the command line asks for, print, write and exit."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller; writes nothing")
    parser.add_argument("--only", metavar="ROW", help="only the measurements whose name or rows contain this text")
    parser.add_argument("--update", action="store_true", help="with --only: replace or add these rows of the results")
    options = parser.parse_args()
    rows: list[Row] = []
    for measure in measurements:
        if options.only and options.only not in (measure.__doc__ or "") + measure.__name__:
            continue
        began = time.perf_counter()
        for row in measure(options.quick):
            row.seconds = time.perf_counter() - began
            began = time.perf_counter()
            rows.append(row)
            print(_line(row), flush=True)
    if options.update and options.only and not options.quick:
        _update(name, rows)
    elif not options.quick and not options.only:
        _write(name, rows)
    sys.exit(0 if rows and all(row.holds is not False for row in rows) else 1)


def _line(row: Row) -> str:
    mark = {True: "ok  ", False: "FAIL", None: "    "}[row.holds]
    sign = "<=" if row.better == "lower" else ">="
    bar = "" if row.bar is None else f"  ({sign} {row.bar:g})"
    note = f"  {row.note}" if row.note else ""
    return f"{mark} {row.what:<62} {row.value:>12.6g} {row.unit}{bar}{note}"


def _write(name: str, rows: Sequence[Row]) -> None:
    document = {
        "name": name,
        **_now(),
        "machine": {"cpu": processor(), "cores": len(os.sched_getaffinity(0)), "gpu": None},
        "rows": [dataclasses.asdict(row) | {"holds": row.holds} for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    _save(name, document)


def _update(name: str, rows: Sequence[Row]) -> None:
    """Replace the rows of the same names; new ones come last."""
    document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    new = {row.what: dataclasses.asdict(row) | {"holds": row.holds} | _now() for row in rows}
    known = {row["what"] for row in document["rows"]}
    document["rows"] = [new.get(row["what"], row) for row in document["rows"]]
    document["rows"] += [row for what, row in new.items() if what not in known]
    _save(name, document)


def _now() -> dict[str, str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit.stdout.strip()}


def _save(name: str, document: dict) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
