"""Many devices through their drives: packs them for the kernels, runs an engine, makes traces."""

import dataclasses
import time as clock
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from memflux.circuit import NO_CIRCUIT, Circuit
from memflux.device import Device
from memflux.solvers import lanes as at
from memflux.solvers import march, newton_step
from memflux.solvers.control import PhaseSteps, SolverControl
from memflux.solvers.inside import make_profiles
from memflux.solvers.lanes import Batch, Lanes, scalars_of
from memflux.solvers.petsc import PetscEngine
from memflux.solvers.system import System, build_system
from memflux.state import State
from memflux.traces import SOLVED, History, Trace
from memflux.waveform import Waveform

NOTHING = np.array([])
VACANCIES, ELECTRONS, HOLES = range(2, 5)  # rows of `State.fluxes` that are fluxes at its level
SAME = 1e-12  # of the last time: levels closer than this are one
SLICE = 2000  # Newton steps between two looks at the clock
VERSION = "3"
"""Raised whenever the numbers of a solve change; rows of a data set carry it."""
STATUS = ("crashed", SOLVED, "no_equilibrium", "step_underflow", "out_of_budget")  # by Lanes.whole[STATUS]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """One device to solve, and what of it."""

    device: Device
    drive: Waveform
    recorded: np.ndarray  # [T] s, the levels of the trace
    hidden: np.ndarray = dataclasses.field(default_factory=lambda: NOTHING)  # s, levels to visit besides
    profiles: np.ndarray = dataclasses.field(default_factory=lambda: NOTHING)  # s, looks inside
    circuit: Circuit = NO_CIRCUIT
    state: State | None = None  # to continue from; None: from rest
    keep_state: bool = False  # in the trace, at the end of the drive


@runtime_checkable
class Proceed(Protocol):
    """Takes a device on by some Newton steps; True while there is more to do."""

    def __call__(self, batch: Batch, lanes: Lanes, i: int, j: int, steps: int, budget: int, /) -> bool: ...


class PetscSteps:
    """The march with PETSc for the linear systems."""

    def __init__(self, nodes: int) -> None:
        self._engine = PetscEngine(nodes, 4)
        self._blocks = np.empty((3 * nodes - 2, 4, 4))
        self._right = np.empty((3, nodes, 4))

    def __call__(self, batch: Batch, lanes: Lanes, i: int, j: int, steps: int, budget: int) -> bool:
        """Up to `steps` linear solves; see `march.proceed`."""
        columns = 2 if batch.scalars[at.DRIVEN, i] == at.BY_CONTACT else 3
        right = self._right[:columns]
        for _ in range(steps):
            newton_step.assemble(batch, lanes, i, j, self._blocks, right)
            found = self._engine.solve_all(self._blocks, right)
            lanes.update[:, :, :columns, j] = np.moveaxis(found, 0, -1)
            newton_step.close_border(batch, lanes, i, j)
            if not march.advance(batch, lanes, i, j, budget):
                return False
        return True

    def close(self) -> None:
        """Free the PETSc objects."""
        self._engine.close()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """Where the levels of one device lie."""

    time: np.ndarray  # [K] s, all that are visited
    kind: np.ndarray  # [K] HIDDEN, RECORDED, SIDE
    recorded: np.ndarray  # [T] s
    looks: np.ndarray  # [S] s, of the profiles after t = 0


def plan_levels(recorded: np.ndarray, hidden: np.ndarray, profiles: np.ndarray) -> Plan:
    """All levels in order; a look inside comes before the level of the same time."""
    looks = np.sort(profiles[profiles > 0.0])
    extra = _away_from(hidden, recorded)
    time = np.concatenate([recorded, extra, looks])
    kind = np.repeat([at.RECORDED, at.HIDDEN, at.SIDE], [recorded.size, extra.size, looks.size])
    order = np.lexsort((kind != at.SIDE, time))
    return Plan(time=time[order], kind=kind[order], recorded=recorded, looks=looks)


