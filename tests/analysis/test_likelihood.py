"""The likelihood against what it is by its formula, and on a model that is linear in its parameters."""

import numpy as np
import pytest

from memflux.analysis.likelihood import CORRELATION, DEVIATIONS, Likelihood, Noise
from memflux.analysis.points import Section
from memflux.contracts import CurveCost
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=20)
POINT = np.array([0.4, 0.6, 0.7, 0.3, 0.55])
NOISE = Noise()


class Banded(StandIn):
    """A compact model that says how far off it may be."""

    def band(self, devices, drive, kind="pointwise"):
        current = self(devices, drive).current
        half = 0.05 * np.abs(current).max(axis=1, keepdims=True)
        return current - half, current + half


def target(point=POINT):
    return MODEL(*SPACE.build(point[None])).cycle(-1).current[0]


def likelihood(model=MODEL, curve=None, **fixed):
    cost = CurveCost(kind="curve", target=target() if curve is None else curve)
    section = Section.of(SPACE, fixed)
    return Likelihood(model, section, cost, POINT[section.free], NOISE)


def test_noise_is_relative_and_absolute():
    np.testing.assert_allclose(Noise(relative=0.03, absolute=0.04).of(np.array([0.0, 1.0])), [0.04, 0.05])
    with pytest.raises(InvalidValue, match="relative = -1"):
        Noise(relative=-1.0)


def test_residuals_are_differences_over_the_noise():
    moved = POINT + 0.05
    found = likelihood()
    expected = (found.curves(moved[None])[0] - found.target) / NOISE.of(found.target)
    np.testing.assert_allclose(found.residuals(moved[None])[0], expected, rtol=1e-10)
    assert found(moved[None])[0] == pytest.approx(-0.5 * (expected**2).sum())
    assert found(POINT[None])[0] == pytest.approx(0.0, abs=1e-9)
    assert found.scaled(2.0)(moved[None])[0] == pytest.approx(-0.125 * (expected**2).sum())


def test_a_band_adds_an_error_that_neighbours_share():
    found = likelihood(Banded(samples=20))
    assert found.band
    assert not likelihood().band
    curve = found.target
    own = 0.05 * np.abs(MODEL(*SPACE.build(POINT[None])).current).max() / DEVIATIONS
    phase = np.flatnonzero(found.counts) / 20
    shared = np.exp(-np.abs(phase[:, None] - phase) / CORRELATION)
    expected = np.diag(NOISE.of(curve) ** 2) + own**2 * shared
    np.testing.assert_allclose(found.factor @ found.factor.T, expected, rtol=1e-9)


def test_derivatives_are_those_of_the_residuals_at_a_face_too():
    found = likelihood()
    for point in (POINT, np.array([0.0, 1.0, 0.5, 0.0, 1.0])):
        residual, slope = found.linearised(point[None])
        assert slope.shape == (1, found.target.size, 5)
        np.testing.assert_allclose(residual, found.residuals(point[None]))
        for axis in range(5):
            step = np.zeros(5)
            step[axis] = 1e-4 if point[axis] < 1 else -1e-4
            change = (found.residuals((point + step)[None]) - residual)[0] / step[axis]
            np.testing.assert_allclose(slope[0, :, axis], change, atol=0.02 * np.abs(change).max())


def test_outside_the_cube_nothing_is_possible():
    points = np.array([POINT, POINT + 0.5, POINT - 0.5])
    assert np.isfinite(likelihood()(points)).tolist() == [True, False, False]


def test_magnitudes_and_small_currents():
    curve = np.abs(target())
    found = likelihood(curve=curve)
    assert not found.signed
    assert (found.target > 0).all()  # the sample at 0 V is below the floor
    np.testing.assert_allclose(found.residuals(POINT[None]), 0.0, atol=1e-9)


def test_fixed_parameters_are_no_coordinates():
    value = float(SPACE.values(POINT[None])[0, 0])
    found = likelihood(vacancy_offset=value)
    assert found.linearised(POINT[None, 1:])[1].shape[2] == 4
    np.testing.assert_allclose(found.residuals(POINT[None, 1:]), 0.0, atol=1e-9)


def test_other_grids_and_no_curve_are_refused():
    with pytest.raises(InvalidValue, match="target has 7 samples"):
        likelihood(curve=np.ones(7))

    def broken(devices, drive):
        traces = MODEL(devices, drive)
        traces.status_class[:] = "diverged"
        return traces

    with pytest.raises(SolveFailed, match="no curve"):
        likelihood(broken)
