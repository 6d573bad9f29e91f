"""Drives that are answered piece by piece: what a surrogate for any drive remembers in between."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.waveform import MAX_JUMP


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StreamState:
    """Where a drive left B devices, so that the next one can go on from there; of one surrogate and these devices."""

    devices: Devices
    voltage: Float[np.ndarray, " B"]  # V
    current: Float[np.ndarray, " B"]  # A
    memory: tuple[Any, ...]  # state of the model, one for each chunk of devices

    def check(self, devices: Devices, voltage: Float[np.ndarray, " B"]) -> None:
        """InvalidValue unless a drive of `devices` that starts at `voltage` [V] can go on from here."""
        mine, asked = self.devices.identity(), devices.identity()
        if len(devices) != len(self.devices) or not all(_same(mine[name], asked[name]) for name in mine):
            raise InvalidValue("state belongs to other devices; give those that it was left with, in their order.")
        jump = np.abs(voltage - self.voltage)
        if (jump > MAX_JUMP).any():
            row = int(jump.argmax())
            raise InvalidValue(
                f"drive of device {row} starts at {voltage[row]:g} V and state was left at {self.voltage[row]:g} V; "
                "start the drive there."
            )


def _same(mine: np.ndarray, asked: np.ndarray) -> bool:
    return np.array_equal(mine, asked, equal_nan=mine.dtype.kind == "f")
