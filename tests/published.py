"""How published numbers are formed from a solve: shared by the tests and the benchmarks."""

import numpy as np

from memflux.device import Device
from memflux.solvers import model
from memflux.solvers.control import SolverControl
from memflux.solvers.solver import make_engine
from memflux.solvers.system import State, System, build_system
from memflux.solvers.transient import Transient, equilibrium
from memflux.waveform import Triangle

SWEEP = Triangle(amplitude=10.0, period=8.0, cycles=1)


def equilibrium_of(device: Device, control: str, engine: str = "compiled") -> tuple[Transient, System, State]:
    """A transient at its start, its system, and the equilibrium state."""
    settings = SolverControl.preset(control)
    system = build_system(device, settings)
    run = Transient(system, make_engine(engine, system.x.size), SWEEP, settings)
    state = equilibrium(run.problem)
    assert state is not None
    return run, system, state


def contact_fields(run: Transient, system: System, state: State) -> list[float]:
    """Outward derivatives g of psi_R at the left and right contact [V/m]."""
    return [model.contact_field(side, state.u, system.h)[0] for side in (0, 1)]


def ex107_check_value(run: Transient, system: System, state: State) -> float:
    """Sum of all equilibrium unknowns over (6 * 189): the value that the reference code asserts."""
    psi = state.u[:, model.PSI] - system.affinity
    without_image = psi - state.u[:, model.W]
    return float((psi.sum() + without_image.sum() + sum(contact_fields(run, system, state))) / (6 * 189))


def s1_levels(voltage: np.ndarray) -> np.ndarray:
    """Time levels of set S1 from its voltages: a triangle of 13 V at 5 V/s; steps grow by 1.01 or halve."""
    period, top, rate = 10.4, 13.0, 5.0
    times, dt = [0.0], 1e-3 / 1.01
    for v in voltage[1:]:
        start = np.floor(times[-1] / period) * period
        rising = v / rate if v >= 0 else period + v / rate
        candidates = [s + t for s in (start, start + period) for t in (rising, period / 4 + (top - v) / rate)]
        expected = times[-1] + 1.01 * dt
        times.append(min((c for c in candidates if c > times[-1] + 1e-9), key=lambda c: abs(c - expected)))
        dt = times[-1] - times[-2]
    return np.array(times)
