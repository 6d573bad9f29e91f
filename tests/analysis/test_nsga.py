import numpy as np
import pytest

from memflux.analysis.nsga import Crowding, Niching, directions, evolve

START = np.random.default_rng(0).random((24, 3))


def sphere(points):
    """Two distances: the front is the line between two points. All are feasible."""
    ends = [((points - end) ** 2).sum(axis=1) for end in (0.2, 0.8)]
    return np.stack(ends, axis=1), np.zeros(len(points))


def last(evaluate, survival, generations=40):
    return list(evolve(evaluate, START, survival, generations, seed=3))[-1]


@pytest.mark.parametrize("survival", [Crowding, lambda: Niching(2, 24)])
def test_the_front_is_approached_and_spread_out(survival):
    found = last(sphere, survival())
    assert len(found.points) == 24
    assert np.ptp(found.points, axis=1).max() < 0.2  # near the diagonal
    assert found.points.mean(axis=1).min() < 0.3
    assert found.points.mean(axis=1).max() > 0.7
    assert found.front().sum() > 12


@pytest.mark.parametrize("survival", [Crowding, lambda: Niching(2, 24)])
def test_constraints_come_first_and_missing_values_last(survival):
    def limited(points):
        costs, _ = sphere(points)
        violation = np.maximum(points[:, 0] - 0.4, 0.0)
        costs[points[:, 1] > 0.9] = np.inf
        return costs, np.where(points[:, 1] > 0.9, np.inf, violation)

    found = last(limited, survival())
    assert (found.points[found.front(), 0] <= 0.4).all()
    assert found.front().any()
    assert np.isfinite(found.costs).all()


def test_nothing_feasible_ends_with_the_least_violation():
    generations = list(evolve(lambda p: (sphere(p)[0], 1.0 + p[:, 0]), START, Crowding(), 30, seed=0))
    assert not generations[-1].front().any()
    assert generations[-1].violation.max() < generations[0].violation.min() + 1e-3


def test_every_candidate_is_new():
    seen = []

    def noted(points):
        seen.append(points)
        return sphere(points)

    last(noted, Crowding())
    everything = np.vstack(seen)
    assert (everything >= 0).all()
    assert (everything <= 1).all()
    assert all(len(np.unique(np.vstack([seen[0], later]), axis=0)) == 48 for later in seen[1:])


def test_the_search_ends_where_no_new_point_can_be_made():
    assert len(list(evolve(sphere, np.full((4, 1), 0.5), Crowding(), 3, seed=0))) <= 3


def test_seeds():
    runs = [list(evolve(sphere, START, Crowding(), 5, seed=s))[-1].points for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_units_do_not_matter_to_niches():
    plain = last(sphere, Niching(2, 24))
    small = last(lambda p: (sphere(p)[0] * [1e-12, 1e9], np.zeros(len(p))), Niching(2, 24))
    np.testing.assert_allclose(np.sort(small.points, axis=0), np.sort(plain.points, axis=0), atol=0.2)


@pytest.mark.parametrize(("objectives", "population"), [(2, 50), (3, 92), (5, 200), (6, 60), (6, 6), (3, 4)])
def test_directions_are_on_the_simplex_and_few_enough(objectives, population):
    found = directions(objectives, population)
    assert objectives <= len(found) <= population
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found >= 0).all()
    assert len(np.unique(found, axis=0)) == len(found)
