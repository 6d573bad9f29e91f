"""One device through one drive under a published controller: equilibrium, and implicit Euler steps."""

import dataclasses
import time as clock

import numpy as np

from memflux.solvers import model
from memflux.solvers.control import AdaptiveSteps, NewtonControl, SolverControl
from memflux.solvers.newton import LinearEngine, Problem, solve_newton
from memflux.solvers.record import Record
from memflux.solvers.system import State, System
from memflux.solvers.timestep import March, march_adaptive, march_levels
from memflux.traces import Trace
from memflux.waveform import Waveform

STAGES = (1, 8, 64)  # how finely the lowering is switched on, tried in turn
STAGE_STEPS = 30  # Newton steps a stage may take: one that cycles is given up early
SAFE = NewtonControl(
    damp_initial=0.9,
    damp_growth=1.61,
    absolute=1e-9,
    relative=0.0,
    stagnation=0.0,
    stagnation_steps=1000,
    max_steps=200,
    max_increase=1e6,
)


class OutOfBudget(Exception):
    """The device cost more Newton steps than its control allows."""


class Transient:
    """Steps one device: holds the problem, its drive and its control."""

    def __init__(
        self, system: System, engine: LinearEngine, drive: Waveform, control: SolverControl, levels: int = 1
    ) -> None:
        self.problem = Problem.of(system, engine)
        self.drive = drive
        self.control = control
        self.budget = control.newton_budget + control.newton_per_level * levels

    def step(self, state: State, time: float) -> State | None:
        """One implicit Euler step to `time`, or None; raises OutOfBudget."""
        if self.problem.newton_steps > self.budget:
            raise OutOfBudget
        voltage = float(self.drive.voltage(time))
        dt = time - state.time
        assert self.control.newton is not None
        u = solve_newton(self.problem, self.control.newton, model.TRANSIENT, state.u, state.density, voltage, dt)
        if u is None:
            return None
        return State(time=time, voltage=voltage, u=u, density=self.problem.densities(u))


def equilibrium(problem: Problem) -> State | None:
    """The state at V = 0 with constant quasi-Fermi potentials, or None.

    Poisson's equation without lowering first, from the charge-free solution; then the
    lowering, at once or in stages.
    """
    system = problem.system
    nodes = system.x.size
    old = np.zeros((nodes, 3))
    patient = dataclasses.replace(SAFE, max_steps=STAGE_STEPS)
    full = problem.lowering
    base = np.zeros((nodes, 5))
    base[:, model.PSI] = np.interp(system.x, system.x[[0, -1]], -system.barrier)
    problem.lowering = 0.0
    u = solve_newton(problem, SAFE, model.EQUILIBRIUM, base, old, 0.0, 1.0)
    for stages in STAGES if full and u is not None else ():
        v: np.ndarray | None = u
        for stage in range(1, stages + 1):
            problem.lowering = full * stage / stages
            if v is not None:
                v = solve_newton(problem, patient, model.EQUILIBRIUM, v, old, 0.0, 1.0)
        if v is not None or stages == STAGES[-1]:
            u = v
            break
    problem.lowering = full
    if u is None:
        return None
    density = problem.densities(u)
    problem.contact_density = density[[0, -1], :2].copy()
    return State(time=0.0, voltage=0.0, u=u, density=density)


def solve_transient(
    drive: Waveform,
    control: SolverControl,
    engine: LinearEngine,
    system: System,
    levels: np.ndarray | None = None,
    profiles: np.ndarray | None = None,
) -> Trace:
    """The trace of one device under one drive.

    `levels` [T] in s are marched (None: the controller's own). A failure is a status; of prescribed
    levels, those that were not reached hold NaN, an adaptive trace ends. Profiles at the times
    `profiles` come from side steps that are thrown away, so asking for them changes no other number.
    """
    began = clock.perf_counter()
    run = Transient(system, engine, drive, control, 0 if levels is None else levels.size)
    march = March(rejected=[], failure="no_equilibrium")
    record = Record(run.problem, levels, np.array([]) if profiles is None else profiles, run.step)
    state = equilibrium(run.problem)
    if state is not None:
        record.start(state)
        march.failure = None
        _march(run, state, levels, record, march)
    return record.trace(drive, march, run.budget, clock.perf_counter() - began)


def _march(run: Transient, state: State, levels: np.ndarray | None, record: Record, march: March) -> None:
    assert isinstance(run.control.steps, AdaptiveSteps)
    try:
        if levels is None:
            march_adaptive(run.step, state, float(run.drive.duration()), run.control.steps, record.accept, march)
        else:
            march_levels(run.step, state, levels[1:].tolist(), record.accept, march)
    except OutOfBudget:
        march.failure = "out_of_budget"
