import numpy as np
import pytest

from memflux.analysis.least_squares import least_squares

MATRIX = np.random.default_rng(0).standard_normal((12, 3))


def linear(truth):
    """Residuals of a linear model with its minimum at `truth`."""

    def residuals(point):
        return (point - truth) @ MATRIX.T, np.broadcast_to(MATRIX, (len(point), 12, 3)).copy()

    return residuals


def free(start):
    return np.zeros(start.shape, dtype=bool)


def test_a_linear_model_is_solved_from_every_start():
    start = np.random.default_rng(1).random((5, 3))
    truth = np.array([0.2, 0.5, 0.9])
    found = least_squares(linear(truth), start, free(start), 20)
    np.testing.assert_allclose(found.points, np.tile(truth, (5, 1)), atol=1e-4)


def test_the_constrained_minimum_is_found_on_a_face_and_with_one_held():
    truth = np.array([0.3, 1.4, 0.5])
    start = np.full((2, 3), 0.5)
    start[1, 0] = 0.1
    held = free(start)
    held[1, 0] = True
    found = least_squares(linear(truth), start, held, 50)
    assert (found.points[:, 1] == 1.0).all()
    assert found.points[1, 0] == 0.1
    for row, fixed in enumerate(([1], [0, 1])):
        rest = [k for k in range(3) if k not in fixed]
        known = MATRIX[:, fixed] @ (found.points[row, fixed] - truth[fixed])
        best = truth[rest] + np.linalg.lstsq(MATRIX[:, rest], -known, rcond=None)[0]
        np.testing.assert_allclose(found.points[row, rest], np.clip(best, 0, 1), atol=1e-3)


def test_a_curved_valley():
    def rosenbrock(point):
        x, y = 4 * point.T - 2
        slope = np.zeros((len(point), 2, 2))
        slope[:, 0, 0], slope[:, 0, 1], slope[:, 1, 0] = -80 * x, 40, -4
        return np.stack([10 * (y - x**2), 1 - x], axis=1), slope

    start = np.array([[0.2, 0.55], [0.9, 0.1]])
    found = least_squares(rosenbrock, start, free(start), 200)
    np.testing.assert_allclose(found.points, 0.75, atol=1e-3)


def test_rows_without_an_answer_do_not_disturb_the_others():
    truth = np.array([0.2, 0.5, 0.9])

    def residuals(point):
        value, slope = linear(truth)(point)
        lost = point[:, 0] > 0.6
        value[lost], slope[lost] = np.nan, np.nan
        return value, slope

    start = np.array([[0.9, 0.5, 0.5], [0.5, 0.5, 0.5]])
    found = least_squares(residuals, start, free(start), 20)
    assert np.isinf(found.values[0])
    assert found.values[1] == pytest.approx(0.0, abs=1e-6)
