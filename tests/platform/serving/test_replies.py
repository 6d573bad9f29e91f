import dataclasses

import numpy as np
import pytest

from memflux.compact import CompactModel
from memflux.errors import ServiceError
from memflux.platform.serving.replies import (
    array_from_arrow,
    arrays_to_arrow,
    curves_from_arrow,
    curves_to_arrow,
    curves_to_json,
    listed,
)
from memflux.space import Space


def traces():
    devices, drive = Space.preset("5d").sample(5, seed=0)
    answer = CompactModel(samples=8)(devices, drive)
    current = answer.current.copy()
    current[1] = np.nan
    status_class, status = answer.status_class.copy(), answer.status.copy()
    status_class[1], status[1] = "diverged", "the extrapolation overflows"
    inside = np.array([True, False, True, True, False])
    return dataclasses.replace(answer, current=current, status_class=status_class, status=status, inside=inside)


def test_curves_survive_in_parts():
    whole = traces()
    back = curves_from_arrow(curves_to_arrow([whole[:2], whole[2:]], samples=8), count=5, times=17)
    np.testing.assert_array_equal(back.current, whole.current)
    assert back.status.tolist() == whole.status.tolist()
    assert back.status_class.tolist() == whole.status_class.tolist()
    np.testing.assert_array_equal(back.inside, whole.inside)


def test_the_question_of_the_space_may_not_arise():
    plain = dataclasses.replace(traces(), inside=None)
    assert curves_from_arrow(curves_to_arrow([plain], samples=8), 5, 17).inside is None
    assert curves_to_json(plain, 8)["inside"] is None


def test_json_has_null_for_nan():
    answer = curves_to_json(traces(), samples=8)
    assert answer["current"][1] == [None] * 17
    assert len(answer["time"]) == 5
    assert answer["status"][1] == "the extrapolation overflows"
    assert listed(np.array([1.0, np.inf, np.nan])) == [1.0, None, None]


def test_arrays_of_one_and_two_dimensions():
    cost, gradient = np.array([1.0, np.nan]), np.arange(6.0).reshape(2, 3)
    body = arrays_to_arrow({"cost": cost, "gradient": gradient}, {"gradient": ["a", "b", "c"]})
    np.testing.assert_array_equal(array_from_arrow(body, "cost", (2,)), cost)
    np.testing.assert_array_equal(array_from_arrow(body, "gradient", (2, 3)), gradient)


def test_answers_of_another_shape_are_refused():
    body = curves_to_arrow([traces()], samples=8)
    with pytest.raises(ServiceError, match="5 devices at 9 times"):
        curves_from_arrow(body, 5, 9)
    with pytest.raises(ServiceError, match="5 rows"):
        curves_from_arrow(body, 4, 17)
    with pytest.raises(ServiceError, match="expected 5 of values"):
        array_from_arrow(body, "values", (5, 2))
    with pytest.raises(ServiceError, match="not an Arrow stream"):
        curves_from_arrow(b"<html>", 5, 17)
    wide = arrays_to_arrow({"values": np.zeros((5, 3))}, {})
    with pytest.raises(ServiceError, match="15 values of values"):
        array_from_arrow(wide, "values", (5, 2))
