"""Which devices and drives lie inside the space a surrogate was trained on, and why others do not."""

import dataclasses

import numpy as np
from jaxtyping import Bool

from memflux.device import FIELDS, FOLLOWS, QUANTITIES, Devices
from memflux.space import DRIVE_PARAMETERS, Space, same_constant
from memflux.training.data import triangle_of
from memflux.training.scaling import InputScaling
from memflux.waveform import Triangle, Waveform

INSIDE = "inside the training space"
SLACK = 1e-9  # of a parameter's range


def coverage(
    space: Space, trained: Waveform, devices: Devices, drive: Waveform
) -> tuple[Bool[np.ndarray, " B"], np.ndarray]:
    """Flags [B] and sentences [B] (of str); `trained` is the drive of the training set."""
    inside = space.contains(devices, triangle_of(space, drive), slack=SLACK)
    if not isinstance(drive, Triangle):
        inside &= _same(trained, drive)
    reasons = np.full(len(devices), INSIDE, dtype=object)
    rows = np.flatnonzero(~inside)
    if rows.size:
        reasons[rows] = _reasons(space, devices[rows], drive[rows])
    return inside, reasons


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


def _reasons(space: Space, devices: Devices, drive: Waveform) -> np.ndarray:
    """One sentence a device [B], naming the first thing found outside."""
    reasons = np.full(len(devices), "outside the training space: the drive differs from that of training", dtype=object)
    for name, (mine, wanted, same) in _constants(space, devices, drive).items():
        for row in np.flatnonzero(~same):
            reasons[row] = (
                f"outside the training space: {name} = {_text(name, mine[row])} differs from {_text(name, wanted[row])}"
            )
    values = InputScaling.of(space).values(devices, drive)
    unit = InputScaling.of(space).scale(values)
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
    if isinstance(drive, Triangle):
        for name in set(DRIVE_PARAMETERS) - set(space.names):
            wanted = np.full(len(devices), getattr(space, name))
            asked = np.broadcast_to(getattr(drive, name), wanted.shape)
            pairs[name] = (asked, wanted, np.isclose(asked, wanted, rtol=1e-12))
    return dict(sorted(pairs.items()))


def _text(name: str, value: object) -> str:
    quantity = DRIVE_PARAMETERS.get(name) or QUANTITIES.get(name)
    if quantity is None:
        return str(value)
    if value != value:
        return "none"
    return f"{value:g}" + ("" if quantity.unit == "1" else f" {quantity.unit}")
