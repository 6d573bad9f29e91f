"""The march through the levels: conservation, order, positivity, rescues, and what must not matter."""

import dataclasses

import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE
from memflux.device import Device
from memflux.solvers import lanes as at
from memflux.solvers import march
from memflux.solvers.batch import NOTHING, Job, PetscSteps, solve_device
from memflux.solvers.control import SolverControl
from memflux.solvers.lanes import allocate
from memflux.solvers.mesh import control_volumes
from memflux.solvers.newton_step import eliminate
from memflux.solvers.solver import simulate
from memflux.solvers.system import build_system
from memflux.waveform import PiecewiseLinear, Sine, Triangle
from stepping import packed, prescribed, solved

SWEEP = Triangle(amplitude=10.0, period=8.0, cycles=2)
GENTLE = Sine(amplitude=2.0, period=8.0, cycles=1)
ACCURATE = SolverControl.preset("accurate")
VIOLENT = Device.preset("S2").replace(
    mobility_vacancy=2e-12, vacancy_offset=0.25, barrier_left=0.05, barrier_right=0.2, donor_density=1e19
)
DEVICES = {
    "S2": Device.preset("S2"),
    "S1": Device.preset("S1"),
    "Ex107": Device.preset("Ex107"),
    "lowered": Device.preset("S2").replace(contact_density="lowered"),
    "negative ions": Device.preset("S2").replace(vacancy_charge=-1, vacancy_offset=-0.3, donor_density=1e23),
    "violent": VIOLENT,
}


def settled(error):
    """Ratios of successive differences between solutions with 1, 2, 4 and 8 times the resolution."""
    return error[:-1] / error[1:]


@pytest.mark.parametrize("name", DEVICES)
def test_vacancies_are_conserved_stay_positive_and_below_their_sites(name):
    device = DEVICES[name]
    t = simulate(device, SWEEP, engine="compiled", profiles=np.linspace(0.0, 16.0, 61))
    assert t.ok, t.status
    inside = t.profiles
    assert inside is not None
    total = inside.vacancy @ control_volumes(inside.x)
    np.testing.assert_allclose(total, total[0], rtol=1e-10)
    for density in (inside.n, inside.p, inside.vacancy):
        assert (density > 0.0).all()
    assert (inside.vacancy < device.vacancy_site_density).all()
    assert inside.vacancy.max() / inside.vacancy.min() > 10.0  # they did move


def test_the_violent_device_empties_and_fills():
    t = simulate(VIOLENT, SWEEP, engine="compiled", profiles=np.linspace(0.0, 16.0, 61))
    assert t.profiles is not None
    assert t.profiles.vacancy.min() < 1e-6 * t.profiles.vacancy[0].min()
    assert t.profiles.vacancy.max() > 0.01 * VIOLENT.vacancy_site_density


def edge_currents(system, dt, kept):
    """Total current density through every edge [A/m^2], from the last linear system at its solution.

    `kept` are edge, update, u, old and w before the step was accepted. Vacancies: mean flux of the
    step, with which every node balances.
    """
    edge, y, u, old, signed = kept
    change = y[:, 3].copy()
    change[[0, -1]] *= signed > 0.0  # w has moved by `change`, psi only where it is positive
    total = np.zeros(system.h.size)
    for a in range(3):
        f = edge[:, 0, a] - edge[:, 1, a] * y[:-1, a] - edge[:, 2, a] * y[1:, a] - edge[:, 3, a] * np.diff(change)
        total += ELEMENTARY_CHARGE * system.z[a] * f
    lift = np.diff(u[:, 3] - change - old[:, 3]) / system.h
    return total - system.permittivity * lift / dt


