"""One device through a drive: equilibrium, conservation laws, limits, profiles; the published path and the default."""

import dataclasses

import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE, VACUUM_PERMITTIVITY
from memflux.device import Device
from memflux.solvers import batch, lanes, march, model, transient
from memflux.solvers.control import SolverControl
from memflux.solvers.mesh import control_volumes
from memflux.solvers.newton import Problem
from memflux.solvers.record import Record
from memflux.solvers.solver import simulate
from memflux.solvers.system import build_system
from memflux.solvers.thomas import ThomasEngine
from memflux.solvers.transient import Transient, equilibrium, solve_transient
from memflux.waveform import PiecewiseLinear, Sine, Triangle
from published import SWEEP, contact_fields, equilibrium_of, ex107_check_value
from stepping import packed, prescribed


def test_equilibrium_of_ex107_is_the_published_check_value():
    run, system, state = equilibrium_of(Device.preset("Ex107"), "reference-Ex107")
    g_left, g_right = contact_fields(run, system, state)
    assert ex107_check_value(run, system, state) == pytest.approx(-1692.2303837883194, rel=1e-12)
    assert g_left == pytest.approx(-1176024.21691529, rel=1e-11)
    assert g_right == pytest.approx(-741377.88276063, rel=1e-11)
    assert state.u[0, model.PSI] - system.affinity == pytest.approx(-4.211282885062955, abs=1e-14)


def test_equilibrium_of_s2_has_the_published_fields_and_lowering():
    run, system, state = equilibrium_of(Device.preset("S2"), "reference")
    g_left, g_right = contact_fields(run, system, state)
    assert g_left == pytest.approx(-8805413.579092791, rel=1e-10)
    assert g_right == pytest.approx(-3240068.819880015, rel=1e-10)
    assert state.u[0, model.W] == pytest.approx(0.0356082622195828, abs=1e-13)
    assert state.u[-1, model.W] == pytest.approx(0.02159996350274085, abs=1e-13)


@pytest.mark.parametrize(("preset", "density"), [("Ex107", 3.93e21), ("S1", 6.42e23), ("S2", 5.40e23)])
def test_average_vacancy_density_that_follows_from_the_offset(preset, density):
    _, system, state = equilibrium_of(Device.preset(preset), "reference")
    average = (system.volume * state.density[:, 2]).sum() / system.x[-1]
    assert average == pytest.approx(density, rel=2e-3)


@pytest.mark.parametrize(("control", "tolerance"), [("reference", 1e-6), ("fast", 1e-10), ("accurate", 1e-10)])
def test_vacancies_are_conserved(control, tolerance):
    """The published controller solves each level to 1e-9 V; the default one conserves whatever its tolerance."""
    looks = np.linspace(0, 8, 5)
    t = simulate(Device.preset("S2"), SWEEP, control=control, engine="compiled", samples=40, profiles=looks)
    assert t.ok
    inside = t.profiles
    assert inside is not None
    total = (control_volumes(inside.x) * inside.vacancy).sum(axis=1)
    np.testing.assert_allclose(total, total[0], rtol=tolerance)
    assert np.ptp(inside.vacancy[2]) > 1e20


def test_the_lowering_is_harmonic():
    run, system, start = equilibrium_of(Device.preset("S2"), "reference")
    state = run.step(start, 1e-3)
    assert state is not None
    w = state.u[:, model.W]
    np.testing.assert_allclose(w, np.interp(system.x, system.x[[0, -1]], w[[0, -1]]), atol=1e-12)


def test_the_two_paths_agree_at_rest_where_the_statistics_do():
    """Both schemes on one fine mesh, without electrons to speak of: one lowering, one potential."""
    d = Device.preset("S2").replace(barrier_left=0.5, barrier_right=0.45, donor_density=1e23, vacancy_offset=1.0)
    ours, arrays, lane = packed(d, SWEEP, prescribed("accurate", 4.0), np.array([0.0, 0.1]))
    assert march.start(arrays, lane, 0, 0)
    fine = SolverControl.preset("accurate").refined(4.0)
    control = dataclasses.replace(
        SolverControl.preset("reference"),
        first_spacing=fine.first_spacing,
        growth=fine.growth,
        largest_spacing=fine.largest_spacing,
    )
    system = build_system(d, control)
    np.testing.assert_array_equal(system.x, ours.x)
    state = equilibrium(Problem.of(system, ThomasEngine(system.x.size)))
    np.testing.assert_allclose(state.u[:, model.PSI], lane.old[:, 3, 0], atol=1e-3)
    found = lane.real[[lanes.OLD_W_L, lanes.OLD_W_R], 0]
    np.testing.assert_allclose(found, state.u[[0, -1], model.W], rtol=2e-2)


