"""Measured curves: from a CSV file to the phase grid that predictors answer on."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memflux.errors import InvalidValue, check_integer
from memflux.waveform import Waveform

COLUMNS = {"time": "time", "t": "time", "voltage": "voltage", "v": "voltage", "u": "voltage",
           "current": "current", "i": "current"}  # fmt: skip
NAME = r"(?:abs\s*\(|\|)?\s*([a-z]*)"  # of a column, or of its magnitude: abs(I), |I|
UNITS = {"time": "s", "voltage": "V", "current": "A"}
PREFIXES = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "k": 1e3}
PHASES = np.linspace(0.0, 1.0, 1001)  # where a drive is looked at
FEWEST = 16  # points a cycle
LARGEST = 2_000_000  # lines
SLACK = 0.05  # of the drive's voltage range, between the ends of the drive and of the record
TURN = 0.1  # of the voltage range: smaller ups and downs are noise
NEIGHBOURS = 6  # points on either side that tell two interleaved branches apart
MISMATCH = 0.15  # of the drive's amplitude, root mean square, between record and drive


def read_curve(path: str | Path, drive: Waveform, samples: int) -> Float[np.ndarray, " S"]:
    """Current [A] of the last full cycle in a CSV file, on the samples + 1 phases of one cycle.

    The file has columns voltage [V], current [A], or time [s], voltage, current, with or without a
    header, in the order of the sweep, over one or more cycles from the phase at which `drive`
    starts. With times, phases are times modulo the period; without, a sample's place is its
    voltage on the branch of the drive (up or down) that it lies on. A header may give units, as
    "I (uA)". Currents of which only the magnitude is given take the sign of the voltage: the device is passive.

    Raises InvalidValue in one sentence: missing file, columns, text among the numbers, too few
    points, unknown units, a voltage that does not reach or follow the drive, branches that cannot be told apart.
    """
    curves = read_curves(path, drive, samples)
    if len(curves) > 1:
        raise InvalidValue(
            f"{path} is sorted by voltage, so its branches can be put in order in {len(curves)} ways; give the samples "
            "in the order of the sweep, or fit every way of read_curves."
        )
    return curves[0]


def read_curves(path: str | Path, drive: Waveform, samples: int) -> list[Float[np.ndarray, " S"]]:
    """`read_curve`, or four curves where the samples are sorted by voltage and the branches interleaved.

    Which branch is the way out from 0 V is lost then. The four have on the way up and the way down from 0 V the
    branch of smaller or larger magnitude: (smaller, smaller), (smaller, larger), (larger, smaller), (larger, larger).
    """
    samples = check_integer("samples", samples, low=4, high=1_000_000)
    if drive.batch is not None:
        raise InvalidValue(f"drive has {drive.batch} entries; a measured curve belongs to one drive.")
    columns = _columns(Path(path))
    grid = np.arange(samples + 1) / samples
    voltage = columns["voltage"]
    wanted = drive.at(PHASES)[1]
    ends = np.array([voltage.min() - wanted.min(), voltage.max() - wanted.max()])
    if np.abs(ends).max() > SLACK * np.ptp(wanted):
        raise InvalidValue(
            f"{path} covers {voltage.min():g} to {voltage.max():g} V and the drive {wanted.min():g} to "
            f"{wanted.max():g} V; give the drive's amplitude as it was measured."
        )
    if "time" in columns:
        return [_by_time(path, columns, drive, grid)]
    if len(_turns(voltage)) == 2 and _out_and_back(drive):
        return _untangled(path, columns, drive.at(grid)[1])
    return [_by_branch(path, columns, drive, grid)]


def _by_time(path: str | Path, columns: dict[str, np.ndarray], drive: Waveform, grid: np.ndarray) -> np.ndarray:
    period = float(drive.periods())
    time = columns["time"] - columns["time"][0]
    if not (np.diff(time) > 0).all():
        line = int(np.argmin(np.diff(time) > 0)) + 2
        raise InvalidValue(f"{path}: the time of sample {line} is not later than the one before; sort the samples.")
    cycles = int(np.floor(time[-1] / period + 0.05))
    if cycles < 1:
        raise InvalidValue(f"{path} lasts {time[-1]:g} s, less than one period of {period:g} s; give a full cycle.")
    phase = time / period - (cycles - 1)
    last = (phase >= -1e-9) & (phase <= 1.0 + 1e-9)
    _enough(path, int(last.sum()))
    off = np.sqrt(np.mean((columns["voltage"][last] - drive.at(phase[last])[1]) ** 2))
    if off > MISMATCH * np.abs(drive.at(grid)[1]).max():
        raise InvalidValue(
            f"{path}: its voltage differs from the drive by {off:.3g} V (root mean square); "
            "give period, amplitude and start as measured."
        )
    return np.interp(grid, phase, columns["current"])


def _by_branch(path: str | Path, columns: dict[str, np.ndarray], drive: Waveform, grid: np.ndarray) -> np.ndarray:
    """Match the branches of the record to those of one or more cycles of the drive, in order."""
    shape = drive.at(PHASES)[1]
    if (np.abs(np.diff(shape)) < 1e-9 * np.ptp(shape)).sum() > 8:
        raise InvalidValue(f"{path} has no times and the drive has plateaus; add a column of times.")
    voltage, current = columns["voltage"], columns["current"]
    turns = _turns(voltage)
    cycles, edges, branches = _branches(shape, len(turns) - 1)
    rising = np.sign(voltage[turns[1:]] - voltage[turns[:-1]])
    if branches.size != len(turns) - 1 or (rising != branches).any():
        raise InvalidValue(
            f"{path}: its voltage runs in {len(turns) - 1} branches, the first {'up' if rising[0] > 0 else 'down'}, "
            "which is no whole number of cycles of the drive; give whole sweeps from the drive's start, or times."
        )
    position = grid + cycles - 1
    place = np.clip(np.searchsorted(edges, position, side="right") - 1, 0, branches.size - 1)
    _enough(path, int(voltage.size - turns[max(int(place[0]), 0)]))
    wanted = drive.at(grid)[1]
    target = np.empty(grid.size)
    for branch in np.unique(place):
        part = slice(turns[branch], turns[branch + 1] + 1)
        level, back = np.unique(voltage[part], return_inverse=True)
        mean = np.bincount(back, weights=current[part]) / np.bincount(back)
        target[place == branch] = np.interp(wanted[place == branch], level, mean)
    return target


def _out_and_back(drive: Waveform) -> bool:
    """Whether the drive goes from 0 V to its largest voltage, to its smallest, and to 0 V."""
    shape = drive.at(PHASES)[1]
    directions = np.sign(np.diff(shape[_turns(shape)])).tolist()
    near = 1e-6 * np.ptp(shape)
    return directions == [1.0, -1.0, 1.0] and bool(np.abs(shape[[0, -1]]).max() < near)


def _untangled(path: str | Path, columns: dict[str, np.ndarray], wanted: np.ndarray) -> list[np.ndarray]:
    """The four curves at the voltages `wanted` of one cycle that two interleaved branches of each sign can be."""
    parts = []
    for sign in (1.0, -1.0):
        side = sign * columns["voltage"] > 0
        if int(side.sum()) < FEWEST:
            raise InvalidValue(
                f"{path} has {int(side.sum())} points on one side of 0 V; give at least {FEWEST} on either."
            )
        parts.append(_two_branches(np.abs(columns["voltage"][side]), np.abs(columns["current"][side])))
    peak, trough = int(wanted.argmax()), int(wanted.argmin())
    out = np.zeros(wanted.size, dtype=bool)  # from 0 V, and not back to it
    out[: peak + 1] = out[np.argmax(wanted < 0) : trough + 1] = True
    curves = []
    for first_up, first_down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        size = np.empty(wanted.size)
        for part, first, side in ((parts[0], first_up, wanted >= 0), (parts[1], first_down, wanted < 0)):
            for branch, place in ((part[first], side & out), (part[1 - first], side & ~out)):
                size[place] = np.exp(np.interp(np.abs(wanted[place]), *branch))
        curves.append(np.sign(wanted) * size)
    return curves


def _two_branches(voltage: np.ndarray, current: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Voltage and ln current of the smaller and of the larger branch: below and above a line through the neighbours.

    The line is one of logarithms, since near 0 V currents are powers of the voltage. Samples of one voltage and
    branch count as their mean.
    """
    kept = current > 0
    order = np.argsort(voltage[kept], kind="stable")
    x, y = np.log(voltage[kept][order]), np.log(current[kept][order])
    above = np.empty(x.size, dtype=bool)
    for k in range(x.size):
        near = slice(max(k - NEIGHBOURS, 0), k + NEIGHBOURS + 1)
        away, level = x[near] - x[near].mean(), y[near].mean()
        square = (away**2).sum()
        above[k] = y[k] > level + (away @ y[near]) / (square if square > 0 else 1.0) * (x[k] - x[near].mean())
    branches = []
    for rows in (~above, above):
        place, back = np.unique(np.exp(x[rows]), return_inverse=True)
        branches.append((place, np.bincount(back, weights=y[rows]) / np.bincount(back)))
    return branches