@pytest.mark.parametrize("name", DEVICES)
def test_the_current_is_the_same_through_every_edge(name):
    """Fluxes and displacement add up to one current, whose mean over x (Ramo, Shockley) is the recorded one."""
    levels = SWEEP.grid(160)[0][:161]
    system, batch, lanes = packed(DEVICES[name], SWEEP, prescribed(), levels)
    assert march.start(batch, lanes, 0, 0)
    spread, apart, more = [], [], True
    while more:
        eliminate(batch, lanes, 0, 0)
        kept = (
            lanes.edge[..., 0].copy(),
            lanes.update[:, :, 0, 0].copy(),
            lanes.u[..., 0].copy(),
            lanes.old[..., 0].copy(),
            lanes.real[[at.W_L, at.W_R], 0].copy(),
        )
        level, time = lanes.whole[at.LEVEL, 0], lanes.real[at.TIME, 0]
        more = march.advance(batch, lanes, 0, 0, 10**6)
        if lanes.real[at.TIME, 0] == time or lanes.whole[at.LEVEL, 0] == level:
            continue
        through = edge_currents(system, lanes.real[at.BEFORE_DT, 0], kept)
        mean = through @ system.h / system.x[-1]
        lag = (lanes.instant - lanes.flux)[:, 0] @ system.h / system.x[-1]
        lag *= ELEMENTARY_CHARGE * system.z[2]  # the recorded current has vacancies at the level, not over the step
        spread.append(np.abs(through - mean).max())
        apart.append(abs(batch.out[level, at.TOTAL, 0] + mean + lag))
    assert lanes.whole[at.STATUS, 0] == at.SOLVED
    assert len(spread) == levels.size - 1
    peak = np.nanmax(np.abs(batch.out[:, at.TOTAL, 0]))
    assert max(spread) < 1e-8 * peak
    assert max(apart) < 1e-8 * peak


@pytest.mark.parametrize(("name", "end"), [("S1", 8.0), ("S1", 1.5), ("S2", 1.5)])
def test_the_march_is_of_second_order_in_time(name, end):
    curves = []
    for factor in (1, 2, 4, 8):
        t = solved(DEVICES[name], GENTLE, prescribed("fast"), np.linspace(0.0, end, 40 * factor + 1))
        assert t.ok, t.status
        curves.append(t.current[::factor])
    error = np.abs(np.diff(curves, axis=0)).max(axis=1)
    assert error[0] < 0.02 * np.abs(curves[-1]).max()
    assert settled(error)[-1] > 3.5
    assert settled(error)[0] > 3.2


@pytest.mark.parametrize("name", ["S1", "S2", "lowered"])
def test_the_mesh_is_of_second_order_with_the_contact_field(name):
    levels = np.linspace(0.0, 8.0, 81)
    curves, lowering = [], []
    for factor in (1.0, 2.0, 4.0, 8.0):
        t = solved(DEVICES[name], GENTLE, prescribed("fast", factor), levels)
        assert t.ok, t.status
        curves.append(t.current)
        assert t.history is not None
        lowering.append(t.history.barrier_change_left)
    error = np.abs(np.diff(curves, axis=0)).max(axis=1)
    assert error[0] < 0.02 * np.abs(curves[-1]).max()
    assert settled(error).min() > 3.3
    if name != "S1":
        rest = np.abs(np.diff([w[0] for w in lowering]))
        assert settled(rest).min() > 3.3  # the contact field itself, at rest


@pytest.mark.parametrize("name", DEVICES)
def test_engines_agree_on_prescribed_levels(name):
    pytest.importorskip("petsc4py", exc_type=ImportError)
    levels = SWEEP.grid(160)[0][:161]
    a, b = (simulate(DEVICES[name], SWEEP, engine=e, levels=levels) for e in ("petsc", "compiled"))
    assert a.ok
    assert b.ok
    assert np.abs(a.current - b.current).max() < 1e-8 * np.abs(b.current).max()


@pytest.mark.parametrize("control", ["accurate", "fast"])
def test_profiles_change_no_other_number(control):
    times = [0.0, 0.02, 1.03, 7.9, 11.98, 12.0]  # some just before the voltage passes zero, where steps are divided
    plain = simulate(Device.preset("S2"), SWEEP, control=control, engine="compiled")
    asked = simulate(Device.preset("S2"), SWEEP, control=control, engine="compiled", profiles=times)
    np.testing.assert_array_equal(plain.current, asked.current)
    np.testing.assert_array_equal(plain.conduction, asked.conduction)
    np.testing.assert_array_equal(plain.history.barrier_change_left, asked.history.barrier_change_left)
    np.testing.assert_array_equal(asked.profiles.time, times)


def test_a_profile_on_a_level_is_the_state_at_that_level():
    """Potential drop = voltage and barriers with the lowering that the level recorded."""
    d = Device.preset("S2")
    levels = SWEEP.grid(160)[0][:41]
    t = simulate(d, SWEEP, engine="compiled", levels=levels, profiles=levels[[10, 40]])
    for psi, k in zip(t.profiles.psi, (10, 40), strict=True):
        left, right = t.history.barrier_change_left[k], t.history.barrier_change_right[k]
        drop = t.voltage[k] + (right - d.barrier_right) - (left - d.barrier_left)
        assert psi[-1] - psi[0] == pytest.approx(drop, abs=1e-6)


