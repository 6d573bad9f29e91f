"""Measured hysteresis loops: periodic records of a device in series with a resistor, and how far a model is from them.

Published: K. Bednarz, B. Garda, Z. Galias, Neural ODE based modeling of memristive circuits, eqs. 3-5; the
measurements of B. Garda and K. Bednarz, doi 10.3390/en17020467.
"""

import csv
import dataclasses
import hashlib
import itertools
import json
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from memflux.errors import InvalidValue, check_integer, check_number

TIME, SOURCE, VOLTAGE, CURRENT = COLUMNS = ("time_s", "source_V", "voltage_V", "current_A")
PERIODS = "periods.csv"  # which files need not be records, but may say how long their periods are
LARGEST = 5_000_000  # samples of a record
MOST = 1000  # records of a folder
FEWEST = 16  # samples of a period
HYSTERESIS = 0.1  # of the source's range, that a crossing of its middle has to pass on either side
CLOSED = 0.1  # of the source's range, between both ends of a record of one period
LAWFUL = 0.02  # of the source's range, by which v_s = R_s i + v may be off, root mean square


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Loops:
    """R periodic records of one device in series with a resistor: T samples of one period each, its end left out."""

    names: tuple[str, ...]
    frequency: Float[np.ndarray, " R"]  # Hz
    source: Float[np.ndarray, "R T"]  # V, v_s = R_s i + v
    voltage: Float[np.ndarray, "R T"]  # V, of the device
    current: Float[np.ndarray, "R T"]  # A
    series_resistance: float  # Ohm

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: slice | np.ndarray) -> Self:
        """Some of the records, by slice, indices or truth values."""
        picked = np.arange(len(self))[rows]
        return dataclasses.replace(
            self,
            names=tuple(self.names[k] for k in picked),
            frequency=self.frequency[picked],
            source=self.source[picked],
            voltage=self.voltage[picked],
            current=self.current[picked],
        )

    def split(self, validation: "tuple[str, ...] | list[str]") -> tuple[Self, Self]:
        """Records to learn from, and those named in `validation`; InvalidValue where either is empty."""
        if unknown := sorted(set(validation) - set(self.names)):
            raise InvalidValue(f"{unknown[0]!r} is no record; choose among {', '.join(self.names)}.")
        held = np.isin(self.names, list(validation))
        if held.all() or not held.any():
            raise InvalidValue(f"{held.sum()} of {len(self)} records are for validation; leave some on either side.")
        return self[~held], self[held]

    def without(self, validation: "tuple[str, ...] | list[str]") -> Self:
        """The records to learn from: all where none is for validation. InvalidValue as from `split`."""
        return self.split(validation)[0] if validation else self

    @property
    def content_hash(self) -> str:
        """Of names, frequencies, samples and series resistance."""
        content = hashlib.sha256(json.dumps([self.names, self.series_resistance, self.source.shape]).encode())
        for part in (self.frequency, self.source, self.voltage, self.current):
            content.update(np.ascontiguousarray(part, dtype="<f8").tobytes())
        return content.hexdigest()


def loop_error(
    voltage: Float[np.ndarray, "... R T"], current: Float[np.ndarray, "... R T"], loops: Loops
) -> Float[np.ndarray, "... R"]:
    """L_b of each record (eqs. 3-5): the mean squared errors of v and of i over the record's own variances, added."""
    parts = [
        np.mean((predicted - measured) ** 2, axis=-1) / np.var(measured, axis=-1, ddof=1)
        for predicted, measured in ((voltage, loops.voltage), (current, loops.current))
    ]
    return parts[0] + parts[1]


def read_loops(folder: str | Path, series_resistance: float | None = None, samples: int = 1000) -> Loops:
    """The records of a folder, each a file NAME.csv, as mean loops of `samples` samples.

    A file has a header and columns time_s, source_V (voltage of the source) and voltage_V or current_A of the device
    or both, evenly spaced in time. It holds one period, or several, which are cut where the source rises through the
    middle of its range, and averaged. A drive that does so more than once a period needs a line `NAME,period_s` in
    periods.csv, and is cut from its first sample on. `series_resistance` [Ohm] may be left out where both voltage and
    current are given.

    Raises InvalidValue in one sentence: no records, missing columns, no numbers, times not even, no whole period, a
    circuit that does not obey v_s = R_s i + v.
    """
    samples = check_integer("samples", samples, low=FEWEST, high=1_000_000)
    if series_resistance is not None:
        series_resistance = check_number("series_resistance", series_resistance, low=1e-3, high=1e12, unit="Ohm")
    path = Path(folder)
    files = sorted(file for file in path.glob("*.csv") if file.name != PERIODS) if path.is_dir() else []
    if not 0 < len(files) <= MOST:
        raise InvalidValue(f"{path} has {len(files)} records NAME.csv; give a folder with 1 to {MOST}.")
    periods = _periods(path / PERIODS)
    tables = [_table(file) for file in files]
    resistance = _resistance(files, tables) if series_resistance is None else series_resistance
    loops = [
        _loop(file, table, resistance, periods.get(file.stem), samples)
        for file, table in zip(files, tables, strict=True)
    ]
    return Loops(
        names=tuple(file.stem for file in files),
        frequency=np.array([loop[0] for loop in loops]),
        source=np.stack([loop[1] for loop in loops]),
        voltage=np.stack([loop[2] for loop in loops]),
        current=np.stack([loop[3] for loop in loops]),
        series_resistance=resistance,
    )


