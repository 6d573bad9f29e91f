import dataclasses
import json

import numpy as np
import pytest

from memflux.analysis.sensitivity import SobolResult, sobol
from memflux.device import Device
from memflux.errors import DataError, InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from unit_cube import CUBE, coordinates

MODEL = StandIn(samples=40)
SPACE = Space.preset("5d-parametric")


def ishigami(traces):
    """Ishigami and Homma (1990), a = 7, b = 0.1, on (-pi, pi)^3; its indices are known."""
    x = np.pi * (2.0 * traces.current[:, :3] - 1.0)
    return np.sin(x[:, 0]) + 7.0 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def sobol_g(traces):
    """Sobol's G function with a = (0, 1, 4.5); its indices are known."""
    return np.prod([(np.abs(4 * traces.current[:, i] - 2) + a) / (1 + a) for i, a in enumerate(G)], axis=0)


G = (0.0, 1.0, 4.5)


def first_coordinate(traces):
    return traces.current[:, 0]


def test_ishigami_indices_are_the_analytic_ones():
    result = sobol(coordinates, CUBE, [ishigami], base_samples=4096, second_order=True)
    np.testing.assert_allclose(result.first[0], [0.3139, 0.4424, 0.0], atol=0.02)
    np.testing.assert_allclose(result.total[0], [0.5576, 0.4424, 0.2437], atol=0.02)
    assert result.second[0, 0, 2] == pytest.approx(0.2437, abs=0.03)
    assert result.second[0, 0, 1] == pytest.approx(0.0, abs=0.03)
    assert np.isnan(result.second[0, 1, 0])
    assert result.variance[0] == pytest.approx(13.845, rel=0.02)
    assert result.mean[0] == pytest.approx(3.5, abs=0.05)
    assert (result.total_interval[0] > 0).all()
    assert result.quantities == ("ishigami",)
    assert result.evaluations == 4096 * 8
    assert result.dropped == (0,)
    assert result.notes == ()


def test_sobol_g_indices_are_the_analytic_ones():
    result = sobol(coordinates, CUBE, [sobol_g], base_samples=4096, second_order=True)
    part = 1 / (3 * (1 + np.array(G)) ** 2)
    variance = np.prod(1 + part) - 1
    j, k = np.triu_indices(3, 1)
    np.testing.assert_allclose(result.first[0], part / variance, atol=0.02)
    np.testing.assert_allclose(result.total[0], part / (1 + part) * (1 + variance) / variance, atol=0.02)
    np.testing.assert_allclose(result.second[0][j, k], part[j] * part[k] / variance, atol=0.03)
    off = np.abs(result.second[0][j, k] - part[j] * part[k] / variance)
    assert (off < 2 * result.second_interval[0][j, k]).all()
    assert result.variance[0] == pytest.approx(variance, rel=0.02)