@pytest.mark.parametrize(("preset", "dt"), [("S2", 0.02), ("S2", 1e-10), ("Ex107", 0.02), ("Ex107", 1e-10)])
def test_the_current_is_the_same_through_every_edge(preset, dt):
    """Total current with displacement, assembled edge by edge, equals the terminal current."""
    run, system, old = equilibrium_of(Device.preset(preset), "reference")
    run.drive = Triangle(amplitude=10.0, period=100 * dt, cycles=1)
    new = run.step(old, dt)
    assert new is not None
    run.problem.densities(new.u)
    total = np.zeros(system.h.size)
    for a in range(3):
        for k in range(system.h.size):
            step = system.z[a] * (new.u[k + 1, a] - new.u[k, a]) / system.unit
            jump = step - (run.problem.lnf[k + 1, a] - run.problem.lnf[k, a])
            scale = -system.z[a] * ELEMENTARY_CHARGE * system.unit * system.mobility[a] / system.h[k]
            total[k] += model.edge_flux(scale, jump, new.density[k, a], new.density[k + 1, a])[0]
    field = [-np.diff(s.u[:, model.PSI]) / system.h for s in (old, new)]
    total += system.permittivity * (field[1] - field[0]) / dt
    conduction, current = model.terminal_current(
        new.u, new.density, old.u, old.density, dt, *run.problem.packed, run.problem.lnf
    )
    # J is positive along x; the terminal current is positive into the right contact
    np.testing.assert_allclose(-total, current, rtol=1e-8)
    through_contact = (field[1][-1] - field[0][-1]) * system.permittivity / dt
    assert current == pytest.approx(conduction - through_contact, rel=1e-2)  # half a cell of charge beside the contact
    if dt < 1e-6:
        assert abs(current - conduction) > 1e-3 * abs(conduction)  # otherwise nothing was tested


def test_a_blocked_device_is_a_capacitor():
    d = Device.preset("S2").replace(
        mobility_electron=1e-20, mobility_vacancy=1e-30, donor_density=0.0, vacancy_offset=5.0
    )
    d = d.replace(vacancy_site_density=0.0, barrier_left=0.6, barrier_right=0.6, barrier_lowering=False)
    t = simulate(d, Triangle(amplitude=1.0, period=1e-9, cycles=1), engine="compiled", samples=40)
    expected = d.relative_permittivity * VACUUM_PERMITTIVITY * d.area / d.length * 4e9
    rising = slice(1, 11)
    np.testing.assert_allclose(t.current[rising], expected, rtol=1e-12)
    np.testing.assert_allclose(t.current[12:30], -expected, rtol=1e-12)
    assert np.abs(t.conduction).max() < 1e-12 * expected


@pytest.mark.slow
def test_gauss_gives_a_second_order_contact_field_and_the_difference_a_first_order_one():
    lowering = {"published": [], "default": []}
    for scale in (8, 4, 2, 0.25):
        control = dataclasses.replace(
            SolverControl.preset("reference"), first_spacing=1e-4 * scale, largest_spacing=1e-3 * scale
        )
        system = build_system(Device.preset("S2"), control)
        state = equilibrium(Problem.of(system, ThomasEngine(system.x.size)))
        lowering["published"].append(state.u[0, model.W])
        graded = dataclasses.replace(
            prescribed(), first_spacing=1e-4 * scale, growth=None, largest_spacing=1e-3 * scale
        )
        _, arrays, lane = packed(Device.preset("S2"), SWEEP, graded, np.array([0.0, 0.1]))
        assert march.start(arrays, lane, 0, 0)
        lowering["default"].append(lane.real[lanes.OLD_W_L, 0])
    orders = {}
    for scheme, values in lowering.items():
        errors = np.abs(np.array(values[:-1]) - values[-1])
        orders[scheme] = np.log2(errors[:-1] / errors[1:])
    assert orders["default"].min() > 1.6
    assert 0.7 < orders["published"].mean() < 1.4


def test_the_affinity_shifts_the_potential_and_nothing_else():
    drive = Triangle(amplitude=1.0, period=1.0, cycles=1)
    a, b = (
        simulate(Device.preset("S2").replace(electron_affinity=x), drive, engine="compiled", samples=8, profiles=[0.25])
        for x in (4.0, 3.0)
    )
    np.testing.assert_array_equal(a.current, b.current)
    np.testing.assert_allclose(b.profiles.psi - a.profiles.psi, 1.0, atol=1e-12)


def test_a_spent_budget_is_a_status_that_keeps_the_biography():
    device, drive = Device.preset("S2"), SWEEP
    control = dataclasses.replace(SolverControl.preset("reference"), newton_budget=60, newton_per_level=0)
    system = build_system(device, control)
    t = solve_transient(drive, control, ThomasEngine(system.x.size), system, drive.grid(1000)[0])
    assert t.status_class == "out_of_budget"
    assert t.status.startswith("the budget of 60 Newton steps was spent after t = ")
    assert np.isnan(t.current[-1])
    assert np.isfinite(t.current[:3]).all()


def test_profiles_of_a_published_run_start_from_the_level_before_them():
    run, _, start = equilibrium_of(Device.preset("S2"), "reference")
    first = run.step(start, 0.01)
    second = run.step(first, 0.02)
    asked = []

    def side_step(base, time):
        asked.append((base.time, time))
        return run.step(base, time)

    record = Record(run.problem, np.array([0.0, 0.01, 0.02]), np.array([0.004, 0.01, 0.017]), side_step)
    record.start(start)
    record.accept(start, first)
    record.accept(first, second)
    assert asked == [(0.0, 0.004), (0.01, 0.017)]
    assert [s.time for s in record.snapshots] == [0.004, 0.01, 0.017]


