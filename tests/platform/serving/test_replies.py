import json

import numpy as np
import pytest

from memflux.errors import ServiceError
from memflux.platform.serving import replies
from memflux.platform.serving.replies import Answer, listed, read


def answer():
    current = np.arange(15.0).reshape(5, 3)
    current[1] = np.nan
    words = np.array(["solved", "diverged", "solved", "solved", "solved"], dtype=object)
    inside = np.array([True, False, True, True, False])
    return Answer(arrays={"current": current, "status": words, "inside": inside, "cost": current[:, 0]}, about={"n": 2})


SHAPES = {"current": (5, 3), "status": (5,), "inside": (5,), "cost": (5,)}


def test_arrays_survive_in_batches(monkeypatch):
    monkeypatch.setattr(replies, "ROWS_A_BATCH", 2)
    back = read(answer().to_arrow(), SHAPES)
    for name, array in answer().arrays.items():
        np.testing.assert_array_equal(back[name], array)
    assert back["inside"].dtype == bool


def test_single_precision_stays_single_on_the_way():
    small = Answer(arrays={"current": answer().arrays["current"].astype(np.float32)}, about={})
    assert read(small.to_arrow(), {"current": (5, 3)})["current"].dtype == np.float32
    assert len(small.to_arrow()) < len(Answer(arrays={"current": answer().arrays["current"]}, about={}).to_arrow())


def test_what_is_optional_may_be_missing():
    body = answer().to_arrow()
    assert "low" not in read(body, SHAPES | {"low": (5, 3)}, optional=("low",))
    with pytest.raises(ServiceError, match="sent no low"):
        read(body, SHAPES | {"low": (5, 3)})


def test_parts_and_emptiness():
    assert len(answer().part(slice(1, 3))) == 2
    np.testing.assert_array_equal(answer().part(slice(1, 3)).arrays["cost"], [np.nan, 6.0])
    nothing = Answer(arrays={"errors": np.empty((0, 2))}, about={})
    assert read(nothing.to_arrow(), {"errors": (-1, 2)})["errors"].shape == (0, 2)


def test_json_has_null_for_nan():
    fields = json.loads(json.dumps(answer().to_json(), allow_nan=False))
    assert fields["current"][1] == [None] * 3
    assert fields["status"][1] == "diverged"
    assert fields["inside"] == [True, False, True, True, False]
    assert fields["n"] == 2
    assert listed(np.array([1.0, np.inf, np.nan])) == [1.0, None, None]


def test_answers_of_another_shape_are_refused():
    body = answer().to_arrow()
    for shape in ((4, 3), (5, 2), (5, 4)):
        with pytest.raises(ServiceError, match="sent 15 values of current for 5 devices"):
            read(body, {"current": shape})
    for damaged in (b"", b"rubbish", body[:100]):
        with pytest.raises(ServiceError, match="not an Arrow stream"):
            read(damaged, SHAPES)
