"""Every predictor answers the same contract; the solver and the endpoint are asked in their own tests."""

import numpy as np
import pytest

from memflux.contracts import CurveCost, Differentiable, Predictor, finite_difference_gradient
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.solvers.solver import Solver
from memflux.space import Space
from memflux.stand_in import StandIn

PREDICTORS = {
    "compact": StandIn(samples=16),
    "solver": Solver(control="fast", engine="compiled", samples=16),
}


@pytest.fixture(params=PREDICTORS)
def predict(request):
    return PREDICTORS[request.param]


@pytest.mark.parametrize("name", ["5d-parametric", "9d"])
def test_answers_lie_on_the_common_grid_of_phase(predict, name):
    devices, drive = Space.preset(name).sample(2, seed=0)
    traces = predict(devices, drive)
    time, voltage = drive.grid(16)
    assert isinstance(predict, Predictor)
    assert traces.current.shape == (2, 33)
    np.testing.assert_allclose(traces.time, np.broadcast_to(time, (2, 33)))
    np.testing.assert_allclose(traces.voltage, np.broadcast_to(voltage, (2, 33)))
    assert np.isfinite(traces.current).all()
    assert traces.ok.all()


def test_answers_are_the_same_twice_and_in_any_company(predict):
    devices, drive = Space.preset("5d-parametric").sample(3, seed=1)
    np.testing.assert_array_equal(predict(devices, drive).current[1:], predict(devices[1:], drive).current)


def test_a_drive_of_another_size_is_refused(predict):
    devices, drive = Space.preset("9d").sample(3, seed=1)
    with pytest.raises(InvalidValue, match="drive has 3 entries for 2 devices"):
        predict(devices[:2], drive)


def test_gradients_follow_the_cost(predict):
    devices, drive = Space.preset("5d-parametric").sample(2, seed=2)
    target = predict(devices[1:], drive).cycle().current[0]
    cost = CurveCost(kind="curve", target=target)
    value, gradient = predict.value_and_gradient(devices[:1], drive, cost)
    assert isinstance(predict, Differentiable)
    assert gradient.shape == (1, len(predict.parameters))
    k = predict.parameters.index("barrier_left")
    moved = Devices.of(devices[0].replace(barrier_left=devices[0].barrier_left + 1e-4))
    after, _ = predict.value_and_gradient(moved, drive, cost)
    assert after[0] - value[0] == pytest.approx(1e-4 * gradient[0, k], rel=0.05, abs=1e-12)


def test_gradients_with_respect_to_the_drive():
    devices, drive = Space.preset("9d").sample(2, seed=2)
    model = StandIn(samples=16)
    cost = CurveCost(kind="curve", target=model(devices, drive).cycle().current[1])
    value, gradient = finite_difference_gradient(model, devices, drive, cost, ("amplitude", "period"))
    assert gradient.shape == (2, 2)
    assert gradient[0, 0] != 0.0
    assert value[1] == 0.0


def test_the_published_cost_by_hand():
    cost = CurveCost(kind="log_curve", target=np.array([1e-3, 1e-6, 0.0]), floor=1e-15)
    value = cost(np.array([[1e-3, 1e-5, 1.0]]), cycles=1)
    assert value[0] == pytest.approx(0.5 * (0.0 + 1.0 / 6.0), rel=1e-6)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: CurveCost(kind="exec", target=np.ones(3)),
            "kind = 'exec' is not known; choose one of log_curve, curve",
        ),
        (lambda: CurveCost(kind="curve", target=np.array([1.0, np.nan])), r"target\[1\] = nan A is not finite"),
        (lambda: CurveCost(kind="curve", target=np.zeros(3)), "target has no current above floor"),
        (lambda: CurveCost.from_dict({"kind": "curve"}), "the cost has no target"),
        (
            lambda: CurveCost.from_dict({"kind": "curve", "target": [1.0], "code": "x"}),
            "'code' is not a field of a cost",
        ),
        (lambda: CurveCost(kind="curve", target=np.ones(5))(np.ones((1, 33)), 2), "resample the target to 17"),
        (lambda: CurveCost(kind="curve", target=np.ones(5), cycle=7)(np.ones((1, 9)), 2), "cycle = 7 is out of range"),
        (lambda: CurveCost(kind="curve", target=np.ones(5), floor=-1.0), "floor = -1 A is out of range"),
    ],
)
def test_bad_costs_are_refused(build, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        build()


def test_costs_travel_as_data():
    cost = CurveCost(kind="curve", target=np.linspace(0, 1, 5), cycle=0)
    again = CurveCost.from_dict(cost.to_dict())
    np.testing.assert_array_equal(again.target, cost.target)
    assert (again.kind, again.cycle, again.floor) == (cost.kind, cost.cycle, cost.floor)


def test_a_current_of_one_ampere_costs_something_finite():
    cost = CurveCost(kind="log_curve", target=np.array([1.0, 1e-3]))
    assert np.isfinite(cost(np.array([[0.5, 1e-3]]), cycles=1)).all()


def test_gradients_with_respect_to_a_vacancy_density():
    devices, drive = Space.preset("5d-parametric").sample(2, seed=1)
    cost = CurveCost(kind="curve", target=StandIn(samples=16)(devices, drive).current[0, -17:])
    given = devices.replace(mean_vacancy_density=2e24)
    _, gradient = finite_difference_gradient(PREDICTORS["compact"], given, drive, cost, ("mean_vacancy_density",))
    assert np.isfinite(gradient).all()
    assert (gradient != 0.0).all()
    with pytest.raises(InvalidValue, match="mean_vacancy_density is not given for every device"):
        finite_difference_gradient(PREDICTORS["compact"], devices, drive, cost, ("mean_vacancy_density",))
