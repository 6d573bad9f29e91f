"""Measured pulse trains: what was pulsed, and the read current after each pulse.

A record is a folder of two CSV files. `curves.csv` has one row a curve with the columns `curve` (its id), v_set_V,
v_anti_V, t_set_s, t_off_s, t_read_s; `read_current_A.csv` has the columns `curve`, n0, n1, ... with the read current
after each pulse. Further columns are left alone. Published data in this form: Spetzler et al., APL Mach. Learn. 3,
026103 (2025), doi 10.1063/5.0251113.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

from memflux.errors import InvalidValue, check_numbers

SETTINGS = "curves.csv"
CURRENTS = "read_current_A.csv"
# one order everywhere: names of the settings, their columns, units, and what is allowed
NAMES = ("set_duration", "set_voltage", "off_duration", "read_duration", "anti_voltage")
COLUMNS = ("t_set_s", "v_set_V", "t_off_s", "t_read_s", "v_anti_V")
BOUNDS = ((0.0, 1e4), (-100.0, 100.0), (0.0, 1e4), (0.0, 1e4), (-100.0, 100.0))
UNITS = ("s", "V", "s", "s", "V")
LARGEST_CURRENT = 1.0  # A
MOST_CURVES = 100_000
MOST_PULSES = 10_000
LARGEST_FILE = 256 * 1024**2  # bytes
FALLING = 0.5  # of its range, how far a curve that is told as odd ends below its maximum


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PulseCurves:
    """C curves of P equal pulses each; read-only arrays in SI units."""

    ids: Int[np.ndarray, " C"]  # as the files name them; gaps are fine
    settings: Float[np.ndarray, "C 5"]  # columns in the order of NAMES: s, V, s, s, V
    current: Float[np.ndarray, "C P"]  # A, after the pulses 0 .. P - 1

    def __post_init__(self) -> None:
        if not 1 <= len(self.ids) <= MOST_CURVES:
            raise InvalidValue(f"there are {len(self.ids)} curves; give 1 to {MOST_CURVES}.")
        if not 2 <= self.current.shape[1] <= MOST_PULSES:
            raise InvalidValue(f"curves have {self.current.shape[1]} pulses; give 2 to {MOST_PULSES}.")
        if np.unique(self.ids).size < len(self.ids):
            values, counts = np.unique(self.ids, return_counts=True)
            raise InvalidValue(f"curve {values[counts > 1][0]} is there {counts.max()} times; give each id once.")
        flat = np.flatnonzero(np.ptp(self.current, axis=1) <= 0.0)
        if flat.size:
            raise InvalidValue(
                f"curve {self.ids[flat[0]]} has the same current after every pulse, so its scaled current is not "
                "defined; leave it out."
            )

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """The curves of a folder, in the order of `read_current_A.csv`.

        Raises InvalidValue in one sentence: a missing file or column, text or NaN among the numbers, rows of unequal
        length, an id twice, a curve without settings or settings without a curve, a size beyond the bounds.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InvalidValue(f"{folder} is not a folder; give one that holds {SETTINGS} and {CURRENTS}.")
        currents, settings = _table(folder / CURRENTS), _table(folder / SETTINGS)
        pulses = _pulses(folder / CURRENTS, currents.header)
        ids, current = currents.ids(), currents.numbers(pulses, (-LARGEST_CURRENT, LARGEST_CURRENT), "A")
        columns = [
            settings.numbers((name,), bounds, unit) for name, bounds, unit in zip(COLUMNS, BOUNDS, UNITS, strict=True)
        ]
        values = dict(zip(settings.ids().tolist(), np.hstack(columns), strict=False))
        if lacking := [i for i in ids.tolist() if i not in values]:
            raise InvalidValue(f"curve {lacking[0]} of {folder / CURRENTS} has no row in {SETTINGS}; add its settings.")
        if lost := sorted(set(values) - set(ids.tolist())):
            raise InvalidValue(f"curve {lost[0]} of {folder / SETTINGS} has no currents in {CURRENTS}; remove the row.")
        return cls(ids=ids, settings=_frozen(np.array([values[i] for i in ids.tolist()])), current=_frozen(current))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "PulseCurves":
        """The curves at these places, or where this mask is true."""
        return PulseCurves(
            ids=self.ids[rows], settings=_frozen(self.settings[rows]), current=_frozen(self.current[rows])
        )

    @property
    def pulses(self) -> int:
        """Pulses of every curve, P."""
        return self.current.shape[1]

    @property
    def scaled(self) -> Float[np.ndarray, "C P"]:
        """Read current of each curve between its smallest (0) and its largest (1): eq. 2 of the paper."""
        low = self.current.min(axis=1, keepdims=True)
        return (self.current - low) / np.ptp(self.current, axis=1)[:, None]

    @property
    def unique_settings(self) -> Float[np.ndarray, "G 5"]:
        """The G different settings, sorted."""
        return np.unique(self.settings, axis=0)

    @property
    def setting(self) -> Int[np.ndarray, " C"]:
        """Which of `unique_settings` each curve has: replicates share a number."""
        return np.unique(self.settings, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def nonpositive(self) -> Bool[np.ndarray, " C"]:
        """Curves with a current that is zero or negative."""
        return np.any(self.current <= 0.0, axis=1)

    @property
    def falling(self) -> Bool[np.ndarray, " C"]:
        """Curves that end far below their largest current, as a set train should not."""
        return self.scaled[:, -1] < 1.0 - FALLING


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """A CSV file as text, its rows as long as its header."""

    path: Path
    header: list[str]
    rows: list[list[str]]

    def ids(self) -> np.ndarray:
        values = self._column("curve")
        try:
            ids = np.array([int(text) for text in values], dtype=np.int64)
        except (ValueError, OverflowError):
            raise InvalidValue(f"{self.path} has a curve id that is no whole number; number the curves.") from None
        unique, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            raise InvalidValue(f"{self.path} has curve {unique[counts > 1][0]} more than once; give each id once.")
        return ids

    def numbers(self, names: tuple[str, ...], bounds: tuple[float, float], unit: str) -> np.ndarray:
        """Columns as float64 [C, names], every entry finite and within the bounds."""
        text = list(zip(*(self._column(name) for name in names), strict=True))
        try:
            values = np.array(text, dtype=np.float64)
        except ValueError:
            raise InvalidValue(f"{self.path} has text or a gap among the numbers of {names[0]} ...; fill it.") from None
        name = f"{self.path.name} {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")
        return check_numbers(name, values, low=bounds[0], high=bounds[1], unit=unit, ndim=2)

    def _column(self, name: str) -> list[str]:
        if name not in self.header:
            raise InvalidValue(f"{self.path} has no column {name}; its columns are {', '.join(self.header[:12])}.")
        place = self.header.index(name)
        return [row[place] for row in self.rows]


