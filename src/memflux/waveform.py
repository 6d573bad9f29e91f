"""The drive: the voltage at the right contact (or the current: circuit.py) in time, for one device or a batch.

Every waveform is periodic: `cycles` repetitions of one shape over the phase 0..1. A number that
describes the shape (amplitude, period, ...) is one value for all devices or an array with one a
device; `len(drive)` is then the size of the batch, and `drive.batch` is None for a single drive.
"""

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from memflux.errors import (
    DataError,
    InvalidValue,
    check_choice,
    check_integer,
    check_names,
    check_number,
    check_numbers,
)

MAX_CYCLES = 100_000
MAX_POINTS = 1_000_000  # corners of a piecewise linear drive
MAX_JUMP = 0.1  # V, from the end of a drive to the start of the next; smaller ones are part of the first step
MAX_LEVELS = 10_000_000  # samples of a whole drive


class Bound(NamedTuple):
    """Unit and allowed range of one number of a waveform."""

    unit: str
    low: float
    high: float


VOLTAGE = Bound("V", -1e4, 1e4)
AMPLITUDE = Bound("V", 1e-15, 1e4)  # small, because the values of a drive are amperes for a current source
PERIOD = Bound("s", 1e-12, 1e9)
DURATION = Bound("s", 0.0, 1e9)
PATTERN = Bound("1", 0.0, 2.0**53)


class AbstractWaveform(abc.ABC):
    """What solver, surrogates and metrics ask of a drive."""

    bounds: ClassVar[Mapping[str, Bound]]
    cycles: int

    @property
    def batch(self) -> int | None:
        """Number of devices the drive has values for; None: one drive for any number."""
        return next((int(np.size(v)) for v in map(self.__getattribute__, self.bounds) if np.ndim(v) > 0), None)

    @abc.abstractmethod
    def periods(self) -> np.ndarray:
        """Period [s], an array of shape () or [B]."""

    @abc.abstractmethod
    def shape(self, phase: np.ndarray) -> np.ndarray:
        """Voltage [V] at phases in [0, 1]: [T] -> [T], or [B, T] -> [B, T] for a batch."""

    @abc.abstractmethod
    def corners(self) -> np.ndarray:
        """Phases in [0, 1) at which the slope breaks, [K] or [B, K], ascending."""

    def duration(self) -> np.ndarray:
        """Length of the whole drive [s], shape () or [B]."""
        return np.asarray(self.cycles * self.periods())

    def voltage(self, time: float | np.ndarray) -> np.ndarray:
        """Voltage [V] at `time` [s]: any shape for one drive; [T] or [B, T] -> [B, T] for a batch of B.

        The end of a cycle belongs to that cycle, as the start of the next would.
        """
        time = np.asarray(time, dtype=np.float64)
        if self.batch is not None:
            time = np.broadcast_to(np.atleast_2d(time), (self.batch, time.shape[-1]))
        phase = np.asarray(time / self._along_time(self.periods()))
        return self.shape(_fraction(np.atleast_1d(phase))).reshape(phase.shape)

    def at(self, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Time [s] and voltage [V] at phases 0..cycles [T]: two arrays [T], or [B, T] for a batch."""
        phase = np.asarray(phase, dtype=np.float64)
        if self.batch is not None:
            phase = np.broadcast_to(np.atleast_2d(phase), (self.batch, phase.shape[-1]))
        return phase * self._along_time(self.periods()), self.shape(_fraction(phase))

    def grid(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """`at` on the common grid of phase: `samples` a cycle and the end point of the last."""
        samples = check_integer("samples", samples, low=4, high=MAX_LEVELS // self.cycles)
        return self.at(np.arange(self.cycles * samples + 1) / samples)

    def _along_time(self, value: np.ndarray) -> np.ndarray:
        return value if np.ndim(value) == 0 else np.asarray(value)[:, None]

    def __len__(self) -> int:
        if self.batch is None:
            raise TypeError("one drive for all devices has no length; ask drive.batch")
        return self.batch

    def __getitem__(self, index: "int | slice | np.ndarray") -> Self:
        """The drive of device `index`; a single drive is the same for every device."""
        if self.batch is None:
            return self
        chosen = {name: getattr(self, name)[index] for name in self.bounds if np.ndim(getattr(self, name)) > 0}
        chosen = {k: float(v) if np.ndim(v) == 0 else v for k, v in chosen.items()}
        return dataclasses.replace(self, **chosen)  # type: ignore[type-var]

    def for_batch(self, count: int) -> Self:
        """This drive, or InvalidValue if it is a batch of another size than `count`."""
        if self.batch is not None and self.batch != count:
            raise InvalidValue(f"drive has {self.batch} entries for {count} devices; give one drive or one a device.")
        return self

    def to_dict(self) -> dict[str, object]:
        """Kind and fields, JSON-ready; arrays become lists."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"kind": _kind(self)} | {k: np.asarray(v).tolist() for k, v in fields.items()}


def same_family(a: "Waveform", b: "Waveform") -> bool:
    """Whether two drives differ in the numbers only that a batch may vary, so that `concatenate` takes them."""
    if type(a) is not type(b):
        return False
    others = [f.name for f in dataclasses.fields(a) if f.name not in a.bounds]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in others)