def _branches(shape: np.ndarray, count: int) -> tuple[int, np.ndarray, np.ndarray]:
    """How many cycles of a drive have about `count` branches; their first phases and +1 (up) or -1 (down)."""
    one = len(_turns(shape)) - 1
    more = len(_turns(np.append(shape[:-1], shape))) - 1 - one  # branches meet where cycles do
    cycles = 1 + max(count - one, 0) // max(more, 1)
    voltage = np.append(np.tile(shape[:-1], cycles), shape[-1])
    turns = _turns(voltage)
    return cycles, turns[:-1] / (shape.size - 1), np.sign(np.diff(voltage[turns]))


def _turns(voltage: np.ndarray) -> np.ndarray:
    """Indices of the first sample, of every turning point larger than noise, and of the last."""
    threshold = TURN * np.ptp(voltage)
    turns, extreme, heading = [0], 0, 0
    for k, value in enumerate(voltage.tolist()):
        if heading == 0:
            if abs(value - voltage[0]) > threshold:
                heading, extreme = (1 if value > voltage[0] else -1), k
        elif heading * (value - voltage[extreme]) >= 0:
            extreme = k
        elif heading * (voltage[extreme] - value) > threshold:
            turns.append(extreme)
            heading, extreme = -heading, k
    return np.array([*turns, voltage.size - 1])