def _periods(path: Path) -> dict[str, float]:
    """Periods [s] by the names of records."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if row]
    try:
        return {
            name: check_number(f"{path}: period of {name}", float(text), low=1e-12, high=1e9) for name, text in rows
        }
    except ValueError:
        raise InvalidValue(f"{path} is no list of lines NAME,period_s, without a header; mend it.") from None


def _table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a record, of equal length and evenly spaced in time."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        header = [name.strip() for name in lines.readline().split(",")]
        try:
            numbers = np.loadtxt(itertools.islice(lines, LARGEST + 1), delimiter=",", ndmin=2)
        except ValueError as error:
            raise InvalidValue(f"{path} is no table of numbers: {error}; give one number a column.") from None
    if missing := {TIME, SOURCE} - set(header) or (
        {VOLTAGE, CURRENT} if not {VOLTAGE, CURRENT} & set(header) else set()
    ):
        raise InvalidValue(
            f"{path} has no column {' or '.join(sorted(missing))}; its header needs {', '.join(COLUMNS)}."
        )
    if not FEWEST <= len(numbers) <= LARGEST:
        raise InvalidValue(f"{path} has {len(numbers)} samples; give {FEWEST} to {LARGEST}.")
    if numbers.shape[1] != len(header):
        raise InvalidValue(f"{path} has {len(header)} names and {numbers.shape[1]} columns; give each column a name.")
    if not np.isfinite(numbers).all():
        line = int(np.argmin(np.isfinite(numbers).all(1))) + 2
        raise InvalidValue(
            f"{path}: line {line} has a number that is not finite; leave such samples out of the record."
        )
    table = {name: numbers[:, k] for k, name in enumerate(header) if name in COLUMNS}
    steps = np.diff(table[TIME])
    if not np.allclose(steps, steps.mean(), rtol=0.01, atol=0.0) or steps.mean() <= 0:
        raise InvalidValue(f"{path}: its times are not evenly spaced; resample the record.")
    return table


def _resistance(files: list[Path], tables: list[dict[str, np.ndarray]]) -> float:
    """R_s [Ohm] from records that have both voltage and current, by least squares."""
    for file, table in zip(files, tables, strict=True):
        if len(table) < len(COLUMNS):
            lacking = VOLTAGE if VOLTAGE not in table else CURRENT
            raise InvalidValue(f"{file} has no column {lacking}; give it, or the series resistance.")
    current = np.concatenate([table[CURRENT] for table in tables])
    across = np.concatenate([table[SOURCE] - table[VOLTAGE] for table in tables])
    resistance = float(current @ across / (current @ current)) if current.any() else 0.0
    return check_number("series resistance found in the records", resistance, low=1e-3, high=1e12, unit="Ohm")


def _loop(
    path: Path, table: dict[str, np.ndarray], resistance: float, period: float | None, samples: int
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Frequency [Hz] and mean source, voltage and current [T] of a record."""
    source = table[SOURCE]
    current = table[CURRENT] if CURRENT in table else (source - table[VOLTAGE]) / resistance
    voltage = table[VOLTAGE] if VOLTAGE in table else source - resistance * current
    off = np.sqrt(np.mean((source - resistance * current - voltage) ** 2))
    if off > LAWFUL * np.ptp(source):
        raise InvalidValue(
            f"{path}: source, voltage and current differ by {off:.3g} V from v_s = R_s i + v with "
            f"R_s = {resistance:g} Ohm; give the series resistance as measured."
        )
    if np.ptp(voltage) == 0.0 or np.ptp(current) == 0.0:
        raise InvalidValue(f"{path}: its voltage or current is constant; a loop needs both to change.")
    starts, length = _cycles(path, source, None if period is None else period / (table[TIME][1] - table[TIME][0]))
    places = (np.asarray(starts)[:, None] + length * np.arange(samples) / samples).ravel()
    index = np.arange(source.size + 1)  # a record of one period goes on where it began
    mean = [
        np.interp(places, index, np.append(part, part[0])).reshape(len(starts), samples).mean(0)
        for part in (source, voltage, current)
    ]
    return 1.0 / (length * (table[TIME][-1] - table[TIME][0]) / (source.size - 1)), mean[0], mean[1], mean[2]


def _cycles(path: Path, source: np.ndarray, period: float | None) -> tuple[list[float], float]:
    """Where the whole periods of a record begin, and their length, in samples."""
    crossings = [] if period is not None else _crossings(source)
    if period is None and len(crossings) >= 3:
        period = (crossings[-1] - crossings[0]) / (len(crossings) - 1)
    if period is None or abs(period - source.size) < 0.5:
        if abs(source[-1] - source[0]) > CLOSED * np.ptp(source):
            raise InvalidValue(
                f"{path}: its source ends {source[-1] - source[0]:.3g} V off its start; give whole periods."
            )
        return [0.0], float(source.size)
    first = crossings[0] if crossings else 0.0
    count = int(np.floor((source.size - 1 - first) / period + 1e-6))
    if period < FEWEST or count < 1:
        raise InvalidValue(
            f"{path} has {source.size} samples and periods of {period:g}; give at least {FEWEST} samples a period "
            "and a whole period after the first rise of the source."
        )
    return [first + k * period for k in range(count)], period


def _crossings(source: np.ndarray) -> list[float]:
    """Where the source rises through the middle of its range, in samples; not where noise does."""
    middle, slack = 0.5 * (source.max() + source.min()), HYSTERESIS * np.ptp(source)
    side = np.where(source > middle + slack, 1, np.where(source < middle - slack, -1, 0))
    known = np.flatnonzero(side)
    rises = [(known[k], known[k + 1]) for k in np.flatnonzero(np.diff(side[known]) > 0)]
    found = []
    for low, high in rises:  # the line through all samples between both sides: one sample alone is noisy
        slope, offset = np.polyfit(np.arange(low, high + 1), source[low : high + 1] - middle, 1)
        found.append(float(-offset / slope))
    return found