def concatenate(drives: "Sequence[Waveform]", counts: Sequence[int]) -> "Waveform":
    """One batch of the drives of several batches of `counts` devices; InvalidValue for different families."""
    first = drives[0]
    if not all(same_family(first, drive) for drive in drives):
        raise InvalidValue("the drives are of different families; ask for each family by itself.")
    parts = list(zip(drives, counts, strict=True))
    numbers = {
        name: np.concatenate([np.broadcast_to(getattr(d.for_batch(n), name), (n,)) for d, n in parts])
        for name in first.bounds
    }
    return dataclasses.replace(first, **numbers)  # type: ignore[arg-type]


def _fraction(phase: np.ndarray) -> np.ndarray:
    """Phase within its cycle, in (0, 1] but for the very start: a cycle owns its end."""
    whole = np.rint(phase)
    # time / period need not give back the whole number that time was made of
    phase = np.where(np.abs(phase - whole) <= 4e-16 * np.maximum(whole, 1.0), whole, phase)
    fraction = phase - np.floor(phase)
    return np.where((fraction == 0.0) & (phase > 0.0), 1.0, fraction)


def from_dict(fields: Mapping[str, object]) -> "Waveform":
    """The inverse of `to_dict`; unknown kinds and fields are refused."""
    rest = {k: np.asarray(v) if isinstance(v, list) else v for k, v in fields.items()}
    kind = check_choice("waveform kind", rest.pop("kind", None), KINDS)
    cls = KINDS[kind]
    check_names(f"field of a {kind} waveform", rest, [f.name for f in dataclasses.fields(cls)])
    try:
        return cls(**rest)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidValue(f"the {kind} waveform is incomplete: {error}; give every field.") from None


