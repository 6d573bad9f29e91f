"""Distances are relative to what is usual within the training set, and found again after saving."""

import json

import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.training.distance import NEIGHBOURS, POINTS, Distance


@pytest.fixture(scope="module")
def unit():
    return np.random.default_rng(0).random((3000, 3))


def test_one_fresh_device_in_a_hundred_is_far(unit):
    distance = Distance.fit(unit)
    assert distance.points.shape == (POINTS, 3)
    fresh = np.random.default_rng(1).random((5000, 3))
    assert 0.003 < distance.far(fresh).mean() < 0.02
    np.testing.assert_array_equal(distance.far(fresh), distance(fresh) > 1.0)


def test_holes_and_the_outside_are_far(unit):
    holed = unit[np.abs(unit - 0.5).max(axis=1) > 0.3]
    distance = Distance.fit(holed)
    assert distance.far(np.array([[0.5, 0.5, 0.5], [1.3, 0.5, 0.5], [0.1, 0.5, 0.5]])).tolist() == [True, True, False]


def test_distance_is_the_mean_to_the_nearest():
    points = np.arange(10.0)[:, None]
    distance = Distance(points=points, typical=2.0)
    near = np.sort(np.abs(points[:, 0] - 3.4))[:NEIGHBOURS]
    assert distance(np.array([[3.4]]))[0] == pytest.approx(near.mean() / 2.0)


def test_twins_of_one_device_do_not_divide_by_zero():
    distance = Distance.fit(np.full((50, 2), 0.5))
    assert distance(np.array([[0.5, 0.5]]))[0] == 0.0
    assert distance.far(np.array([[0.6, 0.5]]))[0]


def test_round_trip_and_seed(unit):
    distance = Distance.fit(unit, seed=0)
    again = Distance.from_dict(json.loads(json.dumps(distance.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(again.points, distance.points)
    np.testing.assert_array_equal(again(unit[:50]), distance(unit[:50]))
    np.testing.assert_array_equal(Distance.fit(unit, seed=0).points, distance.points)
    assert (Distance.fit(unit, seed=1).points != distance.points).any()


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        (np.zeros((3, 2)), r"unit has 3 rows; give at least 6 training devices\."),
        (np.full((9, 2), np.nan), r"unit\[0, 0\] = nan is not finite"),
    ],
)
def test_bad_training_sets_are_refused(unit, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        Distance.fit(unit)


def test_bad_queries_and_fields_are_refused(unit):
    distance = Distance.fit(unit)
    with pytest.raises(InvalidValue, match=r"unit has 2 parameters and the training set 3; give those\."):
        distance(np.zeros((4, 2)))
    with pytest.raises(InvalidValue, match="is not finite"):
        distance(np.array([[0.0, np.inf, 0.0]]))
    with pytest.raises(InvalidValue, match="is not a field of a distance"):
        Distance.from_dict({**distance.to_dict(), "more": 1})
    with pytest.raises(InvalidValue, match="points has shape"):
        Distance(points=np.zeros((2, 3)), typical=1.0)