def test_a_grown_sample_is_the_one_asked_for_at_once():
    asked = []

    def counted(devices, drive):
        asked.append(len(devices))
        return coordinates(devices, drive)

    steps = []
    grown = sobol(
        counted, CUBE, [ishigami], base_samples=64, second_order=True, tolerance=0.1, largest=16384,
        progress=lambda done, of: steps.append((done, of)),
    )  # fmt: skip
    at_once = sobol(coordinates, CUBE, [ishigami], base_samples=grown.base_samples, second_order=True)
    assert 64 < grown.base_samples < 16384
    assert grown.to_dict() == at_once.to_dict()
    assert sum(asked) == grown.evaluations == grown.base_samples * 8  # nothing twice
    assert steps[0] == (64 * 8, 64 * 8)
    assert steps[-1] == (grown.evaluations, grown.evaluations)
    widest = max(np.nanmax(i) for i in (grown.first_interval, grown.total_interval, grown.second_interval))
    assert widest <= 0.1
    half = sobol(coordinates, CUBE, [ishigami], base_samples=grown.base_samples // 2, second_order=True)
    assert max(np.nanmax(i) for i in (half.first_interval, half.total_interval, half.second_interval)) > 0.1


def test_a_tolerance_out_of_reach_is_said():
    flat = lambda t: np.full(len(t), 0.3)  # noqa: E731
    result = sobol(
        coordinates, CUBE, [ishigami, first_coordinate, flat], base_samples=64, tolerance=0.05, largest=200, seed=1
    )
    assert result.base_samples == 128
    about = [n for n in result.notes if "tolerance" in n]
    assert "ishigami: the interval of the" in about[0]
    assert "with 128 base samples, above tolerance = 0.05" in about[0]
    assert not any("lambda" in n for n in about)


def test_one_failed_row_in_many_spoils_nothing():
    def failed(devices, drive):
        traces = coordinates(devices, drive)
        status = traces.status_class.copy()
        status[17] = "diverged"
        return dataclasses.replace(traces, status_class=status)

    result = sobol(failed, CUBE, [ishigami], base_samples=1024, second_order=True)
    whole = sobol(coordinates, CUBE, [ishigami], base_samples=1024, second_order=True)
    assert result.dropped == (1,)
    assert "1 of 1024 rows of the design are left out" in result.notes[0]
    np.testing.assert_allclose(result.total, whole.total, atol=0.01)
    np.testing.assert_allclose(result.second, whole.second, atol=0.01)


def test_one_other_value_among_constants_is_no_index():
    result = sobol(coordinates, CUBE, [lambda t: (t.current[:, 0] > 0.9999) * 1.0], base_samples=16)
    assert not np.isinf(result.total).any()
    assert (result.total[np.isfinite(result.total)] <= 1.0).all()


class Wrong:
    """A predictor of `coordinates` that knows by how much it errs: 0.1 x2 in `first_coordinate`."""

    space = CUBE

    def __call__(self, devices, drive):
        traces = coordinates(devices, drive)
        current = traces.current.copy()
        current[:, 0] += 0.1 * current[:, 1]
        return dataclasses.replace(traces, current=current)

    def quantity_errors(self, quantities):
        assert quantities == (first_coordinate, ishigami)
        errors = 0.1 * np.random.default_rng(0).random((500, 1)) + np.array([[0.0, np.nan]])
        errors[3] = np.nan  # a held-out device without the quantity
        return errors


def test_the_error_of_the_predictor_is_in_its_intervals():
    result = sobol(Wrong(), CUBE, [first_coordinate, ishigami], base_samples=1024, second_order=True)
    assert result.quantity_error[0] == pytest.approx(0.1 / np.sqrt(12), rel=0.1)  # the mean of an error moves no index
    assert np.isnan(result.quantity_error[1])
    assert np.isnan(result.first_interval_with_error[1]).all()
    for order, truth in (("first", [1, 0, 0]), ("total", [1, 0, 0])):
        index, sampled, with_error = (
            getattr(result, order + end)[0] for end in ("", "_interval", "_interval_with_error")
        )
        assert (with_error >= sampled).all()
        assert (with_error < sampled + 0.25).all()
        assert (np.abs(index - truth) <= with_error).all()
    j, k = np.triu_indices(3, 1)
    assert (np.abs(result.second[0][j, k]) <= result.second_interval_with_error[0][j, k]).all()
    assert result.notes == ()


def test_an_error_measured_elsewhere_is_not_used():
    class Elsewhere(Wrong):
        space = SPACE

    result = sobol(Elsewhere(), CUBE, [first_coordinate, ishigami], base_samples=16)
    assert np.isnan(result.quantity_error).all()
    assert "the error of the predictor in space 'cube' is not known" in result.notes[-1]

    class Unknown(Wrong):
        def quantity_errors(self, quantities):
            return None

    assert sobol(Unknown(), CUBE, [first_coordinate], base_samples=16).notes == ()


def test_compact_model_and_seeds():
    result = sobol(MODEL, SPACE, base_samples=128)
    again = sobol(MODEL, SPACE, base_samples=128, seed=0)
    other = sobol(MODEL, SPACE, base_samples=128, seed=1)
    np.testing.assert_array_equal(result.total_interval, again.total_interval)  # seed 0 is a seed
    assert not np.array_equal(result.total, other.total)
    assert result.second is None
    barriers = [result.names.index(n) for n in ("barrier_left", "barrier_right")]
    assert result.total[0, barriers].sum() > 0.8
    assert result.evaluations == 128 * 7


def test_rows_with_missing_values_are_left_out_and_counted():
    def holed(traces):
        x = traces.current[:, 0]
        return np.where(x > 0.95, np.nan, ishigami(traces))

    result = sobol(coordinates, CUBE, [holed, ishigami], base_samples=1024)
    assert 0 < result.dropped[0] < 512
    assert result.dropped[1] == 0
    assert result.total[0, 1] == pytest.approx(0.44, abs=0.06)  # not the zeros of one NaN
    assert "rows of the design are left out" in result.notes[0]


def test_too_many_missing_values_give_no_indices():
    result = sobol(MODEL, Space.preset("4d"), ["on_off_ratio"], base_samples=64)
    assert np.isnan(result.first).all()
    assert np.isnan(result.total).all()
    assert "too few for indices" in result.notes[0]


def test_a_constant_is_said_to_be_constant():
    result = sobol(coordinates, CUBE, [lambda t: np.full(len(t), 0.3), ishigami], base_samples=64)
    assert np.isnan(result.first[0]).all()
    assert "is 0.3 for every device" in result.notes[0]
    assert np.isfinite(result.first[1]).all()


def test_a_single_parameter_gets_everything():
    space = Space(name="one", parameters=CUBE.parameters[:1], device=Device())
    result = sobol(coordinates, space, [first_coordinate], base_samples=256)
    np.testing.assert_allclose(result.first, 1.0, atol=0.01)


def test_results_come_back_from_their_file(tmp_path):
    result = sobol(MODEL, Space.preset("4d"), base_samples=16, second_order=True)
    result.to_json(tmp_path / "sobol.json")
    back = SobolResult.from_json(tmp_path / "sobol.json")
    assert back.to_dict() == result.to_dict()
    np.testing.assert_array_equal(back.second, result.second)
    assert back.names == result.names
    assert json.loads((tmp_path / "sobol.json").read_text())["kind"] == "sobol"
    assert [p.name for p in tmp_path.iterdir()] == ["sobol.json"]


def test_damaged_results_are_refused(tmp_path):
    fields = sobol(MODEL, SPACE, base_samples=16).to_dict()
    with pytest.raises(DataError, match="has no first"):
        SobolResult.from_dict({k: v for k, v in fields.items() if k != "first"})
    with pytest.raises(DataError, match="'pareto'"):
        SobolResult.from_dict(fields | {"kind": "pareto"})
    with pytest.raises(InvalidValue, match="surprise"):
        SobolResult.from_dict(fields | {"surprise": 1})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        SobolResult.from_json(tmp_path / "bad.json")
    with pytest.raises(DataError, match="cannot be read"):
        SobolResult.from_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_samples": 1000}, "not a power of two; give 512 or 1024"),
        ({"base_samples": 0}, "base_samples = 0"),
        ({"base_samples": 2**21}, "base_samples = 2097152"),
        ({"resamples": 1}, "resamples = 1"),
        ({"tolerance": 0.0}, "tolerance = 0"),
        ({"tolerance": 0.01, "base_samples": 1024, "largest": 512}, "largest = 512"),
        ({"seed": -1}, "seed = -1"),
        ({"quantities": "symmetry"}, "not a list"),
        ({"quantities": ()}, "not a list"),
        ({"space": Space.preset("16d")}, "not independent"),
        ({"space": Space.preset("5d-any-drive")}, "random drive at every point"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    with pytest.raises(InvalidValue, match=words):
        sobol(MODEL, **({"space": SPACE} | changes))