def test_no_drive_no_current():
    rest = PiecewiseLinear(times=np.array([0.0, 1.0, 2.0]), voltages=np.zeros(3))
    t = simulate(Device.preset("S2"), rest, engine="compiled", samples=20)
    driven = simulate(Device.preset("S2"), Triangle(amplitude=1.0, period=2.0, cycles=1), engine="compiled", samples=20)
    assert t.ok
    assert np.abs(t.current).max() < 1e-13 * np.abs(driven.current).max()


def test_a_mirrored_device_gives_the_mirrored_curve():
    d = Device.preset("S2").replace(vacancy_site_density=0.0, barrier_left=0.12, barrier_right=0.12)
    t = simulate(d, Sine(amplitude=2.0, period=1.0, cycles=1), engine="compiled", samples=40)
    half = (len(t) - 1) // 2
    np.testing.assert_allclose(t.current[1 : half + 1], -t.current[half + 1 :], rtol=1e-7, atol=1e-18)


def test_two_carriers_have_no_memory():
    d = Device.preset("S2").replace(vacancy_site_density=0.0)
    t = simulate(d, SWEEP, engine="compiled", samples=80)
    with_vacancies = simulate(Device.preset("S2"), SWEEP, engine="compiled", samples=80)
    up, down = t.current[10], t.current[30]  # both at 5 V
    assert up == pytest.approx(down, rel=1e-8)
    assert abs(with_vacancies.current[10] / with_vacancies.current[30] - 1) > 0.05


def test_lowered_contact_densities_solve_and_change_the_answer():
    frozen, lowered = (
        simulate(Device.preset("S2").replace(contact_density=c), SWEEP, engine="compiled")
        for c in ("equilibrium", "lowered")
    )
    assert frozen.ok
    assert lowered.ok
    peak = np.abs(frozen.current).max()
    assert np.abs(lowered.current - frozen.current).max() > 0.01 * peak


def test_profiles_change_no_other_number():
    times = [0.0, 1.03, 7.9]
    plain = simulate(Device.preset("S2"), SWEEP, control="reference", engine="compiled")
    asked = simulate(Device.preset("S2"), SWEEP, control="reference", engine="compiled", profiles=times)
    np.testing.assert_array_equal(plain.current, asked.current)
    np.testing.assert_array_equal(plain.time, asked.time)
    assert asked.profiles is not None
    np.testing.assert_allclose(asked.profiles.time, times)
    assert asked.profiles.n.shape == (3, 189)


def test_a_hopeless_published_run_is_a_status_not_an_exception(monkeypatch):
    levels = SWEEP.grid(8)[0]
    monkeypatch.setattr(Transient, "step", lambda self, state, time: None)
    t = simulate(Device.preset("S2"), SWEEP, engine="compiled", control="reference", levels=levels)
    assert t.status_class == "step_underflow"
    assert t.status.startswith("no time step was small enough after t = 0 s, 0 V")
    assert np.isnan(t.current[1:]).all()
    assert t.time.shape == t.current.shape == (9,)
    monkeypatch.setattr(transient, "equilibrium", lambda problem: None)
    t = simulate(Device.preset("S2"), SWEEP, engine="compiled", control="reference", levels=levels)
    assert t.status_class == "no_equilibrium"
    assert np.isnan(t.current).all()


def spoil(monkeypatch, change):
    """Let `change` damage the packed arrays of a device before they are solved."""
    pack = batch.pack

    def packed_and_spoilt(*arguments):
        arrays = pack(*arguments)
        change(arrays)
        return arrays

    monkeypatch.setattr(batch, "pack", packed_and_spoilt)


def test_a_hopeless_device_is_a_status_not_an_exception(monkeypatch):
    def no_voltage(arrays):
        arrays.drive[arrays.time[:, 0] > 2.5] = np.nan

    spoil(monkeypatch, no_voltage)
    t = simulate(Device.preset("S2"), SWEEP, engine="compiled", samples=8, profiles=[0.5, 7.0])
    assert t.status_class == "step_underflow"
    assert t.status.startswith("no time step was small enough after t = 2 s, 10 V")
    assert np.isfinite(t.current[:3]).all()
    assert np.isnan(t.current[3:]).all()
    assert t.time.shape == t.current.shape == (9,)
    assert t.history.newton.size == 3
    assert np.isfinite(t.profiles.vacancy[0]).all()
    assert np.isnan(t.profiles.vacancy[1]).all()


def test_a_device_without_equilibrium_is_a_status_not_an_exception(monkeypatch):
    def no_charge(arrays):
        arrays.scalars[lanes.DOPING] = np.nan

    spoil(monkeypatch, no_charge)
    t = simulate(Device.preset("S2"), SWEEP, engine="compiled", samples=8, profiles=[0.5])
    assert t.status_class == "no_equilibrium"
    assert t.status.startswith("the equilibrium did not converge in ")
    assert np.isnan(t.current).all()
    assert t.history.newton.size == 0
    assert t.profiles is None