def _check_shape_numbers(wave: AbstractWaveform) -> None:
    """Validate the numbers of a waveform that are one value or one a device; freeze them."""
    sizes = {}
    for name, bound in wave.bounds.items():
        value = getattr(wave, name)
        if np.ndim(value) == 0:
            if isinstance(value, np.ndarray):
                value = value.item()
            value = check_number(name, value, low=bound.low, high=bound.high, unit=bound.unit)
        else:
            value = check_numbers(name, value, low=bound.low, high=bound.high, unit=bound.unit)
            sizes[name] = value.size
        object.__setattr__(wave, name, value)
    if len(set(sizes.values())) > 1:
        raise InvalidValue(f"the drive has {sizes} values; give each field one value, or as many as devices.")
    object.__setattr__(wave, "cycles", check_integer("cycles", wave.cycles, low=1, high=MAX_CYCLES))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Triangle(AbstractWaveform):
    """0 -> +amplitude -> -amplitude -> 0 at constant rate, `cycles` times."""

    amplitude: float | np.ndarray  # V
    period: float | np.ndarray  # s
    cycles: int = 2

    bounds: ClassVar = {"amplitude": AMPLITUDE, "period": PERIOD}

    def __post_init__(self) -> None:
        _check_shape_numbers(self)

    def periods(self) -> np.ndarray:
        return np.asarray(self.period)

    def corners(self) -> np.ndarray:
        return np.array([0.25, 0.75])

    def shape(self, phase: np.ndarray) -> np.ndarray:
        amplitude = self._along_time(np.asarray(self.amplitude))
        rise, fall = 4.0 * phase, 2.0 - 4.0 * phase
        return amplitude * np.where(phase <= 0.25, rise, np.where(phase <= 0.75, fall, rise - 4.0))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sine(AbstractWaveform):
    """amplitude * sin(2 pi t / period), `cycles` times."""

    amplitude: float | np.ndarray  # V
    period: float | np.ndarray  # s
    cycles: int = 2

    bounds: ClassVar = {"amplitude": AMPLITUDE, "period": PERIOD}

    def __post_init__(self) -> None:
        _check_shape_numbers(self)

    def periods(self) -> np.ndarray:
        return np.asarray(self.period)

    def corners(self) -> np.ndarray:
        return np.array([])

    def shape(self, phase: np.ndarray) -> np.ndarray:
        return self._along_time(np.asarray(self.amplitude)) * np.sin(2.0 * np.pi * phase)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PulseTrain(AbstractWaveform):
    """`cycles` write pulses, each followed by a read pulse.

    One cycle is rest, ramp to `amplitude`, hold for `width`, ramp down, rest, ramp to
    `read_voltage`, hold for `read_width`, ramp down (Spetzler et al., doi 10.1002/aelm.202300635).
    """

    amplitude: float | np.ndarray  # V, either sign
    width: float | np.ndarray  # s
    ramp: float | np.ndarray  # s
    rest: float | np.ndarray  # s
    read_voltage: float | np.ndarray = 0.2  # V
    read_width: float | np.ndarray = 100e-6  # s
    read_ramp: float | np.ndarray = 20e-6  # s
    cycles: int = 1

    bounds: ClassVar = {
        "amplitude": VOLTAGE,
        "width": DURATION,
        "ramp": PERIOD,
        "rest": DURATION,
        "read_voltage": VOLTAGE,
        "read_width": DURATION,
        "read_ramp": PERIOD,
    }

    def __post_init__(self) -> None:
        _check_shape_numbers(self)

    def read_times(self) -> np.ndarray:
        """The end of the hold of every read pulse [s], [cycles] or [B, cycles]: where a cell is read."""
        time, _ = self._knots()
        return (np.arange(self.cycles) * time[..., -1:]) + time[..., -2:-1]

    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Corner times [s] and voltages [V] of one cycle, [9] or [B, 9]."""
        low = np.zeros(())
        steps = (
            self.rest,
            self.ramp,
            self.width,
            self.ramp,
            self.rest,
            self.read_ramp,
            self.read_width,
            self.read_ramp,
        )
        levels = (low, self.amplitude, self.amplitude, low, low, self.read_voltage, self.read_voltage, low)
        time = np.cumsum(np.stack(np.broadcast_arrays(low, *steps), axis=-1), axis=-1)
        voltage = np.stack(np.broadcast_arrays(low, *levels, time[..., 0])[:-1], axis=-1)
        return np.broadcast_to(time, voltage.shape), voltage

    def periods(self) -> np.ndarray:
        return self._knots()[0][..., -1]

    def corners(self) -> np.ndarray:
        time, _ = self._knots()
        return time[..., 1:-1] / time[..., -1:]

    def shape(self, phase: np.ndarray) -> np.ndarray:
        time, voltage = self._knots()
        if time.ndim == 1:
            return np.interp(phase, time / time[-1], voltage)
        return np.stack([np.interp(p, t / t[-1], v) for p, t, v in zip(phase, time, voltage, strict=True)])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PiecewiseLinear(AbstractWaveform):
    """Straight lines through (times [s], voltages [V]); times start at 0 and increase."""

    times: np.ndarray  # s, [K]
    voltages: np.ndarray  # V, [K]
    cycles: int = 1

    bounds: ClassVar = {}

    def __post_init__(self) -> None:
        times = check_numbers("times", self.times, low=0.0, high=PERIOD.high, unit="s")
        voltages = check_numbers("voltages", self.voltages, low=VOLTAGE.low, high=VOLTAGE.high, unit="V")
        if not 2 <= times.size <= MAX_POINTS:
            raise InvalidValue(f"times has {times.size} entries; give from 2 to {MAX_POINTS} points.")
        if times.size != voltages.size:
            raise InvalidValue(f"times has {times.size} entries and voltages {voltages.size}; give one voltage a time.")
        if times[0] != 0.0:
            raise InvalidValue(f"times[0] = {times[0]:g} s must be 0; subtract the first time from all.")
        if not np.all(np.diff(times) > 0):
            late = int(np.argmin(np.diff(times) > 0)) + 1
            raise InvalidValue(f"times[{late}] = {times[late]:g} s is not after {times[late - 1]:g} s; sort the times.")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "voltages", voltages)
        object.__setattr__(self, "cycles", check_integer("cycles", self.cycles, low=1, high=MAX_CYCLES))

    @classmethod
    def from_csv(cls, path: str | Path, cycles: int = 1) -> Self:
        """Read two columns, time [s] and voltage [V], with or without a header line."""
        try:
            table = np.genfromtxt(path, delimiter=",", comments="#", ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is no CSV of time [s] and voltage [V]: {error}; give two columns of numbers."
            ) from None
        if table.shape[0] > 1 and np.isnan(table[0]).all():
            table = table[1:]
        if table.shape[1] != 2:
            raise DataError(f"{path} has {table.shape[1]} columns; give two: time [s], voltage [V].")
        return cls(times=table[:, 0], voltages=table[:, 1], cycles=cycles)

    def periods(self) -> np.ndarray:
        return np.asarray(self.times[-1])

    def corners(self) -> np.ndarray:
        return self.times[1:-1] / self.times[-1]

    def shape(self, phase: np.ndarray) -> np.ndarray:
        return np.interp(phase, self.times / self.times[-1], self.voltages)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RandomDrive(AbstractWaveform):
    """Slow ramps, holds, jumps and pulses to random voltages, from 0 V and back: drives to learn any drive from.

    `pattern`, a whole number, decides them all; the largest voltage is `amplitude`, of either sign. A move is a
    ramp to a new level (half of the ramps are jumps of `JUMP` of a mean move) and, every other time, a hold
    there; every fourth level is 0 V.
    """

    amplitude: float | np.ndarray  # V
    period: float | np.ndarray  # s
    pattern: int | float | np.ndarray  # 0 .. 2^53, whole
    cycles: int = 1

    MOVES: ClassVar[int] = 12  # the last one goes to 0 V
    JUMP: ClassVar[float] = 0.04
    bounds: ClassVar = {"amplitude": AMPLITUDE, "period": PERIOD, "pattern": PATTERN}

    def __post_init__(self) -> None:
        _check_shape_numbers(self)
        pattern = np.atleast_1d(self.pattern)
        if (broken := pattern[pattern != np.floor(pattern)]).size:
            raise InvalidValue(f"pattern = {broken[0]:g} is no whole number; give one from 0 to 2^53.")

    def periods(self) -> np.ndarray:
        return np.asarray(self.period)

    def corners(self) -> np.ndarray:
        return np.asarray(self._knots[0])[..., 1:-1]

    def shape(self, phase: np.ndarray) -> np.ndarray:
        phases, levels = self._knots
        if phases.ndim == 1:
            return np.asarray(self.amplitude * np.interp(phase, phases, levels))
        unit = np.stack([np.interp(p, x, y) for p, x, y in zip(phase, phases, levels, strict=True)])
        return self._along_time(np.asarray(self.amplitude)) * unit

    @functools.cached_property
    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Phases and voltages over the amplitude of the corners, two arrays [K] or [B, K]."""
        batch = () if self.batch is None else (self.batch,)
        patterns = np.broadcast_to(self.pattern, batch)
        drawn = np.array([np.random.Philox(key=int(p)).random_raw(5 * self.MOVES) for p in patterns.ravel()])
        level, zero, length, stay, jump = np.moveaxis(
            ((drawn >> np.uint64(11)) * 2.0**-53).reshape(*batch, self.MOVES, 5), -1, 0
        )
        level = np.where(zero < 0.25, 0.0, 2.0 * level - 1.0)
        level[..., -1] = 0.0
        level /= np.abs(level).max(axis=-1, keepdims=True)
        ramp = np.where(jump < 0.5, self.JUMP, 2.0 * length)
        hold = np.where(stay < 0.5, self.JUMP, 2.0 * stay - 1.0)
        time = np.cumsum(np.stack([ramp, hold], axis=-1).reshape(*batch, -1), axis=-1)
        start = np.zeros((*batch, 1))
        return (
            np.concatenate([start, time / time[..., -1:]], axis=-1),
            np.concatenate([start, np.repeat(level, 2, axis=-1)], axis=-1),
        )


Waveform = Triangle | Sine | PulseTrain | PiecewiseLinear | RandomDrive
KINDS: Mapping[str, type[Triangle | Sine | PulseTrain | PiecewiseLinear | RandomDrive]] = {
    "triangle": Triangle,
    "sine": Sine,
    "pulse_train": PulseTrain,
    "piecewise_linear": PiecewiseLinear,
    "random": RandomDrive,
}


def _kind(wave: AbstractWaveform) -> str:
    return next(kind for kind, cls in KINDS.items() if cls is type(wave))
