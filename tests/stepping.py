"""One device in one lane, ready to be stepped by hand: what the tests of the compiled march start from."""

import numpy as np

from memflux.device import Device
from memflux.solvers import batch, march
from memflux.solvers.control import PhaseSteps, SolverControl
from memflux.solvers.lanes import Batch, Lanes, allocate
from memflux.solvers.system import System, build_system
from memflux.traces import Trace
from memflux.waveform import Waveform


def prescribed(name: str = "accurate", factor: float = 1.0) -> SolverControl:
    """A preset on a mesh with `factor` times the cells that marches levels as they are."""
    return SolverControl.preset(name).refined(factor).prescribed()


def packed(device: Device, drive: Waveform, control: SolverControl, levels: np.ndarray) -> tuple[System, Batch, Lanes]:
    """The arrays of one device on `levels` [s]; nothing has been solved."""
    system = build_system(device, control)
    assert isinstance(control.steps, PhaseSteps)
    job = batch.Job(device=device, drive=drive, recorded=levels)
    arrays = batch.pack([system], [job], [batch.plan_levels(levels, batch.NOTHING, batch.NOTHING)], control.steps)
    return system, arrays, allocate(system.x.size, 1)


def solved(
    device: Device,
    drive: Waveform,
    control: SolverControl,
    levels: np.ndarray,
    profiles: np.ndarray = batch.NOTHING,
    lanes: Lanes | None = None,
) -> Trace:
    """The trace of one device under a control that need not be a preset, by the compiled engine."""
    if lanes is None:
        lanes = allocate(build_system(device, control).x.size, 1)
    job = batch.Job(device=device, drive=drive, recorded=levels, profiles=profiles)
    return batch.solve_device(job, control, march.proceed, lanes)
