"""The measured loops of the tungsten SDC memristor as a folder of records, as any user would have them.

Measured by B. Garda and K. Bednarz, doi 10.3390/en17020467; the split is that of Bednarz, Garda and Galias.
"""

import csv
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import harness
from memflux.loops import Loops, loop_error, read_loops

REFERENCE = Path(os.environ.get("MEMFLUX_REFERENCE_DATA", harness.ROOT.parent / "shared" / "data"))
SDC = REFERENCE / "measured_sdc_tungsten"
VALIDATION = ("1.5V_5Hz", "1.0V_1Hz", "1.0V_100Hz", "0.5V_5Hz")


class Measured(NamedTuple):
    """All records, those to learn from, those for validation, and L_b of single cycles against their mean [R]."""

    every: Loops
    training: Loops
    validation: Loops
    floor: np.ndarray


def write_records(folder: Path) -> None:
    """The 18 mean loops as NAME.csv in `folder`."""
    with np.load(SDC / "mean_and_cycles.npz") as arrays:
        for record in _table():
            name = _name(record)
            source, across = (arrays[f"mem1_{name}_{part}_mean"].astype(np.float64) for part in ("vs", "vr"))
            time = np.arange(source.size) / (source.size * float(record["freq_Hz"]))
            columns = [time, source, source - across, across / (1e3 * float(record["Rs_kohm"]))]
            np.savetxt(
                folder / f"{name}.csv", np.stack(columns, 1), "%.9g", ",",
                header="time_s,source_V,voltage_V,current_A", comments="",
            )  # fmt: skip


def measured() -> Measured:
    """The records, read back from such a folder."""
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder))
        every = read_loops(folder)
    floors = {_name(row): float(row["Lb_floor_cycle_to_cycle"]) for row in _table()}
    training, validation = every.split(VALIDATION)
    return Measured(every, training, validation, np.array([floors[name] for name in every.names]))


def drift() -> dict[str, np.ndarray]:
    """L_b of the mean loops of each eighth of the cycles of a record, in time, against the mean of all; by name."""
    found = {}
    with np.load(SDC / "raw_delta_1e-5V.npz") as arrays:
        for record in _table():
            name = _name(record)
            source, across = (1e-5 * np.cumsum(arrays[f"{part}_{name}"].astype(np.int64)) for part in ("vs", "vr"))
            first, count = int(record["first_zero_crossing_index"]), int(record["whole_cycles"])
            cycles = [
                part[first : first + 1000 * count].reshape(count, 1000) for part in (source, source - across, across)
            ]
            eighths = np.stack([[some.mean(0) for some in np.array_split(part, 8)] for part in cycles])[:, :, None]
            mean = Loops(
                names=(name,),
                frequency=np.array([float(record["freq_Hz"])]),
                source=cycles[0].mean(0)[None],
                voltage=cycles[1].mean(0)[None],
                current=cycles[2].mean(0)[None],
                series_resistance=1.0,  # Ohm: L_b does not depend on it
            )
            found[name] = loop_error(eighths[1], eighths[2], mean)[:, 0]
    return found


def _name(record: dict[str, str]) -> str:
    return f"{record['amplitude_V']}V_{record['freq_Hz']}Hz"


def _table() -> list[dict[str, str]]:
    with (SDC / "records.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
