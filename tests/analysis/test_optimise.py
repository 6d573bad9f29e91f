import numpy as np
import pytest

from memflux.analysis.constraint import Constraint
from memflux.analysis.optimise import OptimiseResult, Target, optimise
from memflux.analysis.points import spread
from memflux.analysis.quantities import at_points
from memflux.device import Device
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Parameter, Space
from memflux.stand_in import StandIn
from memflux.traces import Traces

MODEL = StandIn(samples=40)
PUBLISHED = Space.preset("5d-parametric")
PLANE = Space(
    name="plane",
    parameters=(
        Parameter(name="band_gap", low=1.0, high=2.0),
        Parameter(name="barrier_left", low=0.0, high=1.0),
    ),
    device=Device(),
)


def coordinates(devices, drive):
    """Curves that are the two coordinates x, y of the device."""
    unit = PLANE.coordinates(devices, drive)
    current = np.concatenate([unit, np.zeros((len(unit), 3))], axis=1)
    return Traces.of(time=np.arange(5.0), voltage=np.zeros(5), current=current, period=np.array(2.0), cycles=2)


def x(traces):
    return traces.current[:, 0]


def y(traces):
    return traces.current[:, 1]


def both(traces):
    return x(traces) + y(traces)


X, Y = Target(quantity=x, value=0.25), Target(quantity=y, value=0.5)


def test_targets_that_can_be_met_are_met():
    result = optimise(coordinates, PLANE, (X, Y), population=20, generations=40)
    assert result.cost < 1e-8
    np.testing.assert_allclose([result.parameters[n] for n in PLANE.names], [1.25, 0.5], atol=1e-3)
    np.testing.assert_allclose(result.values, [0.25, 0.5], atol=1e-3)
    assert result.evaluations == 20 * 41 + 1
    assert result.history.size == 41
    assert (np.diff(result.history) <= 0).all()
    assert result.history[-1] == result.cost
    assert result.undefined == result.refused == 0


def test_scale_and_weight_decide_between_targets_that_exclude_each_other():
    """x towards 1, x towards 0: the minimum of w1 (x - 1)^2 / s1^2 + w2 x^2 / s2^2 is known."""

    def also_x(traces):
        return x(traces)

    targets = (Target(quantity=x, value=1.0, weight=3.0), Target(quantity=also_x, value=0.0, scale=2.0, weight=2.0))
    result = optimise(coordinates, PLANE, targets, population=20, generations=40)
    a, b = 3.0, 2.0 / 2.0**2
    assert result.values[0] == pytest.approx(a / (a + b), abs=1e-3)
    assert result.cost == pytest.approx(a * b / (a + b), rel=1e-4)


