"""The finite-volume solver as a Predictor, and `simulate` for one call."""

import dataclasses
import importlib
import importlib.util
import time as clock
from collections.abc import Sequence
from types import ModuleType
from typing import overload

import numpy as np

from memflux.circuit import NO_CIRCUIT, Circuit
from memflux.contracts import CurveCost, finite_difference_gradient
from memflux.device import Device, Devices
from memflux.errors import InvalidValue, MissingDependency, SolveFailed, check_choice, check_integer, check_numbers
from memflux.solvers import batch, march
from memflux.solvers.batch import NOTHING, VERSION, Job
from memflux.solvers.content import no_content, with_offset
from memflux.solvers.control import SolverControl
from memflux.solvers.lanes import REALS, allocate
from memflux.solvers.newton import LinearEngine
from memflux.solvers.system import build_system
from memflux.solvers.transient import solve_transient
from memflux.space import Space
from memflux.state import State
from memflux.traces import Trace, Traces
from memflux.waveform import MAX_JUMP, MAX_LEVELS, Waveform

ENGINES = ("auto", "petsc", "compiled", "cuda")
ACCURATE_SAMPLES = 160


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Solver:
    """The FV charge-transport model as a Differentiable Predictor.

    control: "accurate" (default), "fast", or a published one ("reference", "reference-S1",
    "reference-Ex107"). engine: "petsc", "compiled" (no PETSc needed), "cuda" (a GPU, for thousands of
    devices in one call; not for published controls), or "auto": PETSc where it is installed.
    `samples` a cycle is the common grid of phase of "accurate" and "fast", and their time levels.
    `parameters` name the columns of `value_and_gradient` (central differences). `circuit` is what
    stands between source and device; `voltage` of the traces is that of the device.
    """

    control: str = "accurate"
    engine: str = "auto"
    samples: int = ACCURATE_SAMPLES
    parameters: tuple[str, ...] = Space.preset("5d-parametric").names
    circuit: Circuit = NO_CIRCUIT

    def __post_init__(self) -> None:
        SolverControl.preset(self.control)
        check_integer("samples", self.samples, low=8, high=1_000_000)
        object.__setattr__(self, "engine", _resolve(check_choice("engine", self.engine, ENGINES)))
        if SolverControl.preset(self.control).adaptive and not self.circuit.plain:
            raise InvalidValue(
                f"control = {self.control!r} knows no circuit; choose control = 'accurate' or 'fast', or leave it out."
            )
        if self.engine == "cuda" and SolverControl.preset(self.control).adaptive:
            raise InvalidValue(
                f"control = {self.control!r} does not run with engine = 'cuda'; choose engine = 'compiled' or 'petsc'."
            )

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        """Traces [B, cycles * samples + 1]; failed rows hold NaN and say why."""
        if SolverControl.preset(self.control).adaptive:
            raise InvalidValue(
                f"control = {self.control!r} has time levels of its own for every device; "
                "use simulate(devices, drive, control=...), which returns a list of traces."
            )
        return Traces.stack(self.traces(devices, drive))

    def traces(
        self,
        devices: Devices,
        drive: Waveform,
        levels: np.ndarray | None = None,
        profiles: np.ndarray | None = None,
        state: State | None = None,
        at: np.ndarray | None = None,
    ) -> list[Trace]:
        """One Trace a device, on the control's own levels or on `levels` [s], with the inside at `profiles` [s].

        `at` [s] are the times that are returned instead of the grid of phase, which is marched all the same.
        A single device goes on from `state`, where one is given, and its trace keeps the state it ends in.
        """
        if len(devices) == 0:
            raise InvalidValue("devices has no entries; give at least one device.")
        drive = drive.for_batch(len(devices))
        control = SolverControl.preset(self.control)
        jobs = []
        for i in range(len(devices)):
            wave = drive[i]
            recorded, hidden = self._levels_of(wave, levels, at)
            job = Job(
                device=devices[i],
                drive=wave,
                recorded=recorded,
                hidden=hidden,
                profiles=NOTHING if profiles is None else profiles,
                circuit=self.circuit,
                state=state,
                keep_state=len(devices) == 1,
            )
            jobs.append(job)
        if state is not None:
            self._check_state(state, drive)
        jobs, failed = _settle(jobs, control)
        if state is not None and [job.device for job in jobs] != [state.device] * len(devices):
            raise InvalidValue("state belongs to another device; solve the device that it was saved with.")
        solve = self._published if control.adaptive else self._phases
        solved = iter(solve(jobs, control if levels is None else control.prescribed()) if jobs else [])
        return [failed[i] if i in failed else next(solved) for i in range(len(devices))]

    def _levels_of(
        self, wave: Waveform, levels: np.ndarray | None, at: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Levels [s] to return and levels to visit besides; none where a published controller has its own."""
        if levels is not None:
            return levels, NOTHING
        if SolverControl.preset(self.control).adaptive:
            return NOTHING, NOTHING
        grid, corners = wave.grid(self.samples)[0], corner_times(wave, self.samples)
        return (grid, corners) if at is None else (at, np.append(grid, corners))

    def _check_state(self, state: State, drive: Waveform) -> None:
        """InvalidValue unless this solver can go on from `state` with `drive`."""
        control = SolverControl.preset(self.control)
        if self.engine == "cuda" or control.adaptive:
            raise InvalidValue(
                f"control = {self.control!r} with engine = {self.engine!r} cannot go on from a state; "
                "choose control = 'accurate' or 'fast' and engine = 'petsc' or 'compiled'."
            )
        for name, value in {"control": self.control, "solver_version": VERSION}.items():
            if getattr(state, name) != value:
                raise InvalidValue(
                    f"state has {name} = {getattr(state, name)!r}, not {value!r}; start the drive from rest."
                )
        if state.levels.shape[1] != build_system(state.device, control).x.size or state.numbers.size != REALS:
            raise InvalidValue("state does not fit the mesh of its device; start the drive from rest.")
        first = float(drive.voltage(0.0))
        if self.circuit.plain and abs(first - state.voltage) > MAX_JUMP:
            raise InvalidValue(
                f"drive starts at {first:g} V and state was left at {state.voltage:g} V; start the drive there."
            )

    def _phases(self, jobs: list[Job], control: SolverControl) -> list[Trace]:
        """By the march, on the levels of every job."""
        if self.engine == "cuda":
            return _cuda().solve_batch(jobs, control)
        lanes = allocate(build_system(jobs[0].device, control).x.size, 1)
        proceed = batch.PetscSteps(lanes.u.shape[0]) if self.engine == "petsc" else march.proceed
        try:
            return [batch.solve_device(job, control, proceed, lanes) for job in jobs]
        finally:
            if isinstance(proceed, batch.PetscSteps):
                proceed.close()

    def _published(self, jobs: list[Job], control: SolverControl) -> list[Trace]:
        """With a published controller, on its own time levels or on prescribed ones."""
        engine = make_engine(self.engine, build_system(jobs[0].device, control).x.size)
        try:
            return [
                solve_transient(
                    job.drive,
                    control,
                    engine,
                    build_system(job.device, control),
                    job.recorded if job.recorded.size else None,
                    job.profiles,
                )
                for job in jobs
            ]
        finally:
            engine.close()

    def value_and_gradient(self, devices: Devices, drive: Waveform, cost: CurveCost) -> tuple[np.ndarray, np.ndarray]:
        """Cost [B] and gradient [B, P] by central differences; see `Differentiable`."""
        return finite_difference_gradient(self, devices, drive, cost, self.parameters)


def _resolve(engine: str) -> str:
    if engine != "auto":
        return engine
    return "petsc" if importlib.util.find_spec("petsc4py") is not None else "compiled"


def _settle(jobs: list[Job], control: SolverControl) -> tuple[list[Job], dict[int, Trace]]:
    """The jobs, a given mean vacancy density replaced by the offset that holds it; and traces of those without one."""
    settled, failed = [], {}
    for i, job in enumerate(jobs):
        began = clock.perf_counter()
        try:
            settled.append(dataclasses.replace(job, device=with_offset(job.device, control)))
        except SolveFailed as failure:
            failed[i] = no_content(job, str(failure), clock.perf_counter() - began)
    return settled, failed


def _cuda() -> ModuleType:
    """The engine "cuda", imported only now, because numba-cuda need not be there."""
    try:
        return importlib.import_module("memflux.solvers.cuda")
    except ImportError as error:
        raise MissingDependency(
            f"numba.cuda cannot be imported ({error}); pip install 'numba-cuda[cu12]', or choose engine = 'compiled'."
        ) from None


def corner_times(drive: Waveform, samples: int) -> np.ndarray:
    """Times [s] of the drive's corners that do not lie on its grid: stepping over one would cut it off."""
    phases = (np.arange(drive.cycles)[:, None] + drive.corners()).ravel()
    off_grid = np.abs(phases * samples - np.rint(phases * samples)) > 1e-6
    return phases[off_grid] * float(drive.periods())


def make_engine(name: str, nodes: int) -> LinearEngine:
    """The linear engine "petsc" or "compiled" for a mesh of `nodes`; MissingDependency without PETSc."""
    if name == "petsc":
        from memflux.solvers.petsc import PetscEngine

        return PetscEngine(nodes)
    from memflux.solvers.thomas import ThomasEngine

    return ThomasEngine(nodes)


@overload
def simulate(
    devices: Device,
    drive: Waveform,
    *,
    control: str = "accurate",
    engine: str = "auto",
    samples: int = ACCURATE_SAMPLES,
    levels: Sequence[float] | np.ndarray | None = None,
    profiles: Sequence[float] | np.ndarray | None = None,
    circuit: Circuit | None = None,
    state: State | None = None,
    at: Sequence[float] | np.ndarray | None = None,
) -> Trace: ...
@overload
def simulate(
    devices: Devices,
    drive: Waveform,
    *,
    control: str = "accurate",
    engine: str = "auto",
    samples: int = ACCURATE_SAMPLES,
    levels: Sequence[float] | np.ndarray | None = None,
    profiles: Sequence[float] | np.ndarray | None = None,
    circuit: Circuit | None = None,
    state: State | None = None,
    at: Sequence[float] | np.ndarray | None = None,
) -> Traces | list[Trace]: ...
def simulate(
    devices: Device | Devices,
    drive: Waveform,
    *,
    control: str = "accurate",
    engine: str = "auto",
    samples: int = ACCURATE_SAMPLES,
    levels: Sequence[float] | np.ndarray | None = None,
    profiles: Sequence[float] | np.ndarray | None = None,
    circuit: Circuit | None = None,
    state: State | None = None,
    at: Sequence[float] | np.ndarray | None = None,
) -> Trace | Traces | list[Trace]:
    """Simulate one device (-> Trace) or a batch (-> Traces) under `drive`.

    `levels` [s], starting at 0 and increasing, are marched instead of the control's own;
    `profiles` are times [s] at which the inside of the device is returned (one device only).
    `circuit` puts a series resistor, a compliance or a current source between drive and device;
    `state`, the `state` of an earlier trace of this device, lets the drive go on where that one ended.
    `at` [s], increasing, are times to return instead of the grid of phase (reads of a pulse train).
    Batches under a reference control, `levels` or `at` have no common grid and return a list of Trace.
    Raises InvalidValue for what cannot be simulated; a solve that fails is a status.
    """
    solver = Solver(control=control, engine=engine, samples=samples, circuit=circuit or NO_CIRCUIT)
    one = isinstance(devices, Device)
    if profiles is not None and not one:
        raise InvalidValue("profiles are kept for one device only; pass a Device instead of Devices.")
    if state is not None and not one:
        raise InvalidValue("state belongs to one device; pass a Device instead of Devices.")
    times = None if levels is None else _levels(levels, drive)
    wanted = None if profiles is None else _times("profiles", profiles, drive)
    if wanted is not None and times is not None and wanted.max() > times[-1]:
        raise InvalidValue(f"profiles go to {wanted.max():g} s and levels end at {times[-1]:g} s; give more levels.")
    returned = None if at is None else _returned(at, drive, times, control)
    batch = Devices.of(devices) if isinstance(devices, Device) else devices
    rows = solver.traces(batch, drive, times, wanted, state, returned)
    if one:
        return rows[0]
    native = times is not None or returned is not None or SolverControl.preset(control).adaptive
    return rows if native else Traces.stack(rows)


def _times(name: str, times: object, drive: Waveform) -> np.ndarray:
    end = float(np.min(drive.duration()))
    return check_numbers(name, times, low=0.0, high=end * (1 + 1e-12), unit="s")


def _returned(at: object, drive: Waveform, levels: np.ndarray | None, control: str) -> np.ndarray:
    times = _times("at", at, drive)
    if levels is not None or SolverControl.preset(control).adaptive:
        raise InvalidValue(f"at is for the grid of phase; leave it out with levels or control = {control!r}.")
    if not 1 <= times.size <= MAX_LEVELS or not np.all(np.diff(times) > 0):
        raise InvalidValue(f"at has {times.size} entries; give from 1 to {MAX_LEVELS} times that increase.")
    return times


def _levels(levels: object, drive: Waveform) -> np.ndarray:
    times = _times("levels", levels, drive)
    if not 2 <= times.size <= MAX_LEVELS:
        raise InvalidValue(f"levels has {times.size} entries; give from 2 to {MAX_LEVELS} times.")
    if times[0] != 0.0 or not np.all(np.diff(times) > 0):
        raise InvalidValue(f"levels starts at {times[0]:g} s and must start at 0 and increase; sort it.")
    return times
