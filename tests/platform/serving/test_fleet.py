"""Solvers hand over what they solve, and answer whatever becomes of it. On a Ray: test_serve.py."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import ray

from compact_served import NAME, CompactServed
from memflux.platform.serving import fleet as fleet_file
from memflux.platform.serving.fleet import Solving, stop_keeper
from memflux.platform.serving.keeper import Account
from memflux.solvers import solver as solver_file
from memflux.stand_in import StandIn

DEVICES, DRIVE = CompactServed().space.sample(3, seed=0)


class Compact:
    """The compact model in the place of the solver."""

    control, engine = "accurate", "compact"

    def __init__(self, samples=40):
        self.model = StandIn(samples=samples)

    def __call__(self, devices, drive):
        return self.model(devices, drive)


class Remote:
    """An actor's method that remembers what it was called with, and raises where it is told to."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def remote(self, *given):
        self.calls.append(given)
        if self.error is not None:
            raise self.error


@pytest.fixture
def keeper(monkeypatch):
    monkeypatch.setattr(solver_file, "Solver", Compact)
    keep = Remote()
    monkeypatch.setattr(fleet_file.ray, "get_actor", lambda name, namespace: SimpleNamespace(keep=keep))
    return keep


def test_what_is_solved_is_handed_over(keeper):
    traces = Solving("keeper").solve(NAME, DEVICES, DRIVE, 40)
    ((model, family, rows),) = keeper.calls
    assert (model, family["kind"]) == (NAME, "triangle")
    np.testing.assert_array_equal(rows.current, traces.current)
    assert set(rows.biography["engine"]) == {"compact"}
    Solving().solve(NAME, DEVICES, DRIVE, 40)
    assert len(keeper.calls) == 1


@pytest.mark.parametrize("error", [ValueError("no such actor"), ray.exceptions.PendingCallsLimitExceeded("too many")])
def test_an_answer_goes_out_whatever_the_keeper_does(keeper, caplog, error):
    keeper.error = error
    assert Solving("keeper").solve(NAME, DEVICES, DRIVE, 40).ok.all()
    assert f"3 solved devices are not kept: {error}" in caplog.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Account(kept=3, lost=0, reason=""), []),
        (Account(kept=3, lost=2, reason="no space."), ["2 solved devices are not kept: no space."]),
        (ray.exceptions.GetTimeoutError("late"), ["what the keeper of solved devices held is lost: late"]),
    ],
)
def test_the_end_says_what_was_lost(monkeypatch, caplog, said, told):
    def get(_, timeout):
        if isinstance(said, Exception):
            raise said
        return said

    killed = []
    monkeypatch.setattr(fleet_file, "_actors", lambda prefix: [SimpleNamespace(finish=Remote())])
    monkeypatch.setattr(fleet_file.ray, "get", get)
    monkeypatch.setattr(fleet_file.ray, "kill", killed.append)
    with caplog.at_level(logging.WARNING):
        stop_keeper()
    assert [record.getMessage() for record in caplog.records] == told
    assert len(killed) == 1
