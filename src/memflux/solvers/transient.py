"""One device through one drive: equilibrium, time levels, terminal current, profiles."""

import dataclasses
import time as clock

import numpy as np

from memflux.device import Device
from memflux.solvers import model
from memflux.solvers.control import AdaptiveSteps, NewtonControl, SolverControl
from memflux.solvers.newton import LinearEngine, Problem, solve_newton
from memflux.solvers.system import State, System
from memflux.solvers.timestep import March, march_adaptive, march_levels
from memflux.traces import SOLVED, History, Profiles, Trace
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
    """Steps one device: holds the problem, its drive, and what has been recorded."""

    def __init__(self, system: System, engine: LinearEngine, drive: Waveform, control: SolverControl) -> None:
        self.problem = Problem.of(system, engine)
        self.drive = drive
        self.control = control
        self.levels: list[tuple[float, ...]] = []  # time, voltage, conduction, displacement, newton, lowering L, R
        self._counted = 0

    def equilibrium(self) -> State | None:
        """The state at V = 0 with constant quasi-Fermi potentials, or None.

        Poisson's equation without lowering first, from the charge-free solution; then the
        lowering, at once or in stages, because Newton's method can cycle at the kink of its root.
        """
        problem, system = self.problem, self.problem.system
        nodes = system.x.size
        old = np.zeros((nodes, 3))
        patient = dataclasses.replace(SAFE, max_steps=STAGE_STEPS)
        full = problem.lowering
        base = np.zeros((nodes, 5))
        base[:, model.PSI] = np.interp(system.x, system.x[[0, -1]], -system.barrier)
        problem.lowering = 0.0
        u = self._newton(SAFE, model.EQUILIBRIUM, base, old, 0.0, 1.0)
        for stages in STAGES if full and u is not None else ():
            v: np.ndarray | None = u
            for stage in range(1, stages + 1):
                problem.lowering = full * stage / stages
                if v is not None:
                    v = self._newton(patient, model.EQUILIBRIUM, v, old, 0.0, 1.0)
            if v is not None or stages == STAGES[-1]:
                u = v
                break
        problem.lowering = full
        if u is None:
            return None
        density = problem.densities(u)
        problem.contact_density = density[[0, -1], :2].copy()
        return State(time=0.0, voltage=0.0, u=u, density=density)

    def step(self, state: State, time: float, earlier: State | None) -> State | None:
        """One implicit Euler step to `time`; from a straight line through `earlier` where given."""
        if self.problem.newton_steps > self.control.newton_budget:
            raise OutOfBudget
        voltage = float(self.drive.voltage(time))
        dt = time - state.time
        u = None
        if earlier is not None:
            guess = state.u + (state.u - earlier.u) * (dt / (state.time - earlier.time))
            u = self._newton(self.control.newton, model.TRANSIENT, guess, state.density, voltage, dt)
        if u is None:
            newton = self.control.newton if self.control.adaptive else SAFE
            u = self._newton(newton, model.TRANSIENT, state.u, state.density, voltage, dt)
        if u is None:
            return None
        return State(time=time, voltage=voltage, u=u, density=self.problem.densities(u))

    def record(self, old: State | None, new: State) -> None:
        """Keep voltage, currents, cost and lowering of a level."""
        problem = self.problem
        conduction = displacement = 0.0
        if old is not None:
            problem.densities(new.u)  # brings ln F up to date for the fluxes
            conduction, displacement = model.terminal_current(
                new.u, new.density, old.u, old.density, new.time - old.time, *problem.packed, problem.lnf
            )
        cost = problem.newton_steps - self._counted
        self._counted = problem.newton_steps
        self.levels.append(
            (new.time, new.voltage, conduction, displacement, cost, new.u[0, model.W], new.u[-1, model.W])
        )

    def _newton(
        self, control: NewtonControl, mode: int, start: np.ndarray, old: np.ndarray, voltage: float, dt: float
    ) -> np.ndarray | None:
        return solve_newton(self.problem, control, mode, start, old, voltage, dt)


