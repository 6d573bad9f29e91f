import numpy as np
import pytest

from memflux.constants import VACUUM_PERMITTIVITY
from memflux.device import Device
from memflux.solvers.control import SolverControl
from memflux.solvers.system import band_density, build_system, emission_velocity, image_scale


def test_published_densities_and_velocities():
    assert band_density(0.55, 300.0) == pytest.approx(1.0235664531529786e25, rel=1e-12)
    assert band_density(0.71, 300.0) == pytest.approx(1.5012725109212313e25, rel=1e-12)
    assert emission_velocity(0.55, 300.0) == pytest.approx(36273.25190829269, rel=1e-12)
    assert emission_velocity(0.71, 300.0) == pytest.approx(31925.570179238937, rel=1e-12)


def test_every_field_reaches_the_system():
    device = Device(
        temperature=400.0, relative_permittivity=7.0, image_force_permittivity=3.0, band_gap=1.1, electron_affinity=4.2,
        electron_mass=0.4, hole_mass=0.9, mobility_electron=1e-3, mobility_hole=2e-3, mobility_vacancy=3e-14,
        donor_density=5e20, vacancy_site_density=2e27, vacancy_offset=0.25, vacancy_charge=2,
        barrier_left=0.1, barrier_right=0.2, length=2e-6, width=3e-6, thickness=4e-9,
    )  # fmt: skip
    s = build_system(device, SolverControl.preset("accurate"))
    assert s.unit == pytest.approx(0.034469333, rel=1e-7)
    assert s.permittivity == 7.0 * VACUUM_PERMITTIVITY
    assert s.image_permittivity == 3.0 * VACUUM_PERMITTIVITY
    np.testing.assert_array_equal(s.z, [-1, 1, 2])
    np.testing.assert_allclose(s.density, [band_density(0.4, 400.0), band_density(0.9, 400.0), 2e27])
    np.testing.assert_allclose(s.level, [0.0, -1.1, -0.25])
    np.testing.assert_allclose(s.mobility, [1e-3, 2e-3, 3e-14])
    np.testing.assert_allclose(s.emission, [emission_velocity(0.4, 400.0), emission_velocity(0.9, 400.0)])
    np.testing.assert_array_equal(s.barrier, [0.1, 0.2])
    assert (s.doping, s.affinity, s.area) == (5e20, 4.2, pytest.approx(1.2e-14))
    assert s.x[-1] == pytest.approx(2e-6)
    assert image_scale(s) == pytest.approx(1.602176634e-19 / (4 * np.pi * 3.0 * VACUUM_PERMITTIVITY))
    assert (s.lowering, s.follows, s.vacancies, s.contact_slack) == (True, False, True, 0.0)


def test_only_the_published_controls_keep_the_penalty():
    assert build_system(Device(), SolverControl.preset("reference")).contact_slack == 1e-10
    assert build_system(Device(barrier_lowering=False), SolverControl.preset("reference-S1")).contact_slack == 0.0
    assert not build_system(Device(vacancy_site_density=0.0), SolverControl.preset("fast")).vacancies


def test_the_published_controls_have_the_published_mesh_and_the_others_layers():
    assert build_system(Device(), SolverControl.preset("reference")).x.size == 189
    for name in ("accurate", "fast"):
        h = np.diff(build_system(Device(), SolverControl.preset(name)).x)
        middle = h.size // 2
        np.testing.assert_allclose(h[middle - 10 : middle + 10], h[middle], rtol=1e-9)  # uniform in the channel
