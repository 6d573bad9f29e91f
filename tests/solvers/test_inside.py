"""Profiles: what is kept of the inside of a device, and the balances it obeys."""

import dataclasses

import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE, VACUUM_PERMITTIVITY
from memflux.device import Device
from memflux.solvers import newton_step
from memflux.solvers.control import SolverControl
from memflux.solvers.mesh import control_volumes
from memflux.solvers.solver import simulate
from memflux.solvers.system import build_system
from memflux.waveform import PiecewiseLinear, Triangle
from stepping import packed, prescribed, solved

SWEEP = Triangle(amplitude=10.0, period=8.0, cycles=1)
S2 = Device.preset("S2")
DEVICES = {
    "S2": S2,
    "Ex107": Device.preset("Ex107"),
    "lowered": S2.replace(contact_density="lowered"),
    "negative ions": S2.replace(vacancy_charge=-1, vacancy_offset=-0.3, donor_density=1e23),
}
QUIET = np.array([1.03, 3.02, 5.37, 7.04])  # s, between levels and away from corners and V = 0
LATER = 1e-4  # s, from a look to its twin


@pytest.fixture(scope="module", params=DEVICES)
def looked(request):
    """A device, and its trace with looks at rest and, twice each, at quiet moments."""
    device = DEVICES[request.param]
    times = np.concatenate([[0.0], np.sort(np.concatenate([QUIET, QUIET + LATER]))])
    return device, simulate(device, SWEEP, engine="compiled", profiles=times)


def pairs(inside):
    """Each quiet look and its twin."""
    first = inside.at(QUIET)
    return first, inside.at(QUIET + LATER)


def between(a, b):
    return 0.5 * (a + b)


def test_at_rest_nothing_flows(looked):
    device, trace = looked
    rest = trace.profiles.at([0.0])
    for name in ("j_n", "j_p", "j_x", "j_displacement", "j_total", "dissipation", "voltage"):
        assert np.abs(getattr(rest, name)).max() < 1e-12, name
    assert rest.lowering_left[0] == trace.history.barrier_change_left[0] > 0.0
    inner = VACUUM_PERMITTIVITY * device.relative_permittivity * np.diff(rest.field[0])
    charge = device.donor_density - rest.n + rest.p + device.vacancy_charge * rest.vacancy
    gauss = (ELEMENTARY_CHARGE * charge[0] * control_volumes(rest.x))[1:-1]
    np.testing.assert_allclose(inner, gauss, atol=1e-6 * np.abs(gauss).max())


def test_the_scharfetter_gummel_flux_vanishes_at_equilibrium():
    """Those that the kernel forms from the densities of rest, where `make_profiles` puts 0."""
    rest = simulate(S2, SWEEP, engine="compiled", levels=[0.0, 1e-3], profiles=[0.0, 1e-3]).profiles
    flux, there = fluxes_at(S2, rest, 0)
    assert np.abs(flux[:, 0]).max() < 1e-12 * there.max()


def fluxes_at(device, inside, k):
    """Fluxes [N - 1, 3] of the kernel at look k, and the size [N - 1] of what cancels in that of the electrons."""
    system, arrays, lanes = packed(device, SWEEP, prescribed(), np.array([0.0, 1.0]))
    state = (inside.n[k], inside.p[k], inside.vacancy[k], inside.psi[k] + device.electron_affinity)
    lanes.u[:, :, 0] = np.stack(state, axis=1)
    lanes.weight[:] = 1.0
    newton_step.chemistry(arrays, lanes, 0, 0)
    newton_step.fluxes(arrays, lanes, 0, 0)
    there = system.unit * system.mobility[0] / system.h * np.maximum(inside.n[k, 1:], inside.n[k, :-1])
    return lanes.edge[:, 0, :, 0].copy(), there


