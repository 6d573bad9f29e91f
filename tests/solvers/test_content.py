"""The vacancy content as an input: the offset that holds a mean density, and what the solver makes of it."""

import numpy as np
import pytest

from memflux.device import Device, Devices
from memflux.errors import InvalidValue, SolveFailed
from memflux.solvers.content import find_offset, vacancy_offset_for
from memflux.solvers.control import SolverControl
from memflux.solvers.equilibrium import find_equilibrium
from memflux.solvers.mesh import control_volumes
from memflux.solvers.solver import Solver, simulate
from memflux.solvers.system import build_system
from memflux.space import Space
from memflux.waveform import Triangle
from published import equilibrium_of
from stepping import packed

S2 = Device.preset("S2")
SWEEP = Triangle(amplitude=8.0, period=4.0, cycles=1)
IMPOSSIBLE = Device(barrier_left=20.0, barrier_right=20.0, band_gap=20.0, mean_vacancy_density=1e10)
DEVICES = {
    "S1": Device.preset("S1"),
    "S2": S2,
    "S2 without lowering": S2.replace(barrier_lowering=False),
    "contact densities follow": S2.replace(contact_density="lowered"),
    "Ex107, double charge": Device.preset("Ex107"),
    "double charge": S2.replace(vacancy_charge=2),
    "negative offset": S2.replace(vacancy_offset=-0.1),
    "negative ions": S2.replace(vacancy_charge=-1, vacancy_offset=-0.3, donor_density=1e23),
    "wide gap": S2.replace(band_gap=3.5, barrier_left=1.5, barrier_right=1.2, vacancy_offset=1.0),
    "no neutral channel": S2.replace(length=2e-8, vacancy_offset=0.5),
    "hardly any": S2.replace(vacancy_offset=1.2),
}


def average(profiles):
    """Mean vacancy density [K] at each time of `profiles`."""
    return profiles.vacancy @ control_volumes(profiles.x) / profiles.x[-1]


def mean_of(device, control="fast"):
    """Mean density at rest that follows from the device's offset."""
    if SolverControl.preset(control).adaptive:
        _, system, state = equilibrium_of(device, control)
        return float(system.volume @ state.density[:, 2] / system.x[-1])
    system, arrays, lanes = packed(device, SWEEP, SolverControl.preset(control), np.array([0.0]))
    assert find_equilibrium(arrays, lanes, 0, 0)
    return float(system.volume @ lanes.u[:, 2, 0] / system.x[-1])


def holding(device, density):
    """The device with a density given, and an offset that would be wrong."""
    return device.replace(vacancy_offset=0.7).replace(mean_vacancy_density=density)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("control", ["fast", "accurate", pytest.param("reference", marks=pytest.mark.slow)])
def test_the_offset_comes_back_from_the_density_it_gives(name, control):
    device = DEVICES[name]
    found = vacancy_offset_for(holding(device, mean_of(device, control)), control)
    assert found == pytest.approx(device.vacancy_offset, abs=1e-12)


def test_the_density_is_held_over_a_design_space():
    devices, _ = Space.preset("9d").sample(12, seed=4)
    for device, density in zip(devices, np.geomspace(1e14, 1e26, 12), strict=True):
        offset = vacancy_offset_for(holding(device, float(density)), "fast")
        assert mean_of(device.replace(vacancy_offset=offset)) == pytest.approx(density, rel=1e-12)


@pytest.mark.slow
def test_the_published_relation_of_density_and_offset():
    assert vacancy_offset_for(holding(S2, 5.40e23), "reference") == pytest.approx(0.33, abs=1e-4)
    assert vacancy_offset_for(holding(Device.preset("Ex107"), 3.93e21), "reference-Ex107") == pytest.approx(
        0.38, abs=1e-4
    )


def test_a_control_that_is_no_preset_has_an_offset_of_its_own():
    given, coarse = holding(S2, 5e23), SolverControl.preset("fast")
    found, finer = find_offset(given, coarse), find_offset(given, coarse.refined(2.0))
    assert 0.0 < abs(found - finer) < 1e-4


