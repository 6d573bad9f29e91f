import numpy as np
import pytest

from memflux.analysis import quantities
from memflux.analysis.maps import STATISTICS, MapResult, metric_map
from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.space import Parameter, Space
from memflux.stand_in import StandIn
from memflux.traces import Traces
from unit_cube import coordinates_in

MODEL = StandIn(samples=40)
PUBLISHED = Space.preset("5d-parametric")
CUBE = Space(
    name="cube",
    parameters=(
        Parameter(name="mobility_electron", low=1e-4, high=1e-2, log=True),
        Parameter(name="band_gap", low=1.0, high=2.0),
        Parameter(name="barrier_left", low=0.0, high=1.0),
    ),
    device=Device(),
)
coordinates = coordinates_in(CUBE)


def digits(traces):
    """100 x + 10 y + z."""
    return traces.current[:, :3] @ np.array([100.0, 10.0, 1.0])


def test_values_stand_at_their_parameters_whatever_the_order_of_the_axes():
    result = metric_map(
        coordinates, CUBE, [digits], axes=("barrier_left", "mobility_electron", "band_gap"), points=(2, 3, 5)
    )
    z, x, y = np.meshgrid(np.linspace(0, 1, 2), np.linspace(0, 1, 3), np.linspace(0, 1, 5), indexing="ij")
    np.testing.assert_allclose(result.values[0], 100 * x + 10 * y + z, atol=1e-9)
    np.testing.assert_allclose(result.x, [0.0, 1.0])
    np.testing.assert_allclose(result.y, [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(result.z, np.linspace(1, 2, 5))
    assert result.log == (False, True, False)
    assert result.units == ("eV", "m^2/(V s)", "eV")
    assert result.held == {}
    assert result.evaluations == 30
    assert (result.defined == 1).all()


def test_other_parameters_are_held_at_their_middle_or_where_they_are_put():
    middle = metric_map(coordinates, CUBE, [digits], axes=("band_gap", "barrier_left"), points=2)
    np.testing.assert_allclose(middle.values[0], [[50, 51], [60, 61]])
    assert middle.held == pytest.approx({"mobility_electron": 1e-3})
    put = metric_map(
        coordinates, CUBE, [digits], axes=("band_gap", "barrier_left"), points=2, fixed={"mobility_electron": 1e-2}
    )
    np.testing.assert_allclose(put.values[0], [[100, 101], [110, 111]])
    assert put.z is None
    assert put.draws == 1


@pytest.mark.parametrize(
    ("statistic", "expected", "tolerance"),
    [("mean", 50, 0.2), ("median", 50, 0.5), ("deviation", 100 / 12**0.5, 0.2), ("minimum", 0, 1), ("maximum", 100, 1)],
)
def test_statistics_over_the_others_are_those_of_a_uniform_parameter(statistic, expected, tolerance):
    result = metric_map(
        coordinates, CUBE, [digits], axes=("band_gap", "barrier_left"), points=2, statistic=statistic, draws=256
    )
    offset = 0.0 if statistic == "deviation" else np.array([[0, 1], [10, 11]])
    np.testing.assert_allclose(result.values[0], expected + offset, atol=tolerance)
    assert result.evaluations == 4 * 256
    assert result.held == {}


def test_nodes_share_their_draws_and_parts_are_bounded(monkeypatch):
    whole = metric_map(coordinates, CUBE, [digits], axes=("band_gap", "barrier_left"), points=6, statistic="mean")
    np.testing.assert_allclose(np.diff(whole.values[0], axis=1), 0.2)  # no noise between nodes
    monkeypatch.setattr(quantities, "POINTS_AT_ONCE", 200)
    seen, ticks = [], []

    def watched(devices, drive):
        seen.append(len(devices))
        return coordinates(devices, drive)

    again = metric_map(
        watched, CUBE, [digits], axes=("band_gap", "barrier_left"), points=6, statistic="mean",
        progress=lambda done, total: ticks.append((done, total)),
    )  # fmt: skip
    assert max(seen) <= 200
    assert ticks[-1] == (36, 36)
    np.testing.assert_array_equal(again.values, whole.values)


def test_undefined_values_are_counted():
    def holed(traces):
        return np.where(traces.current[:, 1] > 0.7, np.nan, digits(traces))

    def half(traces):
        return np.where(traces.current[:, 0] > 0.5, np.nan, digits(traces))

    result = metric_map(coordinates, CUBE, [holed, digits], axes=("band_gap", "barrier_left"), points=(5, 3))
    np.testing.assert_array_equal(np.isnan(result.values[0]).all(axis=1), [False, False, False, True, True])
    assert result.undefined == (6, 0)
    for statistic in STATISTICS:
        part = metric_map(
            coordinates, CUBE, [half, holed], axes=("band_gap", "barrier_left"), points=(5, 3), statistic=statistic
        )
        assert np.isfinite(part.values[0]).all()
        assert np.isnan(part.values[1, 3:]).all()
        assert (part.defined[0] == 32).all()
        assert part.undefined == (15 * 32, 6 * 64)


def test_what_the_rule_refuses_is_not_evaluated():
    space = Space.preset("16d")

    def checked(devices, drive):
        assert (devices.barrier_left < devices.band_gap).all()
        current = np.stack([devices.barrier_left, devices.band_gap, *[devices.length] * 3], axis=1)
        return Traces.of(time=np.arange(5.0), voltage=np.zeros(5), current=current, period=np.array(2.0), cycles=2)

    fixed = {"vacancy_offset": 0.1, "barrier_right": 0.1}
    result = metric_map(
        checked, space, [lambda t: t.current[:, 0]], axes=("barrier_left", "band_gap"), points=8, fixed=fixed
    )
    left, gap = np.meshgrid(result.x, result.y, indexing="ij")
    np.testing.assert_array_equal(np.isnan(result.values[0]), left >= gap)
    assert result.refused == int((left >= gap).sum()) == 64 - result.evaluations
    assert result.undefined == (0,)


def test_the_published_map_of_a_compact_model(tmp_path):
    result = metric_map(MODEL, PUBLISHED, points=(9, 9, 3))
    assert result.axes == ("barrier_left", "barrier_right", "mobility_vacancy")
    assert result.values.shape == (2, 9, 9, 3)
    assert set(result.held) == {"vacancy_offset", "mobility_electron"}
    slow = result.values[0, :, :, 0]
    assert np.diag(slow).min() > slow[0, -1]  # equal barriers make symmetric curves
    result.to_json(tmp_path / "m.json")
    back = MapResult.from_json(tmp_path / "m.json")
    assert back.to_dict() == result.to_dict()
    np.testing.assert_array_equal(back.values, result.values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": ("band_gap",)}, "not two or three different"),
        ({"axes": ("band_gap", "band_gap")}, "not two or three different"),
        ({"axes": ("band_gap", "lenght")}, "'lenght' is not a parameter of the space"),
        ({"points": 1}, "points of band_gap = 1"),
        ({"points": (4, 4, 4)}, "not one number an axis; give 2"),
        ({"points": 5000}, "give at most"),
        ({"quantities": "symmetry"}, "not a list"),
        ({"quantities": ()}, "not a list"),
        ({"fixed": {"band_gap": 1.5}}, "band_gap is an axis and has a fixed value"),
        ({"fixed": {"mobility_electron": 1.0}}, "mobility_electron = 1 "),
        ({"statistic": "mode"}, "statistic = 'mode'"),
        ({"statistic": "mean", "draws": 0}, "draws = 0"),
        ({"statistic": "mean", "fixed": {"mobility_electron": 1e-3}}, "no parameter is left"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    usual = {"quantities": [digits], "axes": ("band_gap", "barrier_left"), "points": 3}
    with pytest.raises(InvalidValue, match=words):
        metric_map(coordinates, CUBE, **(usual | changes))
