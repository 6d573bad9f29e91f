"""Where a drive left a device, so that the next one can go on from there."""

import dataclasses
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from memflux.device import Device
from memflux.errors import DataError

LARGEST_FILE = 2**26  # bytes
DAMAGE = (  # what NumPy, zipfile and JSON raise over a file that is something else, or was cut
    ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, RuntimeError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
ARRAYS = ("levels", "fluxes", "numbers")
NUMBERS = ("voltage", "current", "conduction")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """All that a solve continues from: `simulate(device, drive, state=trace.state)`.

    It holds three time levels, because the time discretisation looks back; a drive that is cut in two and
    continued gives the numbers of the whole. It belongs to one device, one control and one solver version.
    """

    device: Device
    control: str
    solver_version: str
    voltage: float  # V, of the device
    current: float  # A
    conduction: float  # A
    levels: Float[np.ndarray, "3 N 4"]  # n, p, x [m^-3] and psi [V]: last level, the one before, and before that
    fluxes: Float[
        np.ndarray, "5 M"
    ]  # m^-2 s^-1: past mean of vacancies, its rate [m^-2 s^-2], and last values of x, n, p
    numbers: Float[np.ndarray, " R"]  # the solver's own: steps, lowerings, contact densities

    def save(self, path: str | Path) -> None:
        """Write a .npz file; DataError where that fails."""
        about = {"device": self.device.to_dict(), "control": self.control, "solver_version": self.solver_version}
        about |= {name: getattr(self, name) for name in NUMBERS}
        try:
            with open(path, "wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **{name: getattr(self, name) for name in ARRAYS})
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error}; give a file in an existing folder.") from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; DataError where it is missing, damaged or something else."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > LARGEST_FILE:
                raise ValueError("larger than any state, or compressed, which save never does")
            with np.load(path, allow_pickle=False) as file:
                return cls._from_arrays({name: file[name] for name in file.files})
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}; give a file that State.save wrote.") from None
        except DAMAGE:
            raise DataError(f"{path} is no saved state; give a file that State.save wrote.") from None

    @classmethod
    def _from_arrays(cls, parts: Mapping[str, np.ndarray]) -> Self:
        about = json.loads(str(parts["about"]))
        levels, fluxes, numbers = (np.asarray(parts[name], dtype=np.float64) for name in ARRAYS)
        nodes = levels.shape[1]
        if levels.shape != (3, nodes, 4) or fluxes.shape != (5, nodes - 1) or numbers.ndim != 1:
            raise ValueError("arrays that do not fit together")
        if not (np.isfinite(levels).all() and np.isfinite(fluxes).all()) or np.isnan(numbers).any():
            raise ValueError("numbers that are none")
        if not all(math.isfinite(about[name]) for name in NUMBERS):
            raise ValueError("a voltage or current that is none")
        return cls(
            device=Device.from_dict(about["device"]),
            control=str(about["control"]),
            solver_version=str(about["solver_version"]),
            voltage=float(about["voltage"]),
            current=float(about["current"]),
            conduction=float(about["conduction"]),
            levels=levels,
            fluxes=fluxes,
            numbers=numbers,
        )