def test_the_quasi_fermi_potentials_of_a_profile_are_zero_at_rest_and_belong_to_its_densities():
    d = Device.preset("S2")
    inside = simulate(d, SWEEP, engine="compiled", profiles=[0.0, 2.0]).profiles
    for phi in (inside.phi_n, inside.phi_p, inside.phi_x):
        assert np.abs(phi[0]).max() < 1e-10
    system = build_system(d, ACCURATE)
    eta = (inside.phi_x - inside.psi - d.electron_affinity + system.level[2]) / system.unit
    np.testing.assert_allclose(inside.vacancy, d.vacancy_site_density / (1.0 + np.exp(-eta)), rtol=1e-9)


@pytest.mark.parametrize("control", ["accurate", "fast"])
@pytest.mark.parametrize("name", ["S1", "S2", "lowered", "violent"])
def test_a_jump_of_the_drive_is_taken(name, control):
    jumps = PiecewiseLinear(times=np.array([0.0, 1.0, 2.0]), voltages=np.array([5.0, 8.0, -3.0]), cycles=2)
    t = simulate(DEVICES[name], jumps, engine="compiled", control=control, samples=40)
    assert t.ok, t.status
    assert t.voltage[0] == 5.0
    assert t.current[0] == 0.0  # the device at rest
    assert np.isfinite(t.current).all()
    assert t.history.rescues == t.history.rejected.size


def test_a_spent_budget_is_a_status_that_keeps_the_biography():
    control = dataclasses.replace(ACCURATE, newton_budget=60, newton_per_level=0)
    t = solved(Device.preset("S2"), SWEEP, control, SWEEP.grid(40)[0])
    assert t.status_class == "out_of_budget"
    assert t.status.startswith("the budget of Newton steps or seconds was spent after t = ")
    reached = np.isfinite(t.current)
    assert 3 <= reached.sum() < t.current.size
    assert reached[: reached.sum()].all()
    assert t.history.newton.size == t.history.barrier_change_left.size == reached.sum()
    assert t.history.newton.sum() + t.history.equilibrium_newton <= 61
    whole = solved(Device.preset("S2"), SWEEP, ACCURATE, SWEEP.grid(40)[0])
    np.testing.assert_array_equal(t.current[reached], whole.current[reached])


def test_a_budget_of_no_seconds_ends_at_the_first_look_at_the_clock():
    control = dataclasses.replace(ACCURATE, seconds_budget=0.0)
    t = solved(DEVICES["S2"], Triangle(amplitude=10.0, period=8.0, cycles=20), control, np.linspace(0.0, 160.0, 3201))
    assert t.status_class == "out_of_budget"
    assert 10 < np.isfinite(t.current).sum() < 3201


def test_a_lane_that_held_another_device_gives_the_same_bits():
    levels, looks = SWEEP.grid(80)[0], np.array([3.3])
    lanes = allocate(build_system(VIOLENT, ACCURATE).x.size, 1)
    solved(VIOLENT, SWEEP, ACCURATE, levels, lanes=lanes)
    again = solved(DEVICES["S2"], SWEEP, ACCURATE, levels, looks, lanes=lanes)
    fresh = solved(DEVICES["S2"], SWEEP, ACCURATE, levels, looks)
    np.testing.assert_array_equal(again.current, fresh.current)
    np.testing.assert_array_equal(again.history.newton, fresh.history.newton)
    np.testing.assert_array_equal(again.profiles.vacancy, fresh.profiles.vacancy)


def test_what_a_lane_held_does_not_matter():
    lanes = allocate(build_system(DEVICES["S2"], ACCURATE).x.size, 1)
    lanes.u[:], lanes.old[:], lanes.before[:], lanes.earlier[:] = np.nan, np.nan, np.nan, np.nan
    lanes.flux[:], lanes.instant[:], lanes.weight[:], lanes.upper[:] = np.nan, np.nan, np.nan, np.nan
    lanes.real[:], lanes.whole[:] = np.nan, 3
    levels = SWEEP.grid(80)[0][:41]
    spoilt = solved(DEVICES["S2"], SWEEP, ACCURATE, levels, lanes=lanes)
    np.testing.assert_array_equal(spoilt.current, solved(DEVICES["S2"], SWEEP, ACCURATE, levels).current)


