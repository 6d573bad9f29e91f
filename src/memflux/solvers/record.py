"""What is kept of a published simulation while it runs, and the trace that is made of it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from memflux.solvers import model
from memflux.solvers.newton import Problem
from memflux.solvers.system import State
from memflux.solvers.timestep import March
from memflux.traces import SOLVED, History, Profiles, Trace
from memflux.waveform import Waveform

SideStep = Callable[[State, float], State | None]


class Level(NamedTuple):
    """One recorded time level."""

    time: float  # s
    conduction: float  # A/m^2
    total: float  # A/m^2, displacement included
    newton: int
    lowering_left: float  # V
    lowering_right: float  # V


class Record:
    """Levels and profiles of one device; `accept` is told of every step that is kept."""

    def __init__(self, problem: Problem, levels: np.ndarray | None, profiles: np.ndarray, side_step: SideStep) -> None:
        self.problem = problem
        self.grid = levels
        self.levels: list[Level] = []
        self.snapshots: list[State] = []
        self.currents: list[np.ndarray] = []  # [N - 1, 4] A/m^2 of each snapshot
        self.waiting = sorted(profiles.tolist())
        self.equilibrium_cost = 0
        self._side_step = side_step
        self._counted = 0

    def start(self, state: State) -> None:
        """Keep the equilibrium."""
        self.equilibrium_cost = self._counted = self.problem.newton_steps
        self._keep(state, 0.0, 0.0)
        while self.waiting and self.waiting[0] <= 0.0:
            self.snapshots.append(state)
            self.currents.append(np.zeros((state.u.shape[0] - 1, 4)))
            self.waiting.pop(0)

    def accept(self, old: State, new: State) -> None:
        """Keep the step from `old` to `new`."""
        problem = self.problem
        problem.densities(new.u)  # brings ln F up to date for the fluxes
        parts = model.terminal_current(
            new.u, new.density, old.u, old.density, new.time - old.time, *problem.packed, problem.lnf
        )
        self._keep(new, *parts)
        while self.waiting and self.waiting[0] <= new.time:
            self._snapshot(self.waiting.pop(0), old, new)

    def _snapshot(self, at: float, old: State, new: State) -> None:
        """The state at `at`, by a side step whose cost does not count."""
        spent = self.problem.newton_steps
        side = new if at == new.time else self._side_step(old, at)
        side = side if side is not None else new
        problem = self.problem
        problem.densities(side.u)
        parts = np.empty((side.u.shape[0] - 1, 4))
        model.currents_inside(side.u, side.density, old.u, side.time - old.time, *problem.packed, problem.lnf, parts)
        self.snapshots.append(side)
        self.currents.append(parts)
        problem.newton_steps = spent

    def _keep(self, state: State, conduction: float, total: float) -> None:
        left, right = state.u[[0, -1], model.W]
        cost = self.problem.newton_steps - self._counted
        self._counted = self.problem.newton_steps
        self.levels.append(Level(state.time, conduction, total, cost, float(left), float(right)))

    def trace(self, drive: Waveform, march: March, budget: int, seconds: float) -> Trace:
        """The trace of all that was kept."""
        table = np.array(self.levels, dtype=np.float64).reshape(-1, len(Level._fields))
        time = table[:, 0] if self.grid is None else self.grid
        missing = np.full(time.size - len(table), np.nan)
        area = self.problem.system.area
        conduction, total = (np.concatenate([area * table[:, k], missing]) for k in (1, 2))
        return Trace(
            time=time,
            voltage=np.asarray(drive.voltage(time)),
            current=total,
            conduction=conduction,
            period=float(drive.periods()),
            cycles=drive.cycles,
            status_class=march.failure or SOLVED,
            status=self._sentence(march, drive, budget),
            history=History(
                newton=table[:, 3].astype(np.int64),
                rejected=np.array(march.rejected, dtype=np.float64),
                equilibrium_newton=self.equilibrium_cost,
                rescues=0,
                wall_time=seconds,
                barrier_change_left=table[:, 4].copy(),
                barrier_change_right=table[:, 5].copy(),
            ),
            profiles=self._profiles(),
        )

    def _sentence(self, march: March, drive: Waveform, budget: int) -> str:
        if march.failure is None:
            return "solved"
        steps = f"{self.problem.newton_steps} Newton steps"
        if march.failure == "no_equilibrium":
            return f"the equilibrium did not converge in {steps}"
        last = self.levels[-1].time
        at = f"after t = {last:.6g} s, {float(drive.voltage(last)):.4g} V"
        if march.failure == "out_of_budget":
            return f"the budget of {budget} Newton steps was spent {at}"
        return f"no time step was small enough {at} ({steps})"

    def _profiles(self) -> Profiles | None:
        if not self.snapshots:
            return None
        system = self.problem.system
        u = np.stack([s.u for s in self.snapshots])
        density = np.stack([s.density for s in self.snapshots])
        j = np.stack(self.currents)
        return Profiles(
            time=np.array([s.time for s in self.snapshots]),
            x=system.x,
            psi=u[..., model.PSI] - system.affinity,
            phi_n=u[..., model.PHI_N],
            phi_p=u[..., model.PHI_P],
            phi_x=u[..., model.PHI_X],
            n=density[..., 0],
            p=density[..., 1],
            vacancy=density[..., 2],
            j_n=j[..., 0],
            j_p=j[..., 1],
            j_x=j[..., 2],
            j_displacement=j[..., 3],
            voltage=np.array([s.voltage for s in self.snapshots]),
            lowering_left=u[:, 0, model.W],
            lowering_right=u[:, -1, model.W],
        )
