"""memflux: from the physics of memristive devices to answers about their design.

The public names load on first use: importing memflux imports neither torch, Ray nor PETSc.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Device": "device",
    "Devices": "device",
    "Triangle": "waveform",
    "Sine": "waveform",
    "PulseTrain": "waveform",
    "PiecewiseLinear": "waveform",
    "RandomDrive": "waveform",
    "Waveform": "waveform",
    "Circuit": "circuit",
    "State": "state",
    "Trace": "traces",
    "Traces": "traces",
    "Space": "space",
    "Dataset": "dataset",
    "Predictor": "contracts",
    "Differentiable": "contracts",
    "Solver": "solvers.solver",
    "simulate": "solvers.solver",
    "vacancy_offset_for": "solvers.content",
    "Surrogate": "training.surrogate",
    "Client": "platform.serving.client",
}
__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from memflux.circuit import Circuit
    from memflux.contracts import Differentiable, Predictor
    from memflux.dataset import Dataset
    from memflux.device import Device, Devices
    from memflux.platform.serving.client import Client
    from memflux.solvers.content import vacancy_offset_for
    from memflux.solvers.solver import Solver, simulate
    from memflux.space import Space
    from memflux.state import State
    from memflux.traces import Trace, Traces
    from memflux.training.surrogate import Surrogate
    from memflux.waveform import PiecewiseLinear, PulseTrain, RandomDrive, Sine, Triangle, Waveform


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memflux' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"memflux.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
