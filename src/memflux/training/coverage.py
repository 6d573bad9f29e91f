"""Which devices and drives lie inside the space a surrogate was trained on, and why others do not."""

import dataclasses

import numpy as np
from jaxtyping import Bool

from memflux.device import FIELDS, FOLLOWS, QUANTITIES, Devices
from memflux.space import DRIVE_PARAMETERS, Space, drive_numbers, same_constant
from memflux.training.data import known_to
from memflux.training.scaling import InputScaling
from memflux.waveform import Triangle, Waveform

INSIDE = "inside the training space"
SLACK = 1e-9  # of a parameter's range
MISSED = 0.25


def coverage(
    space: Space, trained: Waveform, samples: int, devices: Devices, drive: Waveform
) -> tuple[Bool[np.ndarray, " B"], np.ndarray]:
    """Flags [B] and sentences [B] (of str); `trained` is the drive of the training set, `samples` those of a cycle."""
    inside = space.contains(devices, known_to(space, drive), slack=SLACK)
    if space.drive == "random":
        inside &= seen(drive, samples)
    elif not isinstance(drive, Triangle):
        inside &= _same(trained, drive)
    reasons = np.full(len(devices), INSIDE, dtype=object)
    rows = np.flatnonzero(~inside)
    if rows.size:
        last = "changes faster than its samples show" if space.drive == "random" else "differs from that of training"
        reasons[rows] = _reasons(space, devices[rows], drive[rows], f"the drive {last}")
    return inside, reasons


def seen(drive: Waveform, samples: int) -> Bool[np.ndarray, " ..."]:
    """Whether `samples` a cycle show each drive: no corner stands out from between those around it.

    A jump within a sample does not, a pulse does; `MISSED` of the amplitude is left to random drives, too.
    """
    corners = drive.corners()
    if not corners.size:
        return np.asarray(True)
    before, after = (drive.shape(end(corners * samples) / samples) for end in (np.floor, np.ceil))
    peaks = drive.shape(corners)
    beyond = np.maximum(peaks - np.maximum(before, after), np.minimum(before, after) - peaks).max(axis=-1)
    return np.asarray(beyond <= MISSED * np.abs(peaks).max(axis=-1))


def _same(trained: Waveform, drive: Waveform) -> Bool[np.ndarray, " ..."]:
    """Whether each drive (or the single one) is the trained one in every number."""
    same: np.ndarray | np.bool_ = np.True_
    for field in dataclasses.fields(trained):
        mine, asked = np.asarray(getattr(trained, field.name)), np.asarray(getattr(drive, field.name))
        if field.name in trained.bounds or mine.shape == asked.shape:
            equal = np.isclose(asked, mine, rtol=1e-12, atol=0.0)
            same = same & (equal if field.name in trained.bounds else equal.all())
        else:
            same = np.False_
    return np.asarray(same)


def _reasons(space: Space, devices: Devices, drive: Waveform, last: str) -> np.ndarray:
    """One sentence a device [B], naming the first thing found outside, or `last` where there is nothing else."""
    reasons = np.full(len(devices), f"outside the training space: {last}", dtype=object)
    for name, (mine, wanted, same) in _constants(space, devices, drive).items():
        for row in np.flatnonzero(~same):
            reasons[row] = (
                f"outside the training space: {name} = {_text(name, mine[row])} differs from {_text(name, wanted[row])}"
            )
    scaling = InputScaling(parameters=space.parameters)
    values = scaling.values(devices, known_to(space, drive))
    unit = scaling.scale(values)
    for column in reversed(range(len(space.parameters))):
        p = space.parameters[column]
        for row in np.flatnonzero(~((unit[:, column] >= -SLACK) & (unit[:, column] <= 1 + SLACK))):
            reasons[row] = (
                f"outside the training space: {p.name} = {_text(p.name, values[row, column])} is beyond "
                f"{p.low:g} to {_text(p.name, p.high)}"
            )
    return reasons


def _constants(space: Space, devices: Devices, drive: Waveform) -> dict[str, tuple[np.ndarray, ...]]:
    """Actual and trained values [B] of everything the space holds constant, and where they are the same."""
    actual = devices.resolved()
    base = Devices.repeat(space.device, len(devices))
    for name, other in FOLLOWS.items():
        wanted = getattr(base, name)
        base = base.replace(**{name: np.where(np.isnan(wanted), getattr(actual, other), wanted)})
    pairs: dict[str, tuple[np.ndarray, ...]] = {
        name: (getattr(actual, name), getattr(base, name), same_constant(name, actual, base))
        for name in set(FIELDS) - set(space.names)
    }
    if isinstance(drive, Triangle) or space.drive == "random":
        for name in set(DRIVE_PARAMETERS) - set(space.names):
            wanted = np.full(len(devices), getattr(space, name))
            asked = np.broadcast_to(drive_numbers(drive)[name], wanted.shape)
            pairs[name] = (asked, wanted, np.isclose(asked, wanted, rtol=1e-12))
    return dict(sorted(pairs.items()))


def _text(name: str, value: object) -> str:
    quantity = DRIVE_PARAMETERS.get(name) or QUANTITIES.get(name)
    if quantity is None:
        return str(value)
    if value != value:
        return "none"
    return f"{value:g}" + ("" if quantity.unit == "1" else f" {quantity.unit}")
