"""The vacancy content as an input: which offset holds a given mean density of vacancies at rest.

The content at equilibrium falls (positive charge) or rises (negative) with `vacancy_offset`, so the
logarithm of the mean density has one root. It depends on the barriers, their lowering and the charge
of the channel, hence on the control's own equilibrium: its mesh, its statistics, its contact field.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from memflux.device import QUANTITIES, Device
from memflux.errors import SolveFailed
from memflux.solvers import batch
from memflux.solvers import lanes as at
from memflux.solvers.batch import NOTHING, Job
from memflux.solvers.control import PhaseSteps, SolverControl
from memflux.solvers.equilibrium import find_equilibrium
from memflux.solvers.fermi import fermi_dirac_half
from memflux.solvers.newton import Problem
from memflux.solvers.system import System, build_system
from memflux.solvers.thomas import ThomasEngine
from memflux.solvers.transient import equilibrium
from memflux.traces import History, Trace
from memflux.waveform import Triangle

ROUNDING = 2e-13  # of the density: what Newton's method leaves
AGREEMENT = 1e-9  # of the density: larger errors mean that the density jumps at the offset found
TRIES = 60  # offsets looked at to enclose the root
REACH = 1e7  # V, potentials beyond which no charge of the channel needs to lie, be the carriers ever so light
_AT_REST = Job(device=Device(), drive=Triangle(amplitude=1.0, period=1.0, cycles=1), recorded=np.array([0.0]))


def vacancy_offset_for(device: Device, control: str = "accurate") -> float:
    """The vacancy offset [eV] at which `device` holds its `mean_vacancy_density` at rest, to about 1e-12 of it.

    A device without one has its own `vacancy_offset`. Raises InvalidValue for an unknown control and
    SolveFailed where no offset from -20 to 20 eV gives the density.
    """
    return find_offset(device, SolverControl.preset(control))


def find_offset(device: Device, control: SolverControl) -> float:
    """`vacancy_offset_for` under a control that need not be a preset."""
    wanted = device.mean_vacancy_density
    if wanted is None:
        return device.vacancy_offset
    system = build_system(device.replace(mean_vacancy_density=None), control)
    mean = _mean_of_march(system, control.steps) if isinstance(control.steps, PhaseSteps) else _mean_published(system)

    @functools.cache
    def surplus(offset: float) -> float:
        value = math.log(mean(offset) / wanted)
        return 0.0 if abs(value) < ROUNDING else value

    offset = _root(surplus, _neutral_offset(system, wanted), system.unit / float(system.z[2]))
    if math.isnan(offset):
        low, high = QUANTITIES["vacancy_offset"][1:]
        raise SolveFailed(
            f"no equilibrium with mean_vacancy_density = {wanted:g} m^-3 was found for any vacancy_offset "
            f"from {low:g} to {high:g} eV"
        )
    return offset


def with_offset(device: Device, control: SolverControl) -> Device:
    """The device for the march: its mean vacancy density replaced by the offset that holds it; or SolveFailed."""
    if device.mean_vacancy_density is None:
        return device
    return dataclasses.replace(device, mean_vacancy_density=None, vacancy_offset=find_offset(device, control))


def no_content(job: Job, sentence: str, seconds: float) -> Trace:
    """The trace of a device that SolveFailed: `sentence` says why, nothing on its levels was reached."""
    times, drive = job.recorded, job.drive
    nothing = np.full(times.size, np.nan)
    none = np.array([])
    return Trace(
        time=times,
        voltage=np.asarray(drive.voltage(times)) if job.circuit.plain else nothing,
        current=nothing,
        conduction=nothing,
        period=float(drive.periods()),
        cycles=drive.cycles,
        status_class="no_equilibrium",
        status=sentence,
        history=History(
            newton=np.array([], dtype=np.int64),
            rejected=none,
            equilibrium_newton=0,
            rescues=0,
            wall_time=seconds,
            barrier_change_left=none,
            barrier_change_right=none,
        ),
    )


def _mean_of_march(system: System, steps: PhaseSteps) -> Callable[[float], float]:
    """Mean vacancy density [m^-3] by offset [eV], as the march starts from it; NaN without an equilibrium."""
    arrays = batch.pack([system], [_AT_REST], [batch.plan_levels(_AT_REST.recorded, NOTHING, NOTHING)], steps)
    lanes = at.allocate(system.x.size, 1)

    def mean(offset: float) -> float:
        arrays.scalars[at.LEVEL_X, 0] = -offset
        found = find_equilibrium(arrays, lanes, 0, 0)
        return _average(system, lanes.u[:, 2, 0]) if found else math.nan

    return mean


def _mean_published(system: System) -> Callable[[float], float]:
    """The same as a published controller starts from it."""
    engine = ThomasEngine(system.x.size)

    def mean(offset: float) -> float:
        moved = dataclasses.replace(system, level=np.array([*system.level[:2], -offset]))
        state = equilibrium(Problem.of(moved, engine))
        return math.nan if state is None else _average(system, state.density[:, 2])

    return mean


def _average(system: System, density: np.ndarray) -> float:
    return float(system.volume @ density / system.x[-1])


def _neutral_offset(system: System, wanted: float) -> float:
    """The offset [eV] at which a neutral channel, far from contacts, holds the density `wanted`."""
    from scipy.optimize import brentq  # here, because most solves do without and its import takes longer than they do

    unit, z, gap, sites = system.unit, float(system.z[2]), -system.level[1], system.density[2]

    def charge(psi: float) -> float:
        electrons = system.density[0] * fermi_dirac_half(psi / unit)[0]
        holes = system.density[1] * fermi_dirac_half((-gap - psi) / unit)[0]
        return float(system.doping + z * wanted + holes - electrons)

    psi = brentq(charge, -gap - REACH, REACH, xtol=1e-3 * unit)
    return float(-psi - unit / z * math.log(wanted / (sites - wanted)))


def _root(surplus: Callable[[float], float], guess: float, scale: float) -> float:
    """Root of `surplus` (logarithm of density over wanted density, by offset); NaN where none is found."""
    from scipy.optimize import toms748  # see above

    low, high = _enclose(surplus, guess, scale)
    if not low < high:
        return low if low == high else math.nan
    try:
        found = float(toms748(surplus, low, high, xtol=1e-13 * abs(scale), rtol=1e-15))
    except ValueError:  # an equilibrium between the two did not converge, and the surplus is NaN
        return math.nan
    return found if abs(surplus(found)) < AGREEMENT else math.nan


def _enclose(surplus: Callable[[float], float], guess: float, scale: float) -> tuple[float, float]:
    """Offsets around the root, in order (equal: it was met), going from `guess`; NaN where there are none.

    A surplus of 1 takes an offset of at least `scale` (U_T/z) to undo, and more where charges screen it.
    """
    least, most = QUANTITIES["vacancy_offset"][1:]
    near, stretch = min(max(guess, least), most), 2.0
    value = surplus(near)
    for _ in range(TRIES):
        if value == 0.0:
            return near, near
        if math.isnan(value):  # no equilibrium to begin with
            break
        beyond = min(max(near + stretch * scale * value, least), most)
        there = surplus(beyond)
        if there * value <= 0.0:
            return min(near, beyond), max(near, beyond)
        if math.isnan(there):  # too far at once: where sites fill up, no equilibrium may be found
            stretch *= 0.5
        elif beyond in (least, most):
            break
        else:
            near, value, stretch = beyond, there, 2.0 * stretch
    return math.nan, math.nan
