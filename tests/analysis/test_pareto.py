import numpy as np
import pytest

import known_fronts as known
from memflux.analysis.constraint import Constraint
from memflux.analysis.fronts import hypervolume
from memflux.analysis.nsga import directions
from memflux.analysis.pareto import ParetoResult, pareto
from memflux.analysis.tradeoff import Variability
from memflux.device import Device
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Parameter, Space
from memflux.stand_in import StandIn
from memflux.traces import Traces

MODEL = StandIn(samples=40)
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


def near(traces):
    """x^2 + y."""
    return traces.current[:, 0] ** 2 + traces.current[:, 1]


def far(traces):
    """-((x - 1)^2 + y): with `near` the front is y = 0."""
    return -((traces.current[:, 0] - 1.0) ** 2 + traces.current[:, 1])


def test_the_front_of_an_analytic_problem_is_found():
    result = pareto(coordinates, PLANE, ((near, "min"), (far, "max")), population=40, generations=40)
    x = result.parameters[:, 0] - 1.0
    assert (result.parameters[:, 1] < 0.02).all()
    assert x.min() < 0.05
    assert x.max() > 0.95
    np.testing.assert_allclose(result.objectives[:, 0], x**2, atol=0.02)
    np.testing.assert_allclose(result.objectives[:, 1], -((x - 1) ** 2), atol=0.02)
    assert (np.diff(result.objectives[:, 0]) >= 0).all()  # sorted
    assert (np.diff(result.objectives[:, 1]) >= 0).all()  # a trade-off
    assert 40 * 38 <= result.evaluations <= 40 * 40
    assert result.undefined == result.refused == 0


def test_devices_without_a_value_never_win():
    def holed(traces):
        return np.where(traces.current[:, 0] > 0.5, np.nan, near(traces))

    result = pareto(coordinates, PLANE, ((holed, "min"), (far, "max")), population=20, generations=10)
    assert result.undefined > 0
    assert len(result.objectives) > 5
    assert np.isfinite(result.objectives).all()
    assert (result.parameters[:, 0] <= 1.5).all()


def test_no_value_anywhere_is_an_error():
    with pytest.raises(SolveFailed, match="none of 40 devices"):
        pareto(coordinates, PLANE, ((near, "min"), (lambda t: np.full(len(t), np.nan), "max")), 20, 2)


def test_compact_model_seeds_and_file(tmp_path):
    space = Space.preset("5d-parametric")
    results = [pareto(MODEL, space, population=16, generations=5, seed=s) for s in (0, 0, 1)]
    assert results[0].to_dict() == results[1].to_dict()
    assert results[0].to_dict() != results[2].to_dict()
    assert results[0].quantities == ("symmetry", "on_off_ratio")
    low, high = (np.array([getattr(p, end) for p in space.parameters]) for end in ("low", "high"))
    assert (results[0].parameters >= low * (1 - 1e-12)).all()
    assert (results[0].parameters <= high * (1 + 1e-12)).all()
    results[0].to_json(tmp_path / "front.json")
    assert ParetoResult.from_json(tmp_path / "front.json").to_dict() == results[0].to_dict()


def test_what_the_rule_refuses_is_not_evaluated():
    space = Space.preset("16d")

    def checked(devices, drive):
        assert (np.maximum(devices.barrier_left, devices.barrier_right) < devices.band_gap).all()
        return coordinates_of_any(devices)

    def coordinates_of_any(devices):
        current = np.stack([devices.barrier_left, devices.band_gap, *[devices.length] * 3], axis=1)
        return Traces.of(time=np.arange(5.0), voltage=np.zeros(5), current=current, period=np.array(2.0), cycles=2)

    objectives = ((lambda t: t.current[:, 0], "max"), (lambda t: t.current[:, 1], "min"))
    result = pareto(checked, space, objectives, population=20, generations=10)
    assert result.refused > 0
    assert result.evaluations + result.refused <= 200
    assert (result.objectives[:, 0] < result.objectives[:, 1]).all()