def cubic_residual(values):
    """Largest distance from the least-squares cubic through any five neighbours, [points, T] -> scalar."""
    fourth = values[:-4] - 4.0 * values[1:-3] + 6.0 * values[2:-2] - 4.0 * values[3:-1] + values[4:]
    return float(np.abs(fourth).max()) * 6.0 / 70.0


LINES = {
    "mobility_electron": ("S2", 1e-3, 1.3e-3),
    "barrier_left": ("S2", 0.1, 0.1036),
    "vacancy_offset": ("S2", 0.30, 0.3012),
    "mobility_vacancy": ("S1", 5e-14, 5.3e-14),  # no lowering: where it sets in, the model itself has a kink
}


@pytest.mark.parametrize("parameter", LINES)
def test_currents_vary_smoothly_with_the_device(parameter):
    """25 points on 3 % of a parameter's range: what gradients and surrogates live from."""
    name, low, high = LINES[parameter]
    levels = GENTLE.grid(160)[0]
    devices = [DEVICES[name].replace(**{parameter: float(v)}) for v in np.linspace(low, high, 25)]
    curves = np.array([solved(device, GENTLE, ACCURATE, levels).current for device in devices])
    peak = np.abs(curves).max()
    assert np.ptp(curves, axis=0).max() > 1e-3 * peak
    assert cubic_residual(curves) < 1e-5 * peak


def test_local_error_control_divides_steps_and_helps():
    """The error against a march with 16 times the levels falls where the control divides steps."""
    levels, fine = SWEEP.grid(80)[0][:81], SWEEP.grid(1280)[0][:1281]
    truth = solved(DEVICES["S2"], SWEEP, prescribed("fast"), fine).current[::16]
    free, divided = (
        solved(DEVICES["S2"], SWEEP, control, levels)
        for control in (prescribed("fast"), dataclasses.replace(SolverControl.preset("fast"), steps=ACCURATE.steps))
    )
    errors = [np.abs(t.current - truth).max() / np.abs(truth).max() for t in (free, divided)]
    assert divided.history.newton.sum() > free.history.newton.sum()
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.01


def test_the_petsc_march_stops_in_slices_as_the_compiled_one_does():
    pytest.importorskip("petsc4py", exc_type=ImportError)
    levels = SWEEP.grid(160)[0][:21]
    found = []
    for steps in (1, 7, 10**6):
        system, batch, lanes = packed(DEVICES["S2"], SWEEP, ACCURATE, levels)
        engine = PetscSteps(system.x.size)
        assert march.start(batch, lanes, 0, 0)
        while engine(batch, lanes, 0, 0, steps, 10**6):
            pass
        engine.close()
        found.append(batch.out.copy())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_hidden_levels_are_visited_and_not_returned():
    levels, hidden = SWEEP.grid(160)[0][:41], np.array([0.31, 1.77])
    control, lanes = prescribed(), allocate(build_system(DEVICES["S2"], prescribed()).x.size, 1)
    jobs = [Job(device=DEVICES["S2"], drive=SWEEP, recorded=levels, hidden=h) for h in (NOTHING, hidden)]
    rows = [solve_device(job, control, march.proceed, lanes) for job in jobs]
    assert rows[0].time.size == rows[1].time.size == 41
    assert not np.array_equal(rows[0].current, rows[1].current)
    np.testing.assert_allclose(rows[0].current, rows[1].current, atol=2e-3 * np.abs(rows[0].current).max())


def test_the_first_step_from_rest_is_divided_like_every_other_across_zero():
    control = SolverControl.preset("accurate")
    levels = SWEEP.grid(160)[0]
    _, arrays, lane = packed(Device.preset("S2"), SWEEP, control, levels)
    assert march.start(arrays, lane, 0, 0)
    assert lane.real[at.DT, 0] == pytest.approx(levels[1] / control.steps.crossing_parts, rel=1e-12)


def test_prescribed_levels_are_marched_as_they_are_however_far_apart():
    levels = np.array([0.0, 1e-3, 2e-3, 0.5])
    _, arrays, lane = packed(Device.preset("S2"), SWEEP, prescribed("accurate", 1.0), levels)
    assert march.start(arrays, lane, 0, 0)
    while march.proceed(arrays, lane, 0, 0, 1, 1000):
        pass
    assert lane.whole[at.STATUS, 0] == at.SOLVED
    assert lane.real[at.BEFORE_DT, 0] == pytest.approx(0.498, rel=1e-12)
