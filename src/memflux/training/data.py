"""From devices, drive and traces to the arrays a model is trained on, and their split."""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from memflux.device import Devices
from memflux.errors import InvalidValue, check_numbers
from memflux.space import Space
from memflux.traces import Traces
from memflux.training.scaling import InputScaling
from memflux.waveform import RandomDrive, Triangle, Waveform

FRACTIONS = (0.8, 0.1, 0.1)  # Spetzler et al., arXiv 2505.13882, section 4.4
FEWEST = 40  # usable devices below which no split is worth its name


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CurveSet:
    """The usable rows of a data set: N curves on a grid of phase with `samples` a cycle."""

    rows: Int[np.ndarray, " N"]  # their places in the data set
    unit: Float[np.ndarray, "N P"]  # scaled parameters, 0..1
    current: Float[np.ndarray, "N T"]  # A
    voltage: Float[np.ndarray, "_ T"]  # V, one row for all or one each
    drive: Waveform  # one drive: of all rows, or the base of a space that varies it
    samples: int
    dropped: int  # rows left out because their solve failed

    def __len__(self) -> int:
        return int(self.rows.size)


class Split(NamedTuple):
    """Three masks [B] that divide a batch."""

    train: Bool[np.ndarray, " B"]
    validation: Bool[np.ndarray, " B"]
    test: Bool[np.ndarray, " B"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SplitCurves:
    """All that a training needs of a data set: its usable curves, and the part that each belongs to."""

    curves: CurveSet
    masks: Split  # of the curves
    fractions: tuple[float, ...]
    space: Space  # with as many cycles as the drive has


def split_curves(
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    space: Space,
    fractions: Sequence[float] = FRACTIONS,
    samples: int | None = None,
) -> SplitCurves:
    """Gather and split a data set, its traces thinned to `samples` a cycle.

    Raises InvalidValue for too few devices and for what `gather` and `split` refuse.
    """
    if samples is not None:
        traces = traces.on_grid(samples)
    space = dataclasses.replace(space, cycles=drive.cycles)
    curves = gather(devices, drive, traces, space)
    masks = Split(*(mask[curves.rows] for mask in split(devices, drive, fractions)))
    counts = [int(mask.sum()) for mask in masks]
    if sum(counts) < FEWEST or any(count == 0 and part > 0 for count, part in zip(counts, fractions, strict=True)):
        raise InvalidValue(
            f"{sum(counts)} usable devices split into {counts[0]} for training, {counts[1]} for validation and "
            f"{counts[2]} for the test; give at least {FEWEST} and some for every part."
        )
    return SplitCurves(curves=curves, masks=masks, fractions=tuple(float(f) for f in fractions), space=space)


def gather(devices: Devices, drive: Waveform, traces: Traces, space: Space) -> CurveSet:
    """Check a data set and take the rows that are ok; `dropped` counts the others.

    Raises InvalidValue where sizes differ, nothing is left, a current is not finite, the traces
    are not on the drive's grid of phase, or a device lies outside `space`.
    """
    if len(devices) != len(traces):
        raise InvalidValue(f"there are {len(devices)} devices and {len(traces)} traces; give one trace a device.")
    drive = drive.for_batch(len(devices))
    rows = np.flatnonzero(traces.ok)
    if rows.size == 0:
        raise InvalidValue(f"none of the {len(traces)} traces is ok; give at least a few that were solved.")
    current = np.asarray(traces.current[rows], dtype=np.float64)
    bad = ~np.isfinite(current).all(axis=1)
    if bad.any():
        raise InvalidValue(
            f"{int(bad.sum())} traces hold currents that are not finite though they are marked solved, the first in "
            f"row {int(rows[bad][0])}; repair or drop them."
        )
    chosen: Devices = devices[rows]
    wave = drive[rows]
    samples = _samples(wave, traces, rows)
    inputs = InputScaling.of(space)
    base = base_drive(wave, space)
    _check_inside(chosen, wave, space)
    return CurveSet(
        rows=rows,
        unit=inputs.scale(inputs.values(chosen, wave)),
        current=current,
        voltage=np.atleast_2d(base.grid(samples)[1] if not space.varies_drive else wave.grid(samples)[1]),
        drive=base,
        samples=samples,
        dropped=len(traces) - int(rows.size),
    )


def split(devices: Devices, drive: Waveform | None = None, fractions: Sequence[float] = FRACTIONS) -> Split:
    """Training, validation and test masks, decided by each device and its drive alone.

    A row's part follows from a hash of its resolved parameter values (and the numbers of its
    drive), so growing or reordering a data set moves no device, and twins stay together. The
    parts have the sizes of `fractions` on average only.
    """
    parts = check_numbers("fractions", fractions, low=0.0, high=1.0)
    if parts.size != 3 or abs(parts.sum() - 1.0) > 1e-9 or parts[0] == 0:
        raise InvalidValue(
            f"fractions = {parts.tolist()} must be three numbers that add up to 1, the first (training) above 0; "
            "for example 0.8, 0.1, 0.1."
        )
    place = _hash(devices, drive) * 2.0**-64
    train = place < parts[0]
    validation = ~train & (place < parts[0] + parts[1])
    if parts[2] == 0:
        validation = ~train
    return Split(train, validation, ~train & ~validation)


def known_to(space: Space, drive: Waveform) -> Waveform:
    """The drive as a space knows it: itself, or the base of a space of triangles for another family."""
    if isinstance(drive, Triangle) or space.drive == "random":
        return drive
    return Triangle(amplitude=space.amplitude, period=space.period, cycles=space.cycles)


def _samples(drive: Waveform, traces: Traces, rows: np.ndarray) -> int:
    """Samples a cycle, once `rows` of the traces are known to lie on their drive's grid of phase."""
    samples, rest = divmod(traces.time.shape[1] - 1, traces.cycles)
    if rest or samples < 4 or traces.cycles != drive.cycles:
        raise InvalidValue(
            f"the traces have {traces.time.shape[1]} times over {traces.cycles} cycles for a drive of {drive.cycles}; "
            "give traces on the phase grid of their drive (control accurate or fast)."
        )
    time, voltage = drive.grid(samples)
    for name, wanted, found in (("times", time, traces.time[rows]), ("voltages", voltage, traces.voltage[rows])):
        off = np.abs(found - wanted).max(initial=0.0)
        if not off <= 1e-6 * np.abs(wanted).max():
            raise InvalidValue(
                f"the {name} of the traces are off their drive's phase grid by {off:g}; give its own traces."
            )
    return samples


def base_drive(drive: Waveform, space: Space) -> Waveform:
    """One drive that names the family, and for a fixed drive its numbers too.

    Raises InvalidValue where numbers vary that the space does not.
    """
    if space.drive == "random":
        return RandomDrive(amplitude=space.amplitude, period=space.period, pattern=0, cycles=drive.cycles)
    if space.varies_drive:
        if not isinstance(drive, Triangle):
            raise InvalidValue(f"a {type(drive).__name__} drives a space that varies a triangle; give a Triangle.")
        return Triangle(amplitude=space.amplitude, period=space.period, cycles=drive.cycles)
    for name in drive.bounds:
        values = np.asarray(getattr(drive, name))
        if values.ndim and np.ptp(values) > 1e-12 * np.abs(values).max():
            raise InvalidValue(
                f"{name} of the drive varies from {values.min():g} to {values.max():g} and is no parameter of the "
                f"space {space.name!r}; give one drive or a space that varies it."
            )
    return drive[0]


def _check_inside(devices: Devices, drive: Waveform, space: Space) -> None:
    outside = ~space.contains(devices, known_to(space, drive))
    if outside.any():
        raise InvalidValue(
            f"{int(outside.sum())} of {len(devices)} devices lie outside the space {space.name!r}; give the space "
            "they were drawn from."
        )


def _hash(devices: Devices, drive: Waveform | None) -> UInt64[np.ndarray, " B"]:
    """64 well-mixed bits a row, the same on every machine."""
    state = np.full(len(devices), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for name, column in devices.identity().items():
        if name == "contact_density":
            names, place = np.unique(column.astype(str), return_inverse=True)
            bits = np.array([zlib.crc32(n.encode()) for n in names], dtype=np.uint64)[place]
        else:
            bits = _bits(column)
        state = _mix(state ^ bits)
    if drive is not None:
        state = _mix(state ^ _constant_bits(drive))
        for name in drive.bounds:
            state = _mix(state ^ _bits(np.broadcast_to(getattr(drive, name), (len(devices),))))
    return state


def _bits(column: np.ndarray) -> np.ndarray:
    """The bits of float64 values, with one zero."""
    return (np.ascontiguousarray(column, dtype=np.float64) + 0.0).view(np.uint64)


def _constant_bits(drive: Waveform) -> np.uint64:
    """The family of a drive and whatever of it cannot vary within a batch."""
    fixed = {k: v for k, v in drive[slice(0, 0)].to_dict().items() if k not in drive.bounds}
    text = json.dumps(fixed, sort_keys=True)
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def _mix(x: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele, Lea and Flood, doi 10.1145/2660193.2660195); wraps on purpose."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) + np.uint64(0x9E3779B97F4A7C15)