def _enough(path: str | Path, count: int) -> None:
    if count < FEWEST:
        raise InvalidValue(f"{path} has {count} points in its last cycle; give at least {FEWEST}.")


def _columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file by name in SI units, each [N], the current with a sign."""
    rows = _rows(path)
    names = _header(path, rows[0][1])
    factors = np.ones(len(names))
    if names:
        factors = np.array([_factor(path, name, cell) for name, cell in zip(names, rows[0][1], strict=True)])
        rows = rows[1:]
    else:
        count = len(rows[0][1])
        if count not in (2, 3):
            raise InvalidValue(f"{path} has {count} columns; give voltage and current, or time, voltage and current.")
        names = ("time", "voltage", "current")[-count:]
        factors = np.ones(count)
    table = _table(path, rows, len(names)) * factors
    _enough(path, len(rows))
    columns = {name: table[:, column] for column, name in enumerate(names) if name}
    if (columns["current"] >= 0).all():  # of a passive device: the sign is lost, and is that of the voltage
        columns["current"] = np.where(columns["voltage"] < 0, -columns["current"], columns["current"])
    return columns


def _table(path: Path, rows: list[tuple[int, list[str]]], width: int) -> np.ndarray:
    """The numbers of all lines, [N, width]."""
    table = np.empty((len(rows), width))
    for k, (line, cells) in enumerate(rows):
        try:
            table[k] = [float(cell) for cell in cells]
        except ValueError:
            raise InvalidValue(f"{path}, line {line}: {','.join(cells)[:60]!r} is not {width} numbers.") from None
        if not np.isfinite(table[k]).all():
            raise InvalidValue(f"{path}, line {line} has a value that is not finite; remove the line.")
    return table


def _factor(path: Path, name: str, cell: str) -> float:
    """What a column is multiplied by to be in SI, from the unit in its header; 1 where there is none."""
    if not name:
        return 1.0
    rest = re.sub(NAME, "", cell.strip("\"'"), count=1, flags=re.IGNORECASE).strip(" )|_[](/:")
    if not rest:
        return 1.0
    unit = UNITS[name]
    if rest[-1] != unit or rest[:-1] not in PREFIXES:
        raise InvalidValue(f"{path}: the {name} is in {rest[:20]!r}; give it in {unit}, m{unit}, u{unit} or n{unit}.")
    return PREFIXES[rest[:-1]]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is neither empty nor a comment."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}; give a CSV file of a measured curve.") from None
    except UnicodeDecodeError:
        raise InvalidValue(f"{path} is not text; give a CSV file of a measured curve.") from None
    kept = [(k, line.strip()) for k, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not kept or len(kept) > LARGEST:
        raise InvalidValue(f"{path} has {len(kept)} lines of data; give from {FEWEST} to {LARGEST}.")
    return [(k, [cell.strip() for cell in re.split(r"[,;\t]" if re.search(r"[,;\t]", text) else r"\s+", text)])
            for k, text in kept]  # fmt: skip


def _header(path: Path, cells: list[str]) -> tuple[str, ...]:
    """What each column holds, "" for others; empty where the first line is numbers."""
    try:
        [float(cell) for cell in cells]
    except ValueError:
        words = [re.match(NAME, cell.strip("\"'").lower()) for cell in cells]
        names = tuple(COLUMNS.get(word.group(1) if word else "", "") for word in words)
        lacking = [name for name in ("voltage", "current") if names.count(name) != 1]
        if lacking or names.count("time") > 1:
            raise InvalidValue(
                f"{path} has columns {', '.join(cells)[:80]}; name one voltage, one current and perhaps one time."
            ) from None
        return names
    return ()