def test_without_a_density_the_offset_is_the_device_s():
    assert vacancy_offset_for(S2) == 0.33


@pytest.mark.parametrize("control", ["fast", "accurate", pytest.param("reference", marks=pytest.mark.slow)])
def test_a_trace_is_that_of_the_device_with_the_offset(control):
    given = holding(S2, 2e23)
    plain = S2.replace(vacancy_offset=vacancy_offset_for(given, control))
    times = np.linspace(0.0, 1.0, 11)
    traces = [simulate(d, SWEEP, control=control, engine="compiled", levels=times) for d in (given, plain)]
    assert all(t.ok for t in traces)
    np.testing.assert_array_equal(traces[0].current, traces[1].current)


@pytest.mark.parametrize("lowering", [True, False])
def test_the_density_given_is_kept_through_a_sweep(lowering):
    given = holding(S2, 3e23).replace(barrier_lowering=lowering)
    looks = np.linspace(0.0, 4.0, 9)
    trace = simulate(given, SWEEP, control="fast", engine="compiled", samples=80, profiles=looks)
    assert trace.ok
    np.testing.assert_allclose(average(trace.profiles), 3e23, rtol=1e-10)
    assert np.ptp(trace.profiles.vacancy[2]) > 1e21


def test_a_density_out_of_reach_is_a_sentence():
    with pytest.raises(SolveFailed, match=r"no equilibrium with mean_vacancy_density = 1e\+10 m\^-3 was found"):
        vacancy_offset_for(IMPOSSIBLE)
    with pytest.raises(InvalidValue, match="control = 'slow' is not known"):
        vacancy_offset_for(S2, "slow")


def test_sites_may_be_nearly_full():
    nearly = Device(mean_vacancy_density=9.9e27)
    plain = nearly.replace(mean_vacancy_density=None, vacancy_offset=vacancy_offset_for(nearly, "fast"))
    assert mean_of(plain) == pytest.approx(9.9e27, rel=1e-9)
    with pytest.raises(SolveFailed, match="mean_vacancy_density = 9e\\+30"):  # carriers cannot balance their charge
        vacancy_offset_for(Device(mean_vacancy_density=9e30, vacancy_site_density=1e31), "fast")


def test_one_device_out_of_reach_leaves_its_batch_alone():
    batch = Devices.of([S2, IMPOSSIBLE, holding(S2, 2e23)])
    traces = Solver(control="fast", engine="compiled", samples=20)(batch, SWEEP)
    assert list(traces.status_class) == ["solved", "no_equilibrium", "solved"]
    assert "vacancy_offset from -20 to 20 eV" in traces.status[1]
    assert np.isnan(traces.current[1]).all()
    assert np.isnan(traces.conduction[1]).all()
    np.testing.assert_array_equal(traces.voltage[1], traces.voltage[0])
    for i in (0, 2):
        alone = Solver(control="fast", engine="compiled", samples=20)(batch[i : i + 1], SWEEP)
        np.testing.assert_array_equal(traces.current[i], alone.current[0])


def test_a_batch_of_nothing_else_and_levels_of_one_s_own():
    times = [0.0, 0.1, 0.2]
    assert simulate(IMPOSSIBLE, SWEEP, control="fast", engine="compiled").status_class == "no_equilibrium"
    for control in ("fast", "reference"):
        trace = simulate(IMPOSSIBLE, SWEEP, control=control, engine="compiled", levels=times)
        assert trace.status_class == "no_equilibrium"
        np.testing.assert_array_equal(trace.time, times)
        assert np.isnan(trace.current).all()
    own = simulate(IMPOSSIBLE, SWEEP, control="reference", engine="compiled")
    assert len(own) == 0
    assert own.history.newton_steps == 0


def test_no_system_is_made_before_the_offset_is_found():
    with pytest.raises(AssertionError, match="solve for the offset first"):
        build_system(holding(S2, 1e23), SolverControl.preset("fast"))
