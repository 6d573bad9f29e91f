import numpy as np
import pytest

from known_fronts import BOX, coordinates, first, zdt1
from memflux.analysis.confirmed_front import ConfirmedFront, confirm
from memflux.analysis.constraint import Constraint
from memflux.analysis.fronts import hypervolume
from memflux.analysis.pareto import pareto
from memflux.analysis.tradeoff import Variability
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.traces import Traces

GOALS = ((first, "min"), (zdt1, "min"))
QUANTITIES = [first, zdt1]


def shifted(by):
    """A predictor that sees every device `by` further along all axes."""

    def predict(devices, drive):
        traces = coordinates(devices, drive)
        return Traces.of(
            time=traces.time, voltage=traces.voltage, current=traces.current + by, period=np.array(2.0), cycles=2
        )

    return predict


@pytest.fixture(scope="module")
def front():
    return pareto(coordinates, BOX, GOALS, 24, 30)


def test_the_same_predictor_confirms_everything(front):
    check = confirm(front, coordinates, BOX, quantities=QUANTITIES)
    assert check.rows == tuple(range(len(front.objectives)))
    np.testing.assert_allclose(check.confirmed, front.objectives, rtol=1e-9)
    assert check.share == pytest.approx(1.0)
    assert check.hypervolume_predicted == pytest.approx(front.hypervolume)
    assert (check.undefined, check.infeasible) == (0, 0)


def test_a_worse_truth_has_less_volume_from_the_same_point(front):
    check = confirm(front, shifted(0.05), BOX, 8, QUANTITIES)
    assert len(check.rows) == 8
    assert {check.rows[0], check.rows[-1]} == {0, len(front.objectives) - 1}
    assert check.share < 0.9
    assert check.hypervolume_confirmed == pytest.approx(hypervolume(check.confirmed, front.reference))
    np.testing.assert_allclose(check.largest_difference, np.abs(check.confirmed - check.predicted).max(axis=0))
    assert ConfirmedFront.from_dict(check.to_dict()).to_dict() == check.to_dict()


def test_devices_that_fail_are_counted_and_add_nothing(front):
    def failing(devices, drive):
        traces = coordinates(devices, drive)
        current = np.where((traces.current[:, :1] > 0.3), np.nan, traces.current)
        return Traces.of(time=traces.time, voltage=traces.voltage, current=current, period=np.array(2.0), cycles=2)

    check = confirm(front, failing, BOX, quantities=QUANTITIES)
    lost = front.objectives[:, 0] > 0.3
    assert check.undefined == lost.sum()
    assert np.isnan(check.confirmed[lost]).all()
    assert check.share < 1.0
    nothing = confirm(front, shifted(np.nan), BOX, quantities=QUANTITIES)
    assert nothing.share == 0.0
    assert np.isnan(nothing.largest_difference).all()
    assert ConfirmedFront.from_dict(nothing.to_dict()).undefined == len(front.objectives)


def test_limits_are_checked_again():
    limits = [Constraint(quantity=zdt1, high=0.6)]
    front = pareto(coordinates, BOX, GOALS, 24, 30, constraints=limits)
    check = confirm(front, shifted(0.02), BOX, None, QUANTITIES, limits)
    assert check.infeasible > 0
    assert (check.confirmed[:, 1] > 0.6).sum() == check.infeasible
    with pytest.raises(InvalidValue, match="constraints = none is not that of the front"):
        confirm(front, coordinates, BOX, None, QUANTITIES)


def test_a_robust_front_is_confirmed_with_the_same_copies():
    scatter = Variability(spread={"barrier_left": 0.1}, devices=8)
    front = pareto(coordinates, BOX, GOALS, 16, 10, variability=scatter, seed=3)
    check = confirm(front, coordinates, BOX, 4, QUANTITIES)
    np.testing.assert_allclose(check.confirmed, check.predicted, rtol=1e-9)
    assert check.evaluations == 4 * 8


def test_registered_quantities_need_not_be_given_again():
    space = Space.preset("5d-parametric")
    model = StandIn(samples=40)
    front = pareto(model, space, population=12, generations=4)
    check = confirm(front, StandIn(samples=80), space, 5)
    assert check.quantities == ("symmetry", "on_off_ratio")
    assert check.share == pytest.approx(1.0, abs=0.05)
    with pytest.raises(InvalidValue, match="space = 9d is not that of the front"):
        confirm(front, model, Space.preset("9d"))
    with pytest.raises(InvalidValue, match="count = 0"):
        confirm(front, model, space, 0)