def solve_transient(
    device: Device,
    drive: Waveform,
    control: SolverControl,
    engine: LinearEngine,
    system: System,
    levels: np.ndarray | None = None,
    profiles: np.ndarray | None = None,
) -> Trace:
    """The trace of one device; `levels` [T] in s are visited (None: the controller's own).

    A failure is a status, with NaN from the first level that was not reached. Profiles come from
    side steps that are thrown away, so asking for them changes no other number.
    """
    began = clock.perf_counter()
    run = Transient(system, engine, drive, control)
    state = run.equilibrium()
    equilibrium_cost = run.problem.newton_steps
    snapshots: list[State] = []
    march = March(rejected=[], rescues=0, failure="no_equilibrium")
    if state is not None:
        run._counted = equilibrium_cost
        run.record(None, state)
        march = _march(run, state, levels, np.array([]) if profiles is None else profiles, snapshots)
    history = _history(run, march, equilibrium_cost, clock.perf_counter() - began)
    return _trace(device, drive, run, march, history, levels, _profiles(run, snapshots))


def _march(
    run: Transient, state: State, levels: np.ndarray | None, wanted: np.ndarray, snapshots: list[State]
) -> March:
    waiting = sorted(float(t) for t in wanted)
    while waiting and waiting[0] <= 0.0:
        snapshots.append(state)
        waiting.pop(0)

    def accept(old: State, new: State) -> None:
        run.record(old, new)
        while waiting and waiting[0] <= new.time:
            at = waiting.pop(0)
            side = new if at == new.time else run.step(old, at, None)
            snapshots.append(side if side is not None else new)
            run._counted = run.problem.newton_steps

    try:
        if levels is not None:
            halvings = getattr(run.control.steps, "max_halvings", 0)
            return march_levels(run.step, state, [float(t) for t in levels[1:]], halvings, accept)  # type: ignore[arg-type]
        assert isinstance(run.control.steps, AdaptiveSteps)
        end = float(run.drive.duration())
        return march_adaptive(run.step, state, end, run.control.steps, accept)  # type: ignore[arg-type]
    except OutOfBudget:
        return March(rejected=[], rescues=0, failure="out_of_budget")


def _history(run: Transient, march: March, equilibrium_cost: int, seconds: float) -> History:
    table = np.array(run.levels, dtype=np.float64).reshape(-1, 7)
    return History(
        newton=table[:, 4].astype(np.int64),
        rejected=np.array(march.rejected, dtype=np.float64),
        equilibrium_newton=equilibrium_cost,
        rescues=march.rescues,
        wall_time=seconds,
        barrier_change_left=table[:, 5].copy(),
        barrier_change_right=table[:, 6].copy(),
    )


def _status(march: March, run: Transient) -> str:
    at = f" after t = {run.levels[-1][0]:.6g} s, {run.levels[-1][1]:.4g} V" if run.levels else ""
    steps = f"{run.problem.newton_steps} Newton steps"
    return {
        None: "solved",
        "no_equilibrium": f"the equilibrium did not converge in {steps}",
        "step_underflow": f"no time step was small enough{at} ({steps})",
        "out_of_budget": f"the budget of {run.control.newton_budget} Newton steps was spent{at}",
    }[march.failure]


def _trace(
    device: Device,
    drive: Waveform,
    run: Transient,
    march: March,
    history: History,
    levels: np.ndarray | None,
    profiles: Profiles | None,
) -> Trace:
    table = np.array(run.levels, dtype=np.float64).reshape(-1, 7)
    time, voltage = table[:, 0], table[:, 1]
    conduction, displacement = table[:, 2] * device.area, table[:, 3] * device.area
    if levels is not None:
        missing = np.full(levels.size - len(table), np.nan)
        time, voltage = levels, np.asarray(drive.voltage(levels))
        conduction = np.concatenate([conduction, missing])
        displacement = np.concatenate([displacement, missing])
    return Trace(
        time=time.astype(np.float64),
        voltage=voltage.astype(np.float64),
        current=conduction + displacement,
        conduction=conduction,
        period=float(drive.periods()),
        cycles=drive.cycles,
        status_class=march.failure or SOLVED,
        status=_status(march, run),
        history=history,
        profiles=profiles,
    )


def _profiles(run: Transient, snapshots: list[State]) -> Profiles | None:
    if not snapshots:
        return None
    u = np.stack([s.u for s in snapshots])
    density = np.stack([s.density for s in snapshots])
    return Profiles(
        time=np.array([s.time for s in snapshots]),
        x=run.problem.system.x,
        psi=u[..., model.PSI] - run.problem.system.affinity,
        phi_n=u[..., model.PHI_N],
        phi_p=u[..., model.PHI_P],
        phi_x=u[..., model.PHI_X],
        n=density[..., 0],
        p=density[..., 1],
        vacancy=density[..., 2],
    )
