"""True curves that a surrogate keeps: of devices that neither its training nor its choice ever saw.

From them follows how far any number of a curve errs, also one that nobody thought of at training.
"""

import dataclasses
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.torch import load, save

from memflux.device import Devices
from memflux.errors import DataError
from memflux.space import DRIVE_PARAMETERS, Space
from memflux.traces import Traces
from memflux.waveform import Waveform

KEPT = 512  # curves: a quantile at 95 % then has a standard deviation of 1 %
LARGEST = 2**23  # currents: fewer curves of very many samples


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """N devices of a space, by the values of its parameters, and their solved currents on the phase grid."""

    values: Float[np.ndarray, "N P"]  # SI, eV
    current: Float32[np.ndarray, "N T"]  # A

    @classmethod
    def of(cls, space: Space, devices: Devices, drive: Waveform, traces: Traces) -> Self:
        """KEPT of the devices that were solved, by chance: a data set may be sorted."""
        solved = np.random.default_rng(0).permutation(np.flatnonzero(traces.ok))
        rows = np.sort(solved[: max(1, min(KEPT, LARGEST // traces.current.shape[1]))])
        unit = space.coordinates(devices[rows], drive[rows])
        return cls(values=space.values(unit), current=traces.current[rows].astype(np.float32))

    def answered(self, space: Space, drive: Waveform, samples: int) -> tuple[Devices, Waveform, Traces]:
        """The devices, their drives (of the family of `drive`) and their true traces, `samples` a cycle."""
        devices, found = space.at(self.values)
        varied = {name: getattr(found, name) for name in DRIVE_PARAMETERS if name in space.names}
        drive = dataclasses.replace(drive, **varied)
        time, voltage = drive.grid(samples)
        current = self.current.astype(np.float64)
        traces = Traces.of(time=time, voltage=voltage, current=current, period=drive.periods(), cycles=drive.cycles)
        return devices, drive, traces

    def to_bytes(self) -> bytes:
        """As safetensors."""
        return save({"values": torch.tensor(self.values), "current": torch.tensor(self.current)})

    @classmethod
    def from_bytes(cls, content: bytes, where: str, parameters: int, times: int) -> Self:
        """The inverse of `to_bytes`; DataError, naming `where`, unless it fits that many parameters and times."""
        try:
            tensors = load(content)
            values, current = tensors.pop("values"), tensors.pop("current")
            if values.ndim != 2 or current.ndim != 2:
                raise KeyError("two tables")
        except (SafetensorError, KeyError) as error:
            raise DataError(f"{where} is damaged ({error}); remove it or calibrate again.") from None
        count = len(values)
        fits = values.shape == (count, parameters) and current.shape == (count, times) and not tensors
        kinds = values.dtype == torch.float64 and current.dtype == torch.float32
        if not (count and fits and kinds and values.isfinite().all() and current.isfinite().all()):
            raise DataError(f"{where} does not fit this surrogate; remove it or calibrate again.")
        return cls(values=values.numpy(), current=current.numpy())