def _table(path: Path) -> _Table:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InvalidValue(f"{path} has more than {LARGEST_FILE} bytes; give at most {MOST_CURVES} curves.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read ({error.strerror}); give a folder that holds it.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidValue(f"{path} is no CSV text ({error}); save it as CSV in UTF-8.") from None
    if len(rows) < 2:
        raise InvalidValue(f"{path} has no rows below its header; give at least one curve.")
    if len(rows) > MOST_CURVES + 1:
        raise InvalidValue(f"{path} has {len(rows) - 1} rows; give at most {MOST_CURVES}.")
    header = rows[0]
    if len(set(header)) < len(header):
        raise InvalidValue(f"{path} names a column twice; give each name once.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InvalidValue(
                f"{path}: row {number} has {len(row)} entries and the header {len(header)}; complete it."
            )
    return _Table(path=path, header=header, rows=rows[1:])


def _pulses(path: Path, header: list[str]) -> tuple[str, ...]:
    """The columns n0, n1, ... as far as they go."""
    count = sum(name[:1] == "n" and name[1:].isdigit() for name in header)
    names = tuple(f"n{k}" for k in range(count))
    if not 2 <= count <= MOST_PULSES:
        raise InvalidValue(f"{path} has {count} columns n0, n1, ...; give the current after 2 to {MOST_PULSES} pulses.")
    if lacking := set(names) - set(header):
        raise InvalidValue(
            f"{path} has no column {min(lacking, key=len)}; number the pulses n0, n1, ... without a gap."
        )
    return names


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array, dtype=np.float64)
    array.flags.writeable = False
    return array
