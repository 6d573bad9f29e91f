import numpy as np
import pytest

from memflux.analysis.inverse import FitResult, fit_curve
from memflux.contracts import CurveCost
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=40)
TRUTH = np.array([[0.4, 0.6, 0.7, 0.3, 0.55]])


def truth_curve(space=SPACE, unit=TRUTH):
    return MODEL(*space.build(unit)).cycle(-1).current[0]


@pytest.mark.parametrize(("kind", "bound"), [("log_curve", 3e-4), ("curve", 1e-6)])
def test_a_device_is_recovered_from_its_own_curve(kind, bound):
    result = fit_curve(MODEL, SPACE, CurveCost(kind=kind, target=truth_curve()), starts=32, iterations=60, polish=60)
    assert result.cost < bound
    assert result.nmae < 1e-3
    true = dict(zip(SPACE.names, SPACE.values(TRUTH)[0], strict=True))
    assert result.parameters["mobility_vacancy"] == pytest.approx(true["mobility_vacancy"], rel=0.15)
    assert result.parameters["mobility_electron"] == pytest.approx(true["mobility_electron"], rel=0.3)
    assert result.calls == 120
    assert result.evaluations == 32 * 60 + 32 * 60 + 1
    assert (np.diff(result.costs) >= 0).all()
    np.testing.assert_allclose(result.prediction, result.target, atol=1e-2 * np.abs(result.target).max())


def test_noise_is_fitted_down_to_its_level(tmp_path):
    noisy = truth_curve() * (1 + 0.01 * np.random.default_rng(5).standard_normal(MODEL.samples + 1))
    cost = CurveCost(kind="log_curve", target=noisy)
    result = fit_curve(MODEL, SPACE, cost, starts=32, iterations=60, polish=60, seed=1)
    devices, drive = SPACE.build(TRUTH)
    assert result.cost < 1.05 * cost(MODEL(devices, drive).current, 2)[0]
    assert result.nmae < 0.004
    # The compact model trades the vacancy offset against the barriers, and the spread says so.
    width = dict(zip(result.names, result.high - result.low, strict=True))
    assert width["vacancy_offset"] > 0.05 * (0.32 - 0.28)
    assert result.alike > 1
    result.to_json(tmp_path / "fit.json")
    back = FitResult.from_json(tmp_path / "fit.json")
    assert back.to_dict() == result.to_dict()
    np.testing.assert_array_equal(back.points, result.points)


def test_magnitudes_are_enough_for_the_logarithmic_cost():
    target = np.abs(truth_curve())
    result = fit_curve(MODEL, SPACE, CurveCost(kind="log_curve", target=target), starts=16, iterations=40, polish=40)
    assert result.cost < 5e-3
    assert result.nmae is None  # amperes of one sign cannot be compared


def test_fixed_parameters_are_held_and_the_drive_can_be_one():
    space = Space.preset("9d")
    unit = np.full((1, 9), 0.5)
    fixed = dict(zip(space.names[:4], space.values(unit)[0, :4].tolist(), strict=True))
    target = CurveCost(kind="curve", target=truth_curve(space, unit))
    result = fit_curve(MODEL, space, target, starts=16, iterations=40, polish=40, fixed=fixed)
    assert result.fixed == ("period", "amplitude", "length", "donor_density")
    for name, value in fixed.items():
        assert result.parameters[name] == pytest.approx(value, rel=1e-12)
    assert result.cost < 1e-4


def test_seeds_repeat():
    cost = CurveCost(kind="curve", target=truth_curve())
    runs = [fit_curve(MODEL, SPACE, cost, starts=4, iterations=3, polish=2, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0].points, runs[1].points)
    assert not np.array_equal(runs[0].points, runs[2].points)


class Broken:
    """A compact model without an answer where the electron mobility is high."""

    parameters = MODEL.parameters

    def __init__(self, above):
        self.above = above

    def __call__(self, devices, drive):
        return MODEL(devices, drive)

    def value_and_gradient(self, devices, drive, cost):
        value, gradient = MODEL.value_and_gradient(devices, drive, cost)
        hole = devices.mobility_electron > self.above
        return np.where(hole, np.nan, value), np.where(hole[:, None], np.nan, gradient)


def test_missing_costs_do_not_poison_the_batch():
    cost = CurveCost(kind="curve", target=truth_curve())
    limit = float(SPACE.values(np.full((1, 5), 0.8))[0, 1])
    result = fit_curve(Broken(limit), SPACE, cost, starts=16, iterations=40, polish=30)
    assert np.isfinite(result.points).all()
    assert result.cost < 1e-5
    with pytest.raises(SolveFailed, match="none of 8 starts"):
        fit_curve(Broken(0.0), SPACE, cost, starts=8, iterations=5, polish=5)


def test_devices_that_the_rule_refuses_are_no_answer():
    space = Space.preset("16d")
    free = ("barrier_left", "barrier_right", "mobility_vacancy")
    model = StandIn(samples=40, parameters=free)
    base = space.values(space.coordinates(*space.sample(1, seed=0)))[0]
    fixed = {n: float(v) for n, v in zip(space.names, base, strict=True) if n not in free}
    target = MODEL(*space.sample(1, seed=0)).cycle(-1).current[0]
    result = fit_curve(model, space, CurveCost(kind="curve", target=target), 8, 10, 10, fixed=fixed)
    best = result.parameters
    assert max(best["barrier_left"], best["barrier_right"]) < best["band_gap"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"starts": 0}, "starts = 0"),
        ({"iterations": 0}, "iterations = 0"),
        ({"fixed": {"lenght": 1e-6}}, "'lenght' is not a parameter"),
        ({"fixed": {"vacancy_offset": 0.5}}, "vacancy_offset = 0.5 eV is out of range"),
        ({"space": Space.preset("9d")}, "no gradient for period, amplitude, length, donor_density"),
        ({"cost": CurveCost(kind="curve", target=np.ones(7))}, "7 samples"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    usual = {"space": SPACE, "cost": CurveCost(kind="curve", target=truth_curve()), "starts": 2, "iterations": 1}
    with pytest.raises(InvalidValue, match=words):
        fit_curve(MODEL, **(usual | changes))


def test_every_parameter_fixed_is_refused():
    fixed = dict(zip(SPACE.names, SPACE.values(TRUTH)[0].tolist(), strict=True))
    with pytest.raises(InvalidValue, match="every parameter is fixed"):
        fit_curve(MODEL, SPACE, CurveCost(kind="curve", target=truth_curve()), fixed=fixed)


def test_gradients_reach_the_cube_through_both_scales():
    """The chain rule, against differences of the cost along each axis of the unit cube."""
    from memflux.analysis.inverse import _Problem

    cost = CurveCost(kind="curve", target=truth_curve())
    problem = _Problem(MODEL, SPACE, cost, {}, 1, None)
    point = np.array([[0.3, 0.4, 0.5, 0.6, 0.7]])
    _, gradient = problem(point)
    for axis in range(5):
        step = np.zeros((1, 5))
        step[0, axis] = 1e-5
        difference = (problem(point + step)[0] - problem(point - step)[0]) / 2e-5
        assert gradient[0, axis] == pytest.approx(difference[0], rel=1e-3, abs=1e-9)


def test_progress_counts_calls():
    seen = []
    drive_cost = CurveCost(kind="curve", target=truth_curve())
    fit_curve(MODEL, SPACE, drive_cost, 2, 3, 2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 5) for k in range(1, 6)]