def test_constraints_are_kept_and_the_optimum_slides_along_them():
    result = optimise(
        coordinates, PLANE, (X, Y), (Constraint(quantity=both, low=1.0, high=1.2), Constraint(quantity=x, high=0.4)),
        population=20, generations=60,
    )  # fmt: skip
    assert result.quantities == ("x", "y", "both", "x")
    np.testing.assert_allclose(result.values, [0.375, 0.625, 1.0, 0.375], atol=2e-3)
    assert result.values[2] >= 1.0
    np.testing.assert_array_equal(result.low, [np.nan, np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(result.high, [np.nan, np.nan, 1.2, 0.4])
    assert np.isnan(result.targets[2:]).all()


def test_a_bound_of_zero_and_bounds_of_other_units_are_kept():
    def scaled(traces):
        return 1e9 * (x(traces) - 0.5)

    limits = (Constraint(quantity=scaled, low=0.0), Constraint(quantity=y, low=0.9))
    result = optimise(coordinates, PLANE, (X,), limits, population=20, generations=60)
    assert result.values[0] == pytest.approx(0.5, abs=1e-4)
    assert result.values[2] >= 0.9


def test_devices_without_a_value_are_counted_and_never_win():
    def holed(traces):
        return np.where(x(traces) < 0.4, np.nan, y(traces))

    result = optimise(coordinates, PLANE, (X, Target(quantity=holed, value=0.5)), population=20, generations=60)
    assert result.undefined > 0
    assert result.values[0] == pytest.approx(0.4, abs=1e-3)
    assert np.isfinite(result.values).all()


def test_no_device_is_a_sentence_that_says_how_near_one_came():
    with pytest.raises(SolveFailed, match=r"keeps all constraints, the nearest has both = 2"):
        optimise(coordinates, PLANE, (X,), (Constraint(quantity=both, low=3.0),), population=20, generations=40)
    missing = Target(quantity=lambda t: np.full(len(t), np.nan), value=0.0)
    with pytest.raises(SolveFailed, match="none of 60 devices has a value"):
        optimise(coordinates, PLANE, (missing,), population=20, generations=2)


def test_fixed_parameters_stay():
    result = optimise(coordinates, PLANE, (X, Y), fixed={"barrier_left": 0.9}, population=20, generations=30)
    assert result.fixed == ("barrier_left",)
    assert result.parameters["barrier_left"] == 0.9
    assert result.parameters["band_gap"] == pytest.approx(1.25, abs=1e-3)
    assert result.cost == pytest.approx(0.4**2)


def test_what_the_rule_refuses_is_not_evaluated():
    space = Space.preset("16d")

    def checked(devices, drive):
        assert (np.maximum(devices.barrier_left, devices.barrier_right) < devices.band_gap).all()
        current = np.stack([devices.barrier_left, devices.band_gap, *[devices.length] * 3], axis=1)
        return Traces.of(time=np.arange(5.0), voltage=np.zeros(5), current=current, period=np.array(2.0), cycles=2)

    targets = (Target(quantity=x, value=2.0), Target(quantity=y, value=0.5))  # a barrier above the gap
    result = optimise(checked, space, targets, population=40, generations=40)
    assert result.refused > 0
    assert result.evaluations + result.refused == 40 * 41 + 1
    assert result.parameters["barrier_left"] < result.parameters["band_gap"]
    assert result.cost == pytest.approx(2 * 0.75**2, rel=0.02)


def test_the_published_cost_of_a_compact_model_is_below_the_best_of_many(tmp_path):
    results = [optimise(MODEL, PUBLISHED, seed=s) for s in (0, 0, 1)]
    values = at_points(MODEL, PUBLISHED, spread(PUBLISHED, 8192, 5), ["symmetry", "on_off_ratio"])
    best = ((values - [0.0, 1.0]) ** 2).sum(axis=1).min()
    assert all(r.cost <= best for r in results)
    assert results[2].cost == pytest.approx(results[0].cost, abs=1e-3)
    assert results[0].to_dict() == results[1].to_dict()
    assert results[0].to_dict() != results[2].to_dict()
    results[0].to_json(tmp_path / "o.json")
    assert OptimiseResult.from_json(tmp_path / "o.json").to_dict() == results[0].to_dict()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": ()}, "no target"),
        ({"population": 2}, "population = 2"),
        ({"generations": 0}, "generations = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"fixed": {"lenght": 1.0}}, "'lenght' is not a parameter of the space"),
        ({"fixed": {"band_gap": 3.0}}, "band_gap = 3 eV is out of range"),
        ({"fixed": {"band_gap": 1.5, "barrier_left": 0.5}}, "every parameter is fixed"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    with pytest.raises(InvalidValue, match=words):
        optimise(coordinates, PLANE, **({"targets": (X,)} | changes))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Target(quantity="symetry", value=0.0), "Did you mean 'symmetry'"),
        (lambda: Target(quantity="symmetry", value=float("nan")), "target of symmetry"),
        (lambda: Target(quantity="symmetry", value=0.0, scale=0.0), "scale of symmetry"),
        (lambda: Target(quantity="symmetry", value=0.0, weight=-1.0), "weight of symmetry"),
        (lambda: Constraint(quantity="symmetry"), "has no limit"),
        (lambda: Constraint(quantity="symmetry", low=0.5, high=0.4), "is above high"),
        (lambda: Constraint(quantity="symmetry", low=float("nan")), "is not finite"),
    ],
)
def test_bad_wishes_are_one_sentence(make, words):
    with pytest.raises(InvalidValue, match=words):
        make()
