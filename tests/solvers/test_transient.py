"""One device through a drive: equilibrium, conservation laws, limits, profiles."""

import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE
from memflux.device import Device
from memflux.solvers import model
from memflux.solvers.control import SolverControl
from memflux.solvers.mesh import control_volumes
from memflux.solvers.solver import simulate
from memflux.waveform import PiecewiseLinear, Sine, Triangle
from published import SWEEP, contact_fields, equilibrium_of, ex107_check_value


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


def test_vacancies_are_conserved_and_the_lowering_is_harmonic():
    t = simulate(Device.preset("S2"), SWEEP, engine="compiled", samples=40, profiles=list(np.linspace(0, 8, 5)))
    assert t.ok
    inside = t.profiles
    assert inside is not None
    total = (control_volumes(inside.x) * inside.vacancy).sum(axis=1)
    # each level is solved to 1e-7 V, so the content may drift by that much, not by more
    np.testing.assert_allclose(total, total[0], rtol=1e-6)
    assert np.ptp(inside.vacancy[2]) > 1e20


def test_the_current_is_the_same_through_every_edge():
    """Total current with displacement, assembled edge by edge, equals the terminal current."""
    device, control = Device.preset("S2"), SolverControl.preset("reference")
    run, system, old = equilibrium_of(device, "reference")
    new = run.step(old, 0.02, None)
    assert new is not None
    run.problem.densities(new.u)
    dt, q = 0.02, ELEMENTARY_CHARGE
    total = np.zeros(system.h.size)
    for a in range(3):
        fluxes = []
        for k in range(system.h.size):
            step = system.z[a] * (new.u[k + 1, a] - new.u[k, a]) / system.unit
            jump = step - (run.problem.lnf[k + 1, a] - run.problem.lnf[k, a])
            scale = -system.z[a] * q * system.unit * system.mobility[a] / system.h[k]
            fluxes.append(model.edge_flux(scale, jump, new.density[k, a], new.density[k + 1, a])[0])
        total += fluxes
    field = [-np.diff(s.u[:, model.PSI]) / system.h for s in (old, new)]
    total += system.permittivity * (field[1] - field[0]) / dt
    conduction, displacement = model.terminal_current(
        new.u, new.density, old.u, old.density, dt, *run.problem.packed, run.problem.lnf
    )
    # J is positive along x; the terminal current is positive into the right contact
    np.testing.assert_allclose(-total, conduction + displacement, rtol=1e-8)
    assert control.newton.absolute == 1e-9


def test_no_drive_no_current():
    rest = PiecewiseLinear(times=np.array([0.0, 1.0, 2.0]), voltages=np.zeros(3))
    t = simulate(Device.preset("S2"), rest, engine="compiled", samples=20)
    driven = simulate(Device.preset("S2"), Triangle(amplitude=1.0, period=2.0, cycles=1), engine="compiled", samples=20)
    assert t.ok
    assert np.abs(t.current).max() < 1e-9 * np.abs(driven.current).max()


def test_a_mirrored_device_gives_the_mirrored_curve():
    d = Device.preset("S2").replace(vacancy_site_density=0.0, barrier_left=0.12, barrier_right=0.12)
    t = simulate(d, Sine(amplitude=2.0, period=1.0, cycles=1), engine="compiled", samples=40)
    half = (len(t) - 1) // 2
    np.testing.assert_allclose(t.current[1 : half + 1], -t.current[half + 1 :], rtol=2e-3, atol=1e-12)


def test_two_carriers_have_no_memory():
    d = Device.preset("S2").replace(vacancy_site_density=0.0)
    t = simulate(d, SWEEP, engine="compiled", samples=80)
    with_vacancies = simulate(Device.preset("S2"), SWEEP, engine="compiled", samples=80)
    up, down = t.current[10], t.current[30]  # both at 5 V
    assert up == pytest.approx(down, rel=1e-3)
    assert abs(with_vacancies.current[10] / with_vacancies.current[30] - 1) > 0.05


def test_lowered_contact_densities_change_the_answer():
    d = Device.preset("S2")
    frozen, lowered = (
        simulate(d.replace(contact_density=c), SWEEP, engine="compiled", samples=80).current
        for c in ("equilibrium", "lowered")
    )
    assert np.abs(lowered / frozen - 1.0)[5:].max() > 0.01


def test_profiles_change_no_other_number():
    times = [0.0, 1.03, 7.9]
    plain = simulate(Device.preset("S2"), SWEEP, control="reference", engine="compiled")
    asked = simulate(Device.preset("S2"), SWEEP, control="reference", engine="compiled", profiles=times)
    np.testing.assert_array_equal(plain.current, asked.current)
    np.testing.assert_array_equal(plain.time, asked.time)
    assert asked.profiles is not None
    np.testing.assert_allclose(asked.profiles.time, times)
    assert asked.profiles.n.shape == (3, 189)


def test_a_hopeless_device_is_a_status_not_an_exception():
    d = Device(band_gap=0.02, barrier_left=5.0, barrier_right=-4.0, vacancy_offset=-15.0, mobility_vacancy=1.0)
    t = simulate(d, SWEEP, engine="compiled", samples=8)
    if not t.ok:
        assert np.isnan(t.current).any()
        assert t.status_class in ("no_equilibrium", "step_underflow", "out_of_budget")
        assert "Newton steps" in t.status
    assert t.time.shape == t.current.shape == (9,)