def _away_from(hidden: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Hidden levels that no recorded level stands for, but for rounding: no step must be that short."""
    if hidden.size == 0:
        return hidden
    index = np.searchsorted(recorded, hidden)
    neighbours = recorded[np.clip([index - 1, index], 0, recorded.size - 1)]
    return np.unique(hidden[np.abs(neighbours - hidden).min(axis=0) > SAME * recorded[-1]])


def pack(systems: list[System], jobs: Sequence[Job], plans: list[Plan], steps: PhaseSteps) -> Batch:
    """The arrays of B devices on meshes of one size."""
    count, nodes = len(systems), systems[0].x.size
    most = max(p.time.size for p in plans)

    def columns(rows: list[np.ndarray], fill: float = np.nan) -> np.ndarray:
        table = np.full((most, count), fill)
        for i, row in enumerate(rows):
            table[: row.size, i] = row
        return table

    return Batch(
        control=np.array([steps.local_error, float(steps.crossing_parts)]),
        scalars=np.stack([scalars_of(s, job.circuit) for s, job in zip(systems, jobs, strict=True)], axis=1),
        h=np.stack([s.h for s in systems], axis=1),
        volume=np.stack([s.volume for s in systems], axis=1),
        time=columns([p.time for p in plans]),
        drive=columns([_drive(*each) for each in zip(systems, jobs, plans, strict=True)]),
        kind=columns([p.kind for p in plans], float(at.HIDDEN)).astype(np.int64),
        levels=np.array([p.time.size for p in plans]),
        out=np.full((most, at.OUTPUTS, count), np.nan),
        newton=np.zeros((most, count), dtype=np.int64),
        rung=np.zeros((most, count), dtype=np.int64),
        summary=np.zeros((at.WHOLES, count), dtype=np.int64),
        side=np.full((max(p.looks.size for p in plans), nodes, 7, count), np.nan),
    )


def _drive(system: System, job: Job, plan: Plan) -> np.ndarray:
    """Values of the drive [K]: V, or A/m^2 of a current source."""
    values = np.asarray(job.drive.voltage(plan.time))
    return values / system.area if job.circuit.source == "current" else values


def solve_device(job: Job, control: SolverControl, proceed: Proceed, lanes: Lanes) -> Trace:
    """The trace of one device on its levels.

    A failure is a status; levels that were not reached hold NaN. Looks inside are side steps that
    are thrown away, so asking for them changes no other number.
    """
    assert isinstance(control.steps, PhaseSteps)
    began = clock.perf_counter()
    system = build_system(job.device, control)
    plan = plan_levels(job.recorded, job.hidden, job.profiles)
    batch = pack([system], [job], [plan], control.steps)
    budget = control.newton_budget + control.newton_per_level * plan.time.size
    more = _enter(batch, lanes, job, system)
    equilibrium_cost = int(lanes.whole[at.NEWTON, 0])
    first = first_look(lanes.old[:, :, 0], None if job.state is None else job.state.fluxes)
    late = False
    while more and not late:
        more = proceed(batch, lanes, 0, 0, SLICE, budget)
        late = clock.perf_counter() - began > control.seconds_budget
    batch.summary[:, 0] = lanes.whole[:, 0]
    if late and more:
        batch.summary[at.STATUS, 0] = at.OUT_OF_BUDGET
    trace = make_trace(batch, 0, system, job, plan, equilibrium_cost, clock.perf_counter() - began)
    trace = with_profiles(trace, batch, 0, system, plan, job.profiles, first)
    if not (job.keep_state and trace.ok):
        return trace
    return dataclasses.replace(trace, state=_leave(batch, lanes, job, control, system.area))


def _enter(batch: Batch, lanes: Lanes, job: Job, system: System) -> bool:
    """The device at rest or in the state it was left in; False where there is nothing to march."""
    state = job.state
    if state is None:
        return bool(march.start(batch, lanes, 0, 0))
    lanes.old[:, :, 0], lanes.before[:, :, 0], lanes.earlier[:, :, 0] = state.levels
    lanes.flux[:, 0], lanes.rate[:, 0], lanes.instant[:, 0] = state.fluxes[: VACANCIES + 1]
    lanes.real[:, 0] = state.numbers
    lanes.whole[:, 0] = 0
    lanes.u[:, :, 0] = lanes.old[:, :, 0]
    total, conduction = state.current / system.area, state.conduction / system.area
    return bool(march.resume(batch, lanes, 0, 0, total, conduction))


def _leave(batch: Batch, lanes: Lanes, job: Job, control: SolverControl, area: float) -> State:
    end = batch.out[batch.levels[0] - 1, :, 0]
    return State(
        device=job.device,
        control=control.name,
        solver_version=VERSION,
        voltage=float(end[at.CONTACT]),
        current=float(area * end[at.TOTAL]),
        conduction=float(area * end[at.CONDUCTION]),
        levels=np.stack([lanes.old[:, :, 0], lanes.before[:, :, 0], lanes.earlier[:, :, 0]]),
        fluxes=np.stack([lanes.flux[:, 0], lanes.rate[:, 0], *lanes.edge[:, 0, (2, 0, 1), 0].T]),
        numbers=lanes.real[:, 0].copy(),
    )


def make_trace(
    batch: Batch, i: int, system: System, job: Job, plan: Plan, equilibrium_cost: int, seconds: float
) -> Trace:
    """Column i of a batch that has been solved."""
    rows = np.flatnonzero(plan.kind == at.RECORDED)
    reached = rows[rows < batch.summary[at.LEVEL, i]]
    status_class = STATUS[batch.summary[at.STATUS, i]]
    out = batch.out[rows, :, i]
    rung = batch.rung[: plan.time.size, i]
    newton = np.cumsum(batch.newton[: plan.time.size, i])
    return Trace(
        time=plan.recorded,
        voltage=_voltage(job, plan, out),
        current=system.area * out[:, at.TOTAL],
        conduction=system.area * out[:, at.CONDUCTION],
        period=float(job.drive.periods()),
        cycles=job.drive.cycles,
        status_class=status_class,
        status=_sentence(batch, i, status_class, plan),
        history=History(
            newton=np.diff(newton[reached], prepend=0),
            rejected=plan.time[rung > 0],
            equilibrium_newton=equilibrium_cost,
            rescues=int((rung > 0).sum()),
            wall_time=seconds,
            barrier_change_left=batch.out[reached, at.LOWERING_L, i],
            barrier_change_right=batch.out[reached, at.LOWERING_R, i],
        ),
    )


def _voltage(job: Job, plan: Plan, out: np.ndarray) -> np.ndarray:
    """Of the device [T] V; where it was not reached, what the drive would apply, or NaN behind a circuit."""
    if not job.circuit.plain:
        return out[:, at.CONTACT]
    return np.where(np.isnan(out[:, at.CONTACT]), job.drive.voltage(plan.recorded), out[:, at.CONTACT])


def _sentence(batch: Batch, i: int, status_class: str, plan: Plan) -> str:
    if status_class == SOLVED:
        return "solved"
    steps = f"{batch.summary[at.NEWTON, i]} Newton steps"
    if status_class == "no_equilibrium":
        return f"the equilibrium did not converge in {steps}"
    levels = np.flatnonzero(plan.kind[: batch.summary[at.LEVEL, i]] != at.SIDE)
    where = f"after t = {plan.time[levels[-1]]:.6g} s, {batch.out[levels[-1], at.CONTACT, i]:.4g} V"
    if status_class == "out_of_budget":
        return f"the budget of Newton steps or seconds was spent {where} ({steps})"
    return f"no time step was small enough {where} ({steps})"


def first_look(unknowns: np.ndarray, fluxes: np.ndarray | None = None) -> np.ndarray:
    """The row [N, 7] of `Batch.side` at the first level: its unknowns [N, 4], and no flux or those of a state."""
    look = np.zeros((len(unknowns), 7))
    look[:, :4] = unknowns
    if fluxes is not None:
        look[:-1, 4:] = fluxes[[ELECTRONS, HOLES, VACANCIES]].T
    return look


def with_profiles(
    trace: Trace, batch: Batch, i: int, system: System, plan: Plan, wanted: np.ndarray, first: np.ndarray
) -> Trace:
    """The trace with the looks inside that were asked for; `first` is that of the first level."""
    if wanted.size == 0 or trace.status_class == "no_equilibrium":
        return trace
    looks = np.flatnonzero(plan.kind == at.SIDE)
    return dataclasses.replace(trace, profiles=make_profiles(batch, i, system, looks, wanted, first))