def true_hypervolume(front):
    """Of a front of ZDT, from (1.1, 1.1)."""
    x = np.linspace(0.0, 1.0, 20_001)
    return hypervolume(np.stack([x, front(x)], axis=1), np.array([1.1, 1.1]))


@pytest.mark.parametrize("method", ["nsga2", "nsga3"])
@pytest.mark.parametrize(
    ("quantity", "front"),
    [(known.zdt1, known.zdt1_front), (known.zdt2, known.zdt2_front), (known.zdt3, known.zdt3_front)],
)
def test_fronts_and_hypervolumes_of_zdt(method, quantity, front):
    goals = ((known.first, "min"), (quantity, "min"))
    result = pareto(known.coordinates, known.BOX, goals, 60, 80, method=method, reference=(1.1, 1.1))
    x, y = result.objectives.T
    assert np.median(y - front(x)) < 0.01
    missing = true_hypervolume(front) - result.hypervolume
    assert 0 < missing < 0.02  # the stairs of 60 points lose half a step, 0.008, of any front
    assert result.history[-1] == pytest.approx(result.hypervolume)
    assert result.history[-1] > 1.5 * result.history[0]
    assert len(result.history) == result.generations == 80


@pytest.mark.parametrize(("method", "least"), [("nsga2", 0.92), ("nsga3", 0.98)])
def test_front_and_hypervolume_of_dtlz2(method, least):
    goals = ((known.dtlz2_a, "min"), (known.dtlz2_b, "min"), (known.dtlz2_c, "min"))
    result = pareto(known.coordinates, known.BOX, goals, 92, 60, method=method, reference=(1.1, 1.1, 1.1))
    np.testing.assert_allclose(np.linalg.norm(result.objectives, axis=1), 1.0, atol=0.05)
    even = directions(3, 92)
    best = hypervolume(even / np.linalg.norm(even, axis=1)[:, None], np.full(3, 1.1))  # points where they belong
    assert best < 1.331 - np.pi / 6  # that of the whole eighth of the sphere
    assert result.hypervolume > least * best
    assert result.knee is None  # it bulges


def test_what_is_maximised_is_measured_in_its_own_sense():
    negative = lambda t: -known.zdt1(t)  # noqa: E731
    goals = ((known.first, "min"), (negative, "max"))
    result = pareto(known.coordinates, known.BOX, goals, 40, 40, reference=(1.1, -1.1))
    plain = pareto(
        known.coordinates, known.BOX, ((known.first, "min"), (known.zdt1, "min")), 40, 40, reference=(1.1, 1.1)
    )
    assert result.hypervolume == plain.hypervolume
    np.testing.assert_array_equal(result.reference, [1.1, -1.1])
    assert result.select(weights=(1.0, 9.0)) == plain.select(weights=(1.0, 9.0))
    assert result.select(targets=(0.25, -0.5)) == plain.select(targets=(0.25, 0.5))
    assert result.objectives[result.select(targets=(0.25, -0.5)), 0] == pytest.approx(0.25, abs=0.05)
    assert result.objectives[result.knee, 0] == pytest.approx(0.25, abs=0.06)


def test_limits_are_kept_by_the_whole_front():
    goals = ((known.first, "min"), (known.zdt1, "min"))
    limits = [Constraint(quantity=known.first, low=0.2), Constraint(quantity=known.zdt1, high=0.4)]
    result = pareto(known.coordinates, known.BOX, goals, 40, 40, constraints=limits)
    x, y = result.objectives.T
    assert x.min() >= 0.36 - 1e-3  # where the front is at 0.4
    assert y.max() <= 0.4
    assert result.constraints == ("0.2 <= first", "zdt1 <= 0.4")
    assert result.infeasible > 0


