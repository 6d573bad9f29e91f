import numpy as np
import pytest

from memflux.analysis.descent import adam, quasi_newton

CENTRE = np.array([0.3, 0.6, 0.8])


def bowl(point):
    """A badly scaled quadratic with its minimum at CENTRE."""
    weight = np.array([1.0, 30.0, 1000.0])
    return (weight * (point - CENTRE) ** 2).sum(axis=1), 2 * weight * (point - CENTRE)


def cone(point):
    """A sum of magnitudes: a kink at its minimum, as the logarithmic cost has."""
    mixed = (point - CENTRE) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.3, 0.0, 1.0]])
    slope = np.sign(mixed) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.3, 0.0, 1.0]]).T
    return np.abs(mixed).sum(axis=1), slope


def start(rows=6):
    return np.random.default_rng(0).random((rows, 3))


def test_adam_comes_near_and_quasi_newton_arrives():
    near = adam(bowl, start(), 100, seed=0)
    assert (near.values < 0.1).all()
    found = quasi_newton(bowl, near.points, 40)
    np.testing.assert_allclose(found.points, np.broadcast_to(CENTRE, (6, 3)), atol=1e-6)
    assert (found.values <= near.values).all()


def test_kinks_are_descended():
    found = quasi_newton(cone, adam(cone, start(), 60, seed=0).points, 150)
    assert found.values.min() < 1e-4


@pytest.mark.parametrize("search", [lambda f, s: adam(f, s, 80, seed=0), lambda f, s: quasi_newton(f, s, 40)])
def test_minima_outside_are_found_on_the_face(search):
    def outside(point):
        offset = point - np.array([0.5, 1.5, -0.5])
        return (offset**2).sum(axis=1), 2 * offset

    found = search(outside, start())
    np.testing.assert_allclose(found.points, np.broadcast_to([0.5, 1.0, 0.0], (6, 3)), atol=5e-3)


def test_values_that_are_not_finite_stay_with_their_start():
    def holed(point):
        value, gradient = bowl(point)
        hole = point[:, 0] > 0.6
        return np.where(hole, np.nan, value), np.where(hole[:, None], np.nan, gradient)

    points = start(12)
    assert (points[:, 0] > 0.6).any()
    near = adam(holed, points, 100, seed=0)
    assert np.isfinite(near.points).all()
    assert (near.values < 0.1).all()
    found = quasi_newton(holed, near.points, 40)
    assert (found.values < 1e-9).all()


def test_a_start_without_any_value_is_infinite():
    def nowhere(point):
        return np.full(len(point), np.nan), np.full(point.shape, np.nan)

    assert np.isinf(adam(nowhere, start(), 5, seed=0).values).all()
    assert np.isinf(quasi_newton(nowhere, start(), 30).values).all()


def test_each_step_is_one_call_of_all_starts():
    sizes = []

    def counted(point):
        sizes.append(len(point))
        return bowl(point)

    adam(counted, start(), 7, seed=0)
    quasi_newton(counted, start(), 9)
    assert sizes == [6] * 16
