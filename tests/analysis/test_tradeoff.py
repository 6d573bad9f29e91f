import dataclasses

import numpy as np
import pytest

from known_fronts import BOX, coordinates, first, zdt1
from memflux.analysis.constraint import Constraint
from memflux.analysis.tradeoff import Tradeoff, Variability
from memflux.errors import InvalidValue

GOALS = ((first, "min"), (zdt1, "max"))
POINTS = np.random.default_rng(1).random((50, 4))


def test_costs_are_signed_and_counted():
    problem = Tradeoff(coordinates, BOX, GOALS)
    costs, violation = problem(POINTS)
    np.testing.assert_allclose(costs[:, 0], POINTS[:, 0])
    np.testing.assert_allclose(costs[:, 1], -zdt1(coordinates(*BOX.build(POINTS))))
    assert (violation == 0).all()
    assert (problem.evaluations, problem.undefined, problem.infeasible, problem.refused) == (50, 0, 0, 0)


def test_limits_are_relative_and_what_is_missing_breaks_them():
    values = np.array([0.5, 1.0, 2.0, 3.0, np.nan])
    np.testing.assert_allclose(
        Constraint(quantity=first, low=1.0, high=2.0).violation(values), [0.25, 0, 0, 0.5, np.inf]
    )
    np.testing.assert_allclose(Constraint(quantity=first, high=0.0).violation(values)[:3], [0.5, 1.0, 2.0])
    assert str(Constraint(quantity="symmetry", low=0.0)) == "0 <= symmetry"
    assert str(Constraint(quantity="symmetry", low=0.1, high=0.5)) == "0.1 <= symmetry <= 0.5"


def test_constraints_count_what_breaks_them():
    holed = lambda t: np.where(first(t) > 0.8, np.nan, first(t))  # noqa: E731
    problem = Tradeoff(coordinates, BOX, GOALS, [Constraint(quantity=holed, low=0.5)])
    _, violation = problem(POINTS)
    x = POINTS[:, 0]
    np.testing.assert_array_equal(violation == 0, (x >= 0.5) & (x <= 0.8))
    np.testing.assert_array_equal(np.isinf(violation), x > 0.8)
    assert problem.infeasible == (violation > 0).sum()


def test_a_quantity_that_stands_twice_is_asked_for_once():
    asked = []

    class Remote:
        def __call__(self, devices, drive):
            raise AssertionError

        def quantities(self, devices, drive, names):
            asked.append(names)
            return np.ones((len(devices), len(names)))

    goals = (("symmetry", "min"), ("on_off_ratio", "max"))
    costs, _ = Tradeoff(Remote(), BOX, goals, [Constraint(quantity="symmetry", high=2.0)])(POINTS)
    assert asked == [("symmetry", "on_off_ratio")]
    assert costs.shape == (50, 2)


def test_copies_have_the_mean_and_the_spread_that_was_asked_for():
    factors = Variability(spread={"barrier_left": 0.2}, devices=1024).factors(BOX, seed=0)
    column = BOX.names.index("barrier_left")
    assert factors[:, column].mean() == pytest.approx(1.0, abs=2e-3)
    assert factors[:, column].std() == pytest.approx(0.2, rel=0.02)
    assert (np.delete(factors, column, axis=1) == 1.0).all()


def test_the_mean_of_a_linear_quantity_is_that_of_the_device():
    scatter = Variability(spread={"barrier_left": 0.1}, devices=256)
    height = lambda t: t.current[:, 1]  # noqa: E731  linear in the parameter
    costs, _ = Tradeoff(coordinates, BOX, ((height, "min"), (first, "min")), variability=scatter)(POINTS)
    np.testing.assert_allclose(costs[:, 0], POINTS[:, 1], rtol=5e-3)
    np.testing.assert_allclose(costs[:, 1], POINTS[:, 0], rtol=1e-9)


def test_a_quantile_is_what_that_share_of_the_copies_reaches():
    scatter = Variability(spread={"barrier_left": 0.1}, devices=512, statistic="quantile", quantile=0.9)
    height = lambda t: t.current[:, 1]  # noqa: E731
    problem = Tradeoff(coordinates, BOX, ((height, "min"), (height, "max")), variability=scatter)
    costs, _ = problem(POINTS)
    width = np.sqrt(np.log1p(0.01))
    z = 1.2815515655446004
    np.testing.assert_allclose(costs[:, 0], POINTS[:, 1] * np.exp(z * width - 0.5 * width**2), rtol=0.01)
    np.testing.assert_allclose(-costs[:, 1], POINTS[:, 1] * np.exp(-z * width - 0.5 * width**2), rtol=0.01)
    assert problem.evaluations == 50 * 512


def test_copies_without_a_value_are_the_worst():
    scatter = Variability(spread={"barrier_left": 0.1}, devices=64)
    upper = lambda t: np.where(t.current[:, 1] > 0.5, np.nan, t.current[:, 1])  # noqa: E731
    at = np.array([[0.5, 0.5 * 0.9, 0.5, 0.5], [0.5, 0.2, 0.5, 0.5]])
    goals = ((upper, "min"), (first, "min"))
    _, strict = Tradeoff(coordinates, BOX, goals, variability=scatter)(at)
    np.testing.assert_array_equal(strict, [np.inf, 0.0])
    most = dataclasses.replace(scatter, statistic="quantile", quantile=0.5)
    _, lenient = Tradeoff(coordinates, BOX, goals, variability=most)(at)
    np.testing.assert_array_equal(lenient, [0.0, 0.0])


def test_a_limit_holds_where_the_share_of_the_copies_keeps_it():
    limit = Constraint(quantity=lambda t: t.current[:, 1], high=0.5)
    at = np.tile([0.5, 0.47, 0.5, 0.5], (1, 1))
    scatter = Variability(spread={"barrier_left": 0.1}, devices=256, statistic="quantile", quantile=0.6)
    for share, holds in ((0.6, True), (0.95, False)):
        varied = dataclasses.replace(scatter, quantile=share)
        assert (Tradeoff(coordinates, BOX, GOALS, [limit], varied)(at)[1] == 0).all() == holds


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Constraint(quantity="symmetry"), "has no limit"),
        (lambda: Constraint(quantity="symmetry", low=2.0, high=1.0), "above high"),
        (lambda: Constraint(quantity="symmetry", low=float("nan")), "not finite"),
        (lambda: Constraint(quantity="symetry", low=1.0), "Did you mean 'symmetry'"),
        (lambda: Variability(spread={}), "spread is empty"),
        (lambda: Variability(spread={"barrier_left": 0.0}), "spread of barrier_left"),
        (lambda: Variability(spread={"barrier_left": 0.1}, devices=1), "devices = 1"),
        (lambda: Variability(spread={"barrier_left": 0.1}, statistic="median"), "statistic = 'median'"),
        (lambda: Variability(spread={"barier_left": 0.1}).factors(BOX, 0), "did you mean 'barrier_left'"),
        (lambda: Tradeoff(coordinates, BOX, [("symmetry", "min")] * 7), "at most 6"),
    ],
)
def test_bad_arguments_are_one_sentence(make, words):
    with pytest.raises(InvalidValue, match=words):
        make()