def test_currents_are_the_fluxes_of_the_solver_at_these_densities(looked):
    device, trace = looked
    inside = trace.profiles
    z = (-1.0, 1.0, device.vacancy_charge)
    for k in range(1, inside.time.size):
        flux, _ = fluxes_at(device, inside, k)
        for a, j in enumerate((inside.j_n[k], inside.j_p[k], inside.j_x[k])):
            expected = -ELEMENTARY_CHARGE * z[a] * flux[:, a]
            np.testing.assert_allclose(j, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_one_total_current_flows_through_every_edge_and_electrons_carry_it(looked):
    _, trace = looked
    inside = trace.profiles.at(QUIET)
    assert (np.ptp(inside.j_total, axis=1) <= 1e-14 * np.abs(inside.j_total).max(axis=1)).all()
    for part in (inside.j_p, inside.j_x, inside.j_displacement):
        assert (np.abs(part).max(axis=1) < 1e-5 * np.abs(inside.j_n).min(axis=1)).all()


@pytest.mark.parametrize("control", ["accurate", "reference"])
def test_on_a_level_the_inside_carries_the_current_of_the_trace(control):
    levels = SWEEP.grid(160)[0][:41]
    t = simulate(S2, SWEEP, engine="compiled", control=control, levels=levels, profiles=levels[[10, 33]])
    inside = t.profiles
    total = S2.area * inside.j_total
    np.testing.assert_allclose(total, np.repeat(t.current[[10, 33], None], total.shape[1], axis=1), rtol=1e-7)
    np.testing.assert_allclose(inside.voltage, t.voltage[[10, 33]], atol=1e-12)
    np.testing.assert_allclose(inside.lowering_left, t.history.barrier_change_left[[10, 33]], atol=1e-7)
    np.testing.assert_allclose(inside.lowering_right, t.history.barrier_change_right[[10, 33]], atol=1e-7)


def test_the_displacement_current_is_the_change_of_the_field(looked):
    """Ten decades below the current of the electrons, of which it is the difference from the total."""
    device, trace = looked
    one, two = pairs(trace.profiles)
    change = -device.relative_permittivity * VACUUM_PERMITTIVITY * (two.field - one.field) / LATER
    difference = np.abs(between(one.j_displacement, two.j_displacement) - change).max(axis=1)
    assert (difference < 0.2 * np.abs(change).max(axis=1)).all()
    assert (np.abs(change).max(axis=1) < 1e-7 * np.abs(one.j_n).max(axis=1)).all()


def test_the_vacancy_current_moves_the_vacancies(looked):
    device, trace = looked
    one, two = pairs(trace.profiles)
    volume = control_volumes(one.x)
    charge = device.vacancy_charge * ELEMENTARY_CHARGE * volume * (two.vacancy - one.vacancy) / LATER
    through = np.cumsum(charge, axis=1)
    size = np.abs(through).max(axis=1)
    assert (np.abs(through[:, -1]) < 1e-6 * size).all()  # none leave
    assert (np.abs(between(one.j_x, two.j_x) - through[:, :-1]).max(axis=1) < 0.1 * size).all()


def test_vacancies_are_conserved(looked):
    _, trace = looked
    total = trace.profiles.vacancy @ control_volumes(trace.profiles.x)
    np.testing.assert_allclose(total, total[0], rtol=1e-10)


def test_nothing_cools(looked):
    _, trace = looked
    assert (trace.profiles.dissipation > -1e-12 * trace.profiles.dissipation.max()).all()


def test_in_a_steady_state_the_drive_pays_for_heat_in_the_channel_and_at_the_contacts():
    """V j = heat of the channel + j times the steps of phi_n at both contacts, j being thermionic emission there."""
    hold = PiecewiseLinear(times=np.array([0.0, 1.0, 1e4]), voltages=np.array([0.0, 3.0, 3.0]))
    levels = np.concatenate([np.linspace(0.0, 1.0, 41), 1.0 + np.geomspace(0.02, 9999.0, 120)])
    inside = simulate(S2, hold, engine="compiled", levels=levels, profiles=[0.0, 1e4]).profiles
    v_n = build_system(S2, SolverControl.preset("accurate")).emission[0]
    beyond = ELEMENTARY_CHARGE * v_n * (inside.n[1] - inside.n[0])[[0, -1]] * (-1.0, 1.0)
    j = inside.j_total[1, 0]
    np.testing.assert_allclose(beyond, j, rtol=1e-6)
    heat = inside.dissipation[1] @ np.diff(inside.x)
    steps = beyond @ np.array([inside.phi_n[1, 0], inside.voltage[1] - inside.phi_n[1, -1]])
    assert heat + steps == pytest.approx(inside.voltage[1] * j, rel=1e-6)
    assert 0.0 < steps < 0.2 * heat
    assert np.abs(inside.j_x[1]).max() < 1e-4 * np.abs(inside.j_n[1]).max()


def test_while_the_drive_sweeps_heat_is_what_enters_less_what_is_stored(looked):
    """Sum of j dphi over the edges by parts: terminal work of each carrier less phi times what a node takes in."""
    device, trace = looked
    one, two = pairs(trace.profiles)
    volume, z = control_volumes(one.x), (-1.0, 1.0, device.vacancy_charge)
    heat = one.dissipation @ np.diff(one.x)
    expected = np.zeros(QUIET.size)
    carriers = (("j_n", "phi_n", "n"), ("j_p", "phi_p", "p"), ("j_x", "phi_x", "vacancy"))
    for charge, (j, phi, density) in zip(z, carriers, strict=True):
        j, phi = getattr(one, j), getattr(one, phi)
        rate = charge * ELEMENTARY_CHARGE * volume * (getattr(two, density) - getattr(one, density)) / LATER
        expected += j[:, -1] * phi[:, -1] - j[:, 0] * phi[:, 0] - (rate * phi)[:, 1:-1].sum(axis=1)
    np.testing.assert_allclose(heat, expected, rtol=1e-8)


def test_without_vacancies_none_flow():
    bare = S2.replace(vacancy_site_density=0.0, donor_density=1e23)
    inside = simulate(bare, SWEEP, engine="compiled", control="fast", samples=16, profiles=[0.0, 1.1]).profiles
    for name in ("vacancy", "phi_x", "j_x"):
        assert not getattr(inside, name).any(), name
    assert inside.dissipation[1].min() > 0.0


def test_a_published_run_has_the_same_parts():
    """The same device on its own grid and levels: what carries the current, and by how much."""
    one, two = 1.03, 1.03 + LATER
    published = simulate(S2, SWEEP, engine="compiled", control="reference", profiles=[0.0, one, two]).profiles
    ours = simulate(S2, SWEEP, engine="compiled", profiles=[one]).profiles
    assert not published.j_total[0].any()
    total = published.j_total[1]
    assert np.ptp(total) < 1e-9 * np.abs(total).max()
    assert total.mean() == pytest.approx(ours.j_total[0].mean(), rel=0.05)  # its grid is that far off
    eps = S2.relative_permittivity * VACUUM_PERMITTIVITY
    change = -eps * (published.field[2] - published.field[1]) / LATER
    found = between(published.j_displacement[1], published.j_displacement[2])
    np.testing.assert_allclose(found, change, atol=0.1 * np.abs(change).max())
    assert published.j_x[1].max() == pytest.approx(ours.j_x[0].max(), rel=0.05)
    assert published.dissipation.min() > -1e-9 * published.dissipation.max()


def test_a_look_that_was_not_reached_is_empty():
    control = dataclasses.replace(SolverControl.preset("fast"), newton_budget=150, newton_per_level=0)
    t = solved(S2, SWEEP, control, SWEEP.grid(40)[0], np.array([0.0, 0.3, 7.9]))
    assert t.status_class == "out_of_budget"
    for name in ("psi", "j_n", "j_displacement", "field", "dissipation", "voltage", "lowering_left"):
        values = getattr(t.profiles, name)
        assert np.isfinite(values[:2]).all(), name
        assert np.isnan(values[2]).all(), name


@pytest.mark.parametrize("samples", [8, 40])
@pytest.mark.parametrize("control", ["fast", "accurate"])
def test_looks_are_as_accurate_as_the_levels_however_far_apart(control, samples):
    """Looks lie as close to the curve on a fine grid as the levels around them, which the march divides."""
    times = np.linspace(0.3, 7.9, 23)
    seen = simulate(S2, SWEEP, control=control, engine="compiled", samples=samples, profiles=times)
    fine = simulate(S2, SWEEP, control=control, engine="compiled", at=times).current
    fine_levels = simulate(S2, SWEEP, control=control, engine="compiled", at=seen.time[1:]).current
    current = S2.area * seen.profiles.j_total.mean(axis=1)
    assert np.abs(current - fine).max() < 2.0 * np.abs(seen.current[1:] - fine_levels).max()
    assert np.abs(current - fine).max() < 0.05 * np.abs(fine).max()


def test_looks_in_divided_levels_change_no_number():
    times = np.linspace(0.01, 7.99, 57)
    plain = simulate(S2, SWEEP, control="accurate", engine="compiled", samples=8)
    seen = simulate(S2, SWEEP, control="accurate", engine="compiled", samples=8, profiles=times)
    np.testing.assert_array_equal(seen.current, plain.current)
    np.testing.assert_array_equal(seen.history.newton, plain.history.newton)
    assert np.isfinite(seen.profiles.psi).all()
