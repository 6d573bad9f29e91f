"""The state at rest, against the nonlinear equations it has to satisfy."""

import numpy as np
import pytest

from memflux.constants import ELEMENTARY_CHARGE
from memflux.device import Device
from memflux.solvers import lanes as at
from memflux.solvers.control import SolverControl
from memflux.solvers.equilibrium import find_equilibrium
from memflux.solvers.fermi import fermi_dirac_half
from memflux.solvers.system import image_scale
from memflux.space import Space
from memflux.waveform import Triangle
from stepping import packed

DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=1)
DEVICES = {
    "S1": Device.preset("S1"),
    "S2": Device.preset("S2"),
    "Ex107": Device.preset("Ex107"),
    "negative ions": Device.preset("S2").replace(vacancy_charge=-1, vacancy_offset=-0.3, donor_density=1e23),
    "two carriers": Device.preset("S2").replace(vacancy_site_density=0.0),
    "outward field": Device.preset("S2").replace(barrier_left=-0.1, barrier_right=0.02),
    "low permittivity": Device.preset("S2").replace(image_force_permittivity=1.0, barrier_left=0.3),
}


def at_rest(device, control="accurate"):
    system, batch, lanes = packed(device, DRIVE, SolverControl.preset(control), np.array([0.0, 1.0]))
    assert find_equilibrium(batch, lanes, 0, 0)
    return system, lanes


@pytest.mark.parametrize("name", DEVICES)
def test_densities_belong_to_constant_quasi_fermi_potentials(name):
    system, lanes = at_rest(DEVICES[name])
    psi = lanes.u[:, 3, 0]
    electrons = [system.density[0] * fermi_dirac_half(v / system.unit)[0] for v in psi]
    holes = [system.density[1] * fermi_dirac_half((system.level[1] - v) / system.unit)[0] for v in psi]
    np.testing.assert_allclose(lanes.u[:, 0, 0], electrons, rtol=1e-12)
    np.testing.assert_allclose(lanes.u[:, 1, 0], holes, rtol=1e-12)
    if system.vacancies:
        eta = system.z[2] * (system.level[2] - psi) / system.unit
        np.testing.assert_allclose(lanes.u[:, 2, 0], system.density[2] / (1.0 + np.exp(-eta)), rtol=1e-12)
    else:
        assert lanes.u[:, 2, 0].max() < 1.0


def charge_and_bend(system, lanes):
    """Charge [m^-3] of each node, and eps/q times the sum of the fields out of its cell [m^-2]."""
    u = lanes.u[:, :, 0]
    z = system.z if system.vacancies else np.array([-1.0, 1.0, 0.0])
    rho = system.doping + u[:, :3] @ z
    d = system.permittivity / ELEMENTARY_CHARGE * np.diff(u[:, 3]) / system.h
    return rho, np.append(d, 0.0) - np.append(0.0, d)


@pytest.mark.parametrize("name", DEVICES)
def test_poissons_equation_holds_at_every_node(name):
    system, lanes = at_rest(DEVICES[name])
    rho, bend = charge_and_bend(system, lanes)
    psi = lanes.u[:, 3, 0]
    rounding = 2e-11 * system.permittivity / ELEMENTARY_CHARGE * (1 / system.h[:-1] + 1 / system.h[1:])  # 2e-11 V
    screen = 2e-11 * (system.volume * np.abs(lanes.u[:, :3, 0]).sum(axis=1) * 2 / system.unit)[1:-1]
    assert (np.abs(system.volume * rho + bend)[1:-1] <= rounding + screen).all()
    assert np.isfinite(psi).all()


@pytest.mark.parametrize("name", DEVICES)
def test_the_lowering_is_the_root_of_the_contact_field_by_gauss(name):
    system, lanes = at_rest(DEVICES[name])
    rho, bend = charge_and_bend(system, lanes)
    w = lanes.real[[at.W_L, at.W_R], 0]
    if not system.lowering:
        np.testing.assert_array_equal(w, 0.0)
        return
    lowering = np.maximum(w, 0.0)
    slope = (lowering[1] - lowering[0]) / system.x[-1]
    field = -(bend + system.volume * rho)[[0, -1]] * ELEMENTARY_CHARGE / system.permittivity + [slope, -slope]
    expected = np.sqrt(np.maximum(-image_scale(system) * field, 0.0))
    np.testing.assert_allclose(lowering, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(w > 0.0, field < 0.0)
    np.testing.assert_allclose(lanes.u[[0, -1], 3, 0], lowering - system.barrier, atol=1e-15)


def test_a_field_that_points_outwards_lowers_nothing():
    _, lanes = at_rest(DEVICES["outward field"])
    assert lanes.real[at.W_L, 0] < 0.0


def test_contact_densities_are_those_at_rest():
    _, lanes = at_rest(DEVICES["S2"])
    np.testing.assert_array_equal(
        lanes.real[[at.N0_LN, at.N0_LP, at.N0_RN, at.N0_RP], 0], lanes.u[[0, 0, -1, -1], [0, 1, 0, 1], 0]
    )


@pytest.mark.parametrize("space", ["9d", "5d-parametric"])
def test_no_device_of_a_design_space_is_without_equilibrium(space):
    devices, _ = Space.preset(space).sample(40, seed=5)
    for i in range(len(devices)):
        _, lanes = at_rest(devices[i], "fast")
        assert lanes.whole[at.NEWTON, 0] < 60
