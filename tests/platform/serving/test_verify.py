"""Answers that solvers check: which devices are simulated, and what comes back."""

import dataclasses

import numpy as np
import pytest
from test_client import Relay, client

from compact_served import NAME, TOKEN, CompactServed
from memflux.contracts import CurveCost
from memflux.errors import InvalidValue
from memflux.metrics import symmetry
from memflux.platform.serving.verify import EXACT, check_verifiable
from memflux.platform.serving.wire import Question
from memflux.stand_in import StandIn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Banded(CompactServed):
    """A model that is sure of thin barriers and unsure of thick ones."""

    bands: bool = True

    def band(self, devices, drive, kind):
        current = self(devices, drive).current
        half = devices.barrier_left[:, None] * np.abs(current).max(axis=1, keepdims=True)
        return current - half, current + half

    def held_out(self):
        devices, drive = self.space.sample(100, seed=9)
        traces = self(devices, drive)
        return devices, drive, dataclasses.replace(traces, current=traces.current * 1.01, inside=None)


class Twice:
    """A fleet whose truth is twice the model's current, and that fails where a device is long."""

    def __init__(self):
        self.asked = []

    async def solve(self, model, devices, drive, samples):
        self.asked.append(devices)
        traces = StandIn(samples=samples)(devices, drive)
        failed = devices.length > 2e-6
        current = np.where(failed[:, None], np.nan, 2.0 * traces.current)
        status_class = np.where(failed, "diverged", "solved").astype(object)
        status = np.where(failed, "no convergence at 1 s", "solved").astype(object)
        return dataclasses.replace(traces, current=current, status_class=status_class, status=status)


@pytest.fixture
def fleet():
    return Twice()


@pytest.fixture
def asked(fleet):
    return client(Relay(models={NAME: Banded()}, fleet=fleet), token=TOKEN)


def test_the_least_certain_come_back_exact(asked, fleet):
    devices, drive = Banded().space.sample(12, seed=0)
    plain = asked(devices, drive)
    found = asked.predict(devices, drive, bands="pointwise", verify=3)
    worst = np.sort(np.argsort(-devices.barrier_left)[:3])
    np.testing.assert_array_equal(np.flatnonzero(found.exact), worst)
    np.testing.assert_array_equal(fleet.asked[0].barrier_left, devices.barrier_left[worst])
    np.testing.assert_allclose(found.traces.current[worst], 2.0 * plain.current[worst])
    np.testing.assert_array_equal(found.low[worst], found.high[worst])
    assert set(found.traces.status[worst]) == {EXACT}
    np.testing.assert_array_equal(found.traces.current[~found.exact], plain.current[~found.exact])
    assert (found.low < found.high)[~found.exact].all()


def test_what_lies_outside_is_deferred_to_the_solver(asked, fleet):
    devices, drive = Banded().space.sample(6, seed=1)
    devices = devices.replace(barrier_left=np.where(np.arange(6) == 4, 0.5, devices.barrier_left))
    found = asked.measure(devices, drive, ["symmetry"], defer=True)
    np.testing.assert_array_equal(found.exact, np.arange(6) == 4)
    np.testing.assert_array_equal(found.inside, np.arange(6) != 4)
    assert found.half_width[4, 0] == 0.0
    assert len(fleet.asked[0]) == 1
    local = symmetry(Banded()(devices, drive))
    np.testing.assert_allclose(found.values[:, 0], local, rtol=1e-9)  # S of twice the current is the same
    again = asked.measure(devices, drive, ["symmetry"])
    assert np.isnan(again.half_width[4, 0])
    assert (again.half_width[again.inside] >= 0.0).all()


def test_an_exact_curve_is_solved_also_where_the_model_gave_none(fleet):
    class Lost(Banded):
        def __call__(self, devices, drive):
            traces = super().__call__(devices, drive)
            lost = devices.barrier_left > 0.4
            current = np.where(lost[:, None], np.nan, traces.current)
            status_class = np.where(lost, "diverged", "solved").astype(object)
            return dataclasses.replace(traces, current=current, status_class=status_class)

    devices, drive = Banded().space.sample(2, seed=1)
    devices = devices.replace(barrier_left=np.array([0.1, 0.5]))
    caller = client(Relay(models={NAME: Lost()}, fleet=fleet), token=TOKEN)
    found = caller.predict(devices, drive, defer=True)
    assert found.traces.ok.all()
    assert np.isfinite(symmetry(found.traces)).all()
    assert not caller(devices, drive).ok[1]


def test_nothing_to_defer_asks_nobody(asked, fleet):
    devices, drive = Banded().space.sample(3, seed=1)
    assert not asked.predict(devices, drive, defer=True).exact.any()
    assert not fleet.asked


def test_a_solver_that_fails_leaves_the_models_answer_and_says_so(asked):
    devices, drive = Banded().space.sample(2, seed=1)
    devices = devices.replace(length=np.array([3e-6, 1e-6]))
    found = asked.predict(devices, drive, verify=2)
    np.testing.assert_array_equal(found.exact, [False, True])
    assert found.traces.status[0].endswith("not verified: no convergence at 1 s")
    assert np.isfinite(found.traces.current).all()


def test_errors_of_quantities_travel(asked):
    errors = asked.quantity_errors(["symmetry", "on_off_ratio"])
    assert errors.shape == (100, 2)
    np.testing.assert_allclose(errors, 0.0, atol=1e-12)  # both are ratios
    assert client(Relay(), token=TOKEN).quantity_errors(["symmetry"]) is None
    assert asked.quantity_errors(["symmetry", lambda traces: traces.current.max(axis=1)]) is None


def test_what_cannot_be_verified_is_refused(asked):
    devices, drive = Banded().space.sample(70, seed=1)
    with pytest.raises(InvalidValue, match="70 devices lie outside"):
        asked.predict(devices.replace(barrier_left=0.5), drive, defer=True)
    with pytest.raises(InvalidValue, match="verify = 65"):
        asked.predict(devices, drive, verify=65)
    with pytest.raises(InvalidValue, match="serve with --solvers"):
        client(Relay(), token=TOKEN).predict(devices, drive, verify=1)
    cost = CurveCost(kind="curve", target=np.ones(41))
    question = Question(devices=devices, drive=drive, cost=cost, verify=1)
    with pytest.raises(InvalidValue, match="gradient cannot be verified"):
        check_verifiable("gradient", question, Twice())
    with pytest.raises(InvalidValue, match="this model has none"):
        client(Relay(), token=TOKEN).predict(devices, drive, bands="curve")