def test_a_search_that_gains_nothing_more_stops():
    goals = ((known.first, "min"), (known.zdt1, "min"))
    early = pareto(known.coordinates, known.BOX, goals, 40, 200, tolerance=0.02)
    assert 21 <= early.generations < 120
    assert early.hypervolume > 0.9 * true_hypervolume(known.zdt1_front)
    constant = pareto(coordinates, PLANE, ((lambda t: np.ones(len(t)), "min"),) * 2, 20, 60, tolerance=0.0)
    assert constant.generations == 21


def test_constant_objectives_have_a_front_of_equals():
    result = pareto(coordinates, PLANE, ((near, "min"), (lambda t: np.full(len(t), 3.0), "max")), 20, 20)
    assert (result.objectives[:, 1] == 3.0).all()
    assert result.objectives[:, 0].max() < 0.05
    assert result.knee is None
    assert np.isfinite(result.reference).all()
    assert result.hypervolume > 0


@pytest.mark.parametrize("method", ["nsga2", "nsga3"])
def test_one_device_with_a_value_is_the_front(method):
    start = pareto(coordinates, PLANE, ((near, "min"), (far, "max")), 20, 1, method=method)
    only = start.objectives[3, 0]

    def single(traces):
        return np.where(near(traces) == only, only, np.nan)

    result = pareto(coordinates, PLANE, ((single, "min"), (far, "max")), 20, 5, method=method)
    assert len(result.objectives) == 1
    assert result.objectives[0, 0] == only
    assert result.undefined == result.evaluations - 1
    assert np.isfinite(result.history).all()


def test_a_robust_front_keeps_away_from_a_cliff():
    """What is best lies at the edge of a cliff, over which a device as it is made may fall."""

    def steep(traces):
        y = traces.current[:, 1]
        return np.where(y > 0.8, 10.0, 1.0 - y)

    goals = ((steep, "min"), (lambda t: t.current[:, 0], "min"))
    scatter = Variability(spread={"barrier_left": 0.1}, devices=32, statistic="quantile", quantile=0.9)
    sharp = pareto(coordinates, PLANE, goals, 20, 20)
    robust = pareto(coordinates, PLANE, goals, 20, 20, variability=scatter)
    assert sharp.parameters[0, 1] > 0.77
    assert robust.parameters[0, 1] == pytest.approx(0.8 * np.exp(-0.128), abs=0.03)  # 90 % stay below the cliff
    assert robust.evaluations == 32 * (robust.undefined + 20 * 20)
    assert robust.variability["spread"] == {"barrier_left": 0.1}
    again = ParetoResult.from_dict(robust.to_dict())
    assert again.to_dict() == robust.to_dict()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": (("symmetry", "min"),)}, "two or more"),
        ({"objectives": (("symmetry", "least"), ("on_off_ratio", "max"))}, "sense of symmetry"),
        ({"objectives": (("symmetri", "min"), ("on_off_ratio", "max"))}, "symmetri"),
        ({"population": 2}, "population = 2"),
        ({"generations": 0}, "generations = 0"),
        ({"method": "nsga4"}, "method = 'nsga4'"),
        ({"tolerance": -1.0}, "tolerance = -1"),
        ({"reference": (1.0,)}, "reference has 1 numbers and there are 2 objectives"),
        ({"reference": (1.0, float("nan"))}, "not finite"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    with pytest.raises(InvalidValue, match=words):
        pareto(coordinates, PLANE, **changes)


@pytest.mark.parametrize(
    ("preference", "words"),
    [
        ({"weights": (1.0,)}, "weights has 1 numbers"),
        ({"weights": (0.0, 0.0)}, "all 0"),
        ({"weights": (-1.0, 1.0)}, r"weights\[0\] = -1"),
        ({"targets": (1.0, 2.0, 3.0)}, "targets has 3"),
    ],
)
def test_a_preference_has_a_number_an_objective(preference, words):
    result = pareto(coordinates, PLANE, ((near, "min"), (far, "max")), 8, 2)
    with pytest.raises(InvalidValue, match=words):
        result.select(**preference)
