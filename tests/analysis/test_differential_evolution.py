import numpy as np

from memflux.analysis.differential_evolution import evolve

START = np.random.default_rng(0).random((40, 3))


def free(points):
    return np.zeros(len(points))


def test_a_valley_is_found():
    def valley(points):
        x = 4.0 * points - 2.0
        return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1), free(points)

    found = evolve(valley, START, 200, seed=0)
    np.testing.assert_allclose(found.points[0], 0.75, atol=1e-3)
    assert (np.diff(found.costs) >= 0).all()


def test_the_best_of_many_local_minima_is_found():
    def egg_crate(points):
        x = points - 0.3
        return (1 - np.cos(20 * x)).sum(axis=1) + 10 * (x**2).sum(axis=1), free(points)

    assert evolve(egg_crate, START, 150, seed=1).costs[0] < 1e-4


def test_points_that_keep_the_constraint_come_first_and_the_optimum_lies_on_it():
    def corner(points):
        return points.sum(axis=1), np.maximum(1.0 - points[:, 0] - points[:, 1], 0.0)

    found = evolve(corner, START, 100, seed=0)
    assert found.violations[0] == 0
    np.testing.assert_allclose(found.costs[0], 1.0, atol=1e-3)


def test_points_without_a_value_never_win_and_the_cube_is_not_left():
    seen = []

    def holed(points):
        seen.append(points)
        missing = points[:, 0] < 0.5
        return np.where(missing, np.inf, points[:, 0]), np.where(missing, np.inf, 0.0)

    found = evolve(holed, START, 40, seed=0)
    assert 0.5 <= found.points[0, 0] < 0.501
    assert len(seen) == 41
    assert (np.concatenate(seen) >= 0).all()
    assert (np.concatenate(seen) <= 1).all()


def test_the_seed_decides():
    def bowl(points):
        return (points**2).sum(axis=1), free(points)

    runs = [evolve(bowl, START, 5, seed=s).points for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
