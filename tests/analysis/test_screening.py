"""Elementary effects with known answers: linear functions, products, and rows without a value."""

import numpy as np
import pytest
from SALib.analyze import morris as reference

from memflux.analysis.screening import MorrisResult, _trajectories, morris
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from unit_cube import CUBE, coordinates


def linear(traces):
    return traces.current[:, :3] @ np.array([3.0, -2.0, 0.0])


def product(traces):
    return traces.current[:, 0] * traces.current[:, 1]


def test_a_linear_function_has_its_coefficients_and_no_deviation():
    result = morris(coordinates, CUBE, [linear], trajectories=10)
    np.testing.assert_allclose(result.mu, [[3.0, -2.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(result.mu_star, [[3.0, 2.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(result.sigma, 0.0, atol=1e-9)
    np.testing.assert_allclose(result.mu_star_interval, 0.0, atol=1e-9)
    assert result.evaluations == 40
    assert result.notes == ()


def test_a_product_has_the_known_mean_and_deviation():
    result = morris(coordinates, CUBE, [product], trajectories=4000)
    levels = np.array([0, 1, 2, 3]) / 3  # the effect of x1 is x2, on the grid
    np.testing.assert_allclose(result.mu[0, :2], 0.5, atol=0.02)
    np.testing.assert_allclose(result.sigma[0, :2], levels.std(), atol=0.02)
    assert (np.abs(result.mu_star[0, :2] - 0.5) < 2 * result.mu_star_interval[0, :2]).all()
    assert result.mu_star[0, 2] == 0.0


def test_effects_of_both_signs_do_not_cancel():
    result = morris(coordinates, CUBE, [lambda t: (t.current[:, 0] - 0.5) * (t.current[:, 1] - 0.5)], trajectories=2000)
    np.testing.assert_allclose(result.mu[0, :2], 0.0, atol=0.03)
    np.testing.assert_allclose(result.mu_star[0, :2], 1 / 3, atol=0.02)


def test_the_numbers_are_those_of_salib():
    problem = {"num_vars": 3, "names": list("abc"), "bounds": [[0.0, 1.0]] * 3}

    def function(traces):
        return np.sin(5 * traces.current[:, 0]) + traces.current[:, 1] * traces.current[:, 2]

    seed, _ = np.random.SeedSequence(0).spawn(2)
    points = _trajectories(20, 3, np.random.default_rng(seed))[0].reshape(-1, 3)
    outputs = np.sin(5 * points[:, 0]) + points[:, 1] * points[:, 2]
    theirs = reference.analyze(problem, points, outputs, num_levels=4, seed=1)
    ours = morris(coordinates, CUBE, [function], trajectories=20, resamples=1000)
    np.testing.assert_allclose(ours.mu[0], np.asarray(theirs["mu"]), rtol=1e-8)
    np.testing.assert_allclose(ours.mu_star[0], np.asarray(theirs["mu_star"]), rtol=1e-8)
    np.testing.assert_allclose(ours.sigma[0], np.asarray(theirs["sigma"]), rtol=1e-8)
    np.testing.assert_allclose(ours.mu_star_interval[0], np.asarray(theirs["mu_star_conf"], float), rtol=0.15)


def test_trajectories_move_one_coordinate_at_a_time_on_the_grid():
    points, place, sign = _trajectories(2000, 4, np.random.default_rng(0))
    steps = np.diff(points, axis=1)
    assert (np.count_nonzero(steps, axis=2) == 1).all()
    np.testing.assert_allclose(np.abs(steps).sum(axis=1), 2 / 3)
    np.testing.assert_allclose(np.take_along_axis(steps, place[:, None], axis=1)[:, 0], sign * 2 / 3)
    values, counts = np.unique(np.rint(3 * points), return_counts=True)
    np.testing.assert_array_equal(values, [0, 1, 2, 3])
    assert counts.min() > 0.9 * counts.max()
    np.testing.assert_allclose(np.rint(3 * points) / 3, points, atol=1e-12)


def test_effects_without_a_value_are_left_out_and_counted():
    def holed(traces):
        return np.where((traces.current[:, :3] > 0.9).all(axis=1), np.nan, linear(traces))

    result = morris(coordinates, CUBE, [holed, linear], trajectories=100)
    np.testing.assert_allclose(result.mu[0], [3.0, -2.0, 0.0], atol=1e-9)
    assert result.missing[0] > 0
    assert result.missing[1] == 0
    assert result.notes == (f"holed: {result.missing[0]} of 300 effects have no value, since a device has none.",)
    nothing = morris(coordinates, CUBE, [lambda t: np.full(len(t), np.nan)], trajectories=5)
    assert np.isnan(nothing.mu_star).all()
    assert np.isnan(nothing.sigma).all()


def test_constants_results_and_seeds(tmp_path):
    flat = morris(coordinates, CUBE, [lambda t: np.full(len(t), 0.3)], trajectories=5)
    np.testing.assert_array_equal(flat.mu_star, 0.0)
    model, space = StandIn(samples=40), Space.preset("5d-parametric")
    result = morris(model, space, trajectories=20)
    assert result.mu_star[0].argmax() in (3, 4)  # a barrier
    result.to_json(tmp_path / "m.json")
    assert MorrisResult.from_json(tmp_path / "m.json").to_dict() == result.to_dict()
    assert morris(model, space, trajectories=20, seed=0).to_dict() == result.to_dict()
    assert not np.array_equal(morris(model, space, trajectories=20, seed=1).mu, result.mu)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trajectories": 1}, "trajectories = 1"),
        ({"resamples": 0}, "resamples = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"quantities": "symmetry"}, "not a list"),
        ({"space": Space.preset("16d")}, "not independent"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    with pytest.raises(InvalidValue, match=words):
        morris(coordinates, **({"space": CUBE} | changes))
