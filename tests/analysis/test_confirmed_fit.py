import dataclasses

import numpy as np
import pytest

from memflux.analysis.confirmed_fit import APART, Confirmation, confirm
from memflux.analysis.inverse import fit_curve
from memflux.contracts import CurveCost
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=20)
CURVE = MODEL(*SPACE.build(np.full((1, 5), 0.5))).cycle(-1).current[0]


def double(devices, drive):
    traces = MODEL(devices, drive)
    return dataclasses.replace(traces, current=2.0 * traces.current)


def fitted(target=CURVE):
    cost = CurveCost(kind="log_curve", target=target)
    return fit_curve(MODEL, SPACE, cost, starts=16, iterations=10, polish=10), cost


def test_errors_between_target_and_both_predictors(tmp_path):
    fit, cost = fitted()
    checked = confirm(fit, SPACE, cost, MODEL, double, count=3)
    unit = SPACE.unit(checked.points)
    for k in range(len(unit)):
        for j in range(k):
            assert np.abs(unit[k] - unit[j]).max() > APART
    np.testing.assert_array_equal(checked.points[0], fit.points[0])
    assert checked.target_to_predicted[0] == pytest.approx(fit.nmae)
    share = 0.25 * np.abs(fit.prediction).mean() / np.abs(fit.prediction).max()  # of twice the curve, over its peak
    assert checked.predicted_to_exact[0] == pytest.approx(share)
    np.testing.assert_allclose(checked.exact[0], 2.0 * fit.prediction)
    checked.to_json(tmp_path / "c.json")
    assert Confirmation.from_json(tmp_path / "c.json").to_dict() == checked.to_dict()


def test_magnitudes_are_compared_with_magnitudes():
    fit, cost = fitted(np.abs(CURVE))
    assert confirm(fit, SPACE, cost, MODEL, MODEL, count=1).target_to_exact[0] < 0.05


def test_what_the_second_predictor_cannot_solve_is_counted():
    def broken(devices, drive):
        traces = MODEL(devices, drive)
        traces.status_class[:] = "diverged"
        return traces

    fit, cost = fitted()
    checked = confirm(fit, SPACE, cost, MODEL, broken, count=2)
    assert checked.failed == len(checked.costs)
    assert np.isnan(checked.predicted_to_exact).all()
    assert np.isfinite(checked.target_to_predicted).all()


def test_other_grids_are_refused():
    fit, cost = fitted()
    with pytest.raises(InvalidValue, match="with 21 and 41 samples a cycle"):
        confirm(fit, SPACE, cost, MODEL, StandIn(samples=40))
