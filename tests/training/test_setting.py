"""Ranges, choices, and what shows whether a search can be trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memflux.errors import InvalidValue
from memflux.training.setting import Among, Between, ends_of


@given(low=st.integers(-50, 50), span=st.integers(1, 50), step=st.integers(1, 50), value=st.integers(-120, 120))
def test_a_range_holds_its_steps_and_no_other(low, span, step, value):
    if step > span:
        with pytest.raises(InvalidValue, match=f"step = {step}"):
            Between(low=low, high=low + span, step=step)
        return
    assert (value in Between(low=low, high=low + span, step=step)) == (value in range(low, low + span + 1, step))


def test_whole_numbers_and_truth_values_are_told_apart():
    assert 2.0 not in Between(low=1, high=3)
    assert 2 in Between(low=1.0, high=3.0)
    assert True not in Between(low=0, high=3)
    assert 4 not in Among(values=(2, 8))


def test_each_end_is_tried_beside_what_is_fixed():
    search = {"a": Between(low=1, high=3), "b": Among(values=("x", "y"))}
    tried = list(ends_of(search, {"c": 0}))
    assert tried == [{"c": 0}, {"c": 0, "a": 1}, {"c": 0, "a": 3}, {"c": 0, "b": "x"}, {"c": 0, "b": "y"}]
    with pytest.raises(InvalidValue, match="a is both varied and fixed"):
        list(ends_of(search, {"a": 1}))
