import numpy as np
import pytest

from memflux.analysis.pareto import ParetoResult, pareto
from memflux.compact import CompactModel
from memflux.device import Device
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Parameter, Space
from memflux.traces import Traces

MODEL = CompactModel(samples=40)
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": (("symmetry", "min"),)}, "two or more"),
        ({"objectives": (("symmetry", "least"), ("on_off_ratio", "max"))}, "sense of symmetry"),
        ({"objectives": (("symmetri", "min"), ("on_off_ratio", "max"))}, "symmetri"),
        ({"population": 2}, "population = 2"),
        ({"generations": 0}, "generations = 0"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    with pytest.raises(InvalidValue, match=words):
        pareto(coordinates, PLANE, **changes)
