"""Tallies: what parts add up to is what the whole is."""

import dataclasses

import numpy as np
import pytest

from memflux.rows import Method, rows_of
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.tally import Tally, content_sum


@pytest.fixture
def rows():
    """Ten rows, two of which failed; none has been timed, all have been finished at 100 s."""
    devices, drive = Space.preset("9d").sample(10, seed=3)
    made = rows_of(np.arange(10), devices, drive, StandIn(samples=8)(devices, drive), Method())
    classes = made.status_class.copy()
    classes[[2, 7]] = "diverged"
    told = {"wall_time_s": np.arange(10.0), "finished_at": np.full(10, 100.0), "newton_steps": np.full(10, 3)}
    return dataclasses.replace(made, status_class=classes, biography=made.biography | told)


@pytest.mark.parametrize("cut", [1, 3, 9])
def test_parts_add_up_in_any_order(rows, cut):
    whole = Tally.of(rows)
    parts = Tally.sum([Tally.of(rows[cut:]), Tally.of(rows[:cut])])
    assert parts.content_hash == whole.content_hash
    assert (parts.rows, parts.failures, parts.work_s, parts.newton_steps) == (10, 2, 45.0, 30)
    assert sorted(parts.failed["diverged"]) == [2, 7]


def test_a_row_twice_is_not_a_row_once(rows):
    assert content_sum(rows[np.array([0, 1, 1])]) != content_sum(rows[:2])
    assert content_sum(rows[np.array([1, 0])]) == content_sum(rows[:2])
    assert Tally().content_hash == "0" * 64


def test_a_tally_survives_its_json(rows):
    assert Tally.from_json(Tally.of(rows).to_json()).to_json() == Tally.of(rows).to_json()
    assert Tally.from_json(Tally.of(rows).to_json() + b"\xff and more") == Tally.from_json(Tally.of(rows).to_json())
    for damaged in (b"", b"{}", b"[]", b"{", b'{"content": "x"}', Tally().to_json().replace(b"rows", b"odd")):
        with pytest.raises(ValueError, match=r"."):
            Tally.from_json(damaged)


def test_the_rate_is_that_of_the_last_minutes():
    parts = [Tally(rows=10, finished=[(t, 10)]) for t in (0.0, 1000.0, 1010.0, 1020.0)]
    assert Tally.sum(parts).rate() == pytest.approx(1.0)
    assert Tally.sum(parts[:1]).rate() is None
    assert Tally().rate() is None
