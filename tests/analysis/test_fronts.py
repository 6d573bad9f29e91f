import numpy as np
import pytest

from memflux.analysis.fronts import choose, hypervolume, knee, reference_point

X = np.linspace(0.0, 1.0, 401)
HOLLOW = np.stack([X, 1.0 - np.sqrt(X)], axis=1)
BULGING = np.stack([X, 1.0 - X**2], axis=1)


def test_hypervolume_of_boxes_and_of_a_known_front():
    two = np.array([[1.0, 3.0], [2.0, 1.0]])
    assert hypervolume(two, np.array([4.0, 4.0])) == pytest.approx(3 * 1 + 2 * 3 - 2 * 1)
    assert hypervolume(HOLLOW, np.array([1.1, 1.1])) == pytest.approx(0.1 + 2 / 3 + 0.11, abs=2e-3)


def test_hypervolume_leaves_out_what_is_beyond_or_missing():
    costs = np.array([[1.0, 1.0], [5.0, 0.0], [np.nan, 0.0], [np.inf, 0.0]])
    assert hypervolume(costs, np.array([2.0, 2.0])) == pytest.approx(1.0)
    assert hypervolume(costs[2:], np.array([2.0, 2.0])) == 0.0


def test_the_reference_point_is_a_tenth_worse_than_the_worst():
    np.testing.assert_allclose(reference_point(np.array([[0.0, -4.0], [2.0, -6.0]])), [2.2, -3.8])
    np.testing.assert_allclose(reference_point(np.array([[3.0, 0.0]])), [3.3, 0.1])


def test_the_knee_of_a_hollow_front_is_where_its_slope_is_that_of_the_ends():
    assert X[knee(HOLLOW)] == pytest.approx(0.25)
    assert X[knee(HOLLOW * [1e-9, 1e9] + [0.0, -5e9])] == pytest.approx(0.25)  # units do not matter


@pytest.mark.parametrize(
    "costs",
    [BULGING, np.stack([X, 1 - X], axis=1), np.stack([X, 0 * X], axis=1), HOLLOW[:2], HOLLOW[:1]],
)
def test_no_knee_where_there_is_none(costs):
    assert knee(costs) is None


def test_a_knee_of_three_objectives():
    corners = np.vstack([np.eye(3), [[0.3, 0.3, 0.3]], [[0.2, 0.2, 0.2]]])
    assert knee(corners) == 4


def test_weights_pick_along_a_hollow_and_a_bulging_front():
    for front in (HOLLOW, BULGING):
        picks = [choose(front, np.array(w)) for w in ((1.0, 9.0), (1.0, 1.0), (9.0, 1.0))]
        assert X[picks[0]] > X[picks[1]] > X[picks[2]]
        best = front[picks[1]]
        assert best[0] == pytest.approx(best[1], abs=5e-3)  # equally far from the best of each


def test_a_target_is_met_or_surpassed():
    assert choose(HOLLOW, np.ones(2), np.array([0.36, 0.4])) == pytest.approx(144, abs=1)
    easy = choose(HOLLOW, np.ones(2), np.array([0.9, 0.9]))
    assert (HOLLOW[easy] < 0.9).all()


def test_a_constant_objective_decides_nothing():
    flat = np.stack([X, np.full_like(X, 7.0)], axis=1)
    assert choose(flat, np.ones(2)) == 0
