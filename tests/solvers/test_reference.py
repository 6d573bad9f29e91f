"""The published curves, to solver tolerance (Spetzler et al., doi 10.1002/aelm.202300635)."""

import numpy as np
import pytest

from memflux.device import Device
from memflux.solvers.solver import simulate
from memflux.waveform import Triangle
from published import s1_levels

pytestmark = pytest.mark.reference
ENGINES = ("petsc", "compiled")


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "petsc":
        pytest.importorskip("petsc4py", exc_type=ImportError)
    return request.param


def test_set_s2_has_the_published_levels_rejections_and_currents(reference_data, engine):
    device = Device.preset("S2")
    t = simulate(device, Triangle(amplitude=10.0, period=8.0, cycles=2), control="reference", engine=engine)
    published = np.loadtxt(reference_data / "reference_fv" / "IV-S2-cycle-1-2-time.dat")
    assert t.ok
    assert t.time.size == 493
    np.testing.assert_array_equal(t.time, published[:, 0])
    density = t.current / device.area
    assert np.abs(density - published[:, 1]).max() <= 1e-8 * np.abs(published[:, 1]).max()
    assert t.history is not None
    np.testing.assert_allclose(t.history.rejected, [2.9711, 3.9106, 8.0000, 11.9895], atol=6e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_set_s2_lowers_its_barriers_as_published(reference_data, side):
    t = simulate(Device.preset("S2"), Triangle(amplitude=10.0, period=8.0, cycles=2), control="reference")
    published = np.loadtxt(reference_data / "reference_fv" / f"barrier-change-{side}-S2.dat")
    ours = getattr(t.history, f"barrier_change_{side}")
    np.testing.assert_allclose(ours, published[:, 1], atol=1e-9)


def test_set_s1_has_the_published_currents_on_the_published_levels(reference_data, engine):
    cycles = [np.loadtxt(reference_data / "reference_fv" / f"IV-S1-cycle-{i}.dat") for i in (1, 2, 3)]
    table = np.concatenate([cycles[0], cycles[1][1:], cycles[2][1:]])
    levels = s1_levels(table[:, 0])
    steps = np.diff(levels)
    growth = steps[1:] / steps[:-1]
    # the reconstruction is right: every step is 1.01 times the last, or half of that
    assert np.isclose(growth, 1.01, atol=1e-6).sum() + np.isclose(growth, 0.505, atol=1e-6).sum() == growth.size
    t = simulate(
        Device.preset("S1"),
        Triangle(amplitude=13.0, period=10.4, cycles=8),
        control="reference-S1",
        levels=levels,
        engine=engine,
    )
    assert t.ok
    assert np.abs(np.abs(t.current) - table[:, 1]).max() <= 1e-8 * table[:, 1].max()


def test_set_s2_starts_from_the_published_state(reference_data):
    t = simulate(
        Device.preset("S2"), Triangle(amplitude=10.0, period=8.0, cycles=2), control="reference", profiles=[0.0]
    )
    state = np.loadtxt(reference_data / "reference_fv" / "sol-S2-cycle-1.dat")
    assert t.profiles is not None
    np.testing.assert_allclose(t.profiles.x, state[:, 0], atol=1e-16)
    np.testing.assert_allclose(t.profiles.psi[0], state[:, 4], atol=1e-12)
