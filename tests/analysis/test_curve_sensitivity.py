"""Indices along the curve: each sample as a quantity by itself, in parts, and safe against rows that failed."""

import dataclasses

import numpy as np
import pytest

from memflux.analysis import curve_sensitivity
from memflux.analysis.curve_sensitivity import CurveSobolResult, sobol_along_curve
from memflux.analysis.sensitivity import sobol
from memflux.errors import InvalidValue, SolveFailed
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.traces import Traces
from unit_cube import CUBE

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=40)


def ishigami(x):
    x = np.pi * (2.0 * x - 1.0)
    return np.sin(x[:, 0]) + 7.0 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def curves(devices, drive):
    """Two cycles of four samples: a constant, x1, x1 + 2 x2, and Ishigami's function; the first cycle is zero."""
    x = CUBE.coordinates(devices, drive)
    cycle = np.stack([np.full(len(x), 0.7), x[:, 0], x[:, 0] + 2 * x[:, 1], ishigami(x)], axis=1)
    current = np.concatenate([np.zeros((len(x), 5)), cycle[:, 1:], cycle[:, :1]], axis=1)
    current[:, 4] = 0.7
    return Traces.of(time=np.arange(9.0), voltage=np.arange(9.0) % 4, current=current, period=np.array(4.0), cycles=2)


def test_each_sample_has_the_analytic_indices():
    result = sobol_along_curve(curves, CUBE, base_samples=4096, log=False)
    np.testing.assert_array_equal(result.phase, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(result.voltage, [0, 1, 2, 3, 0])
    assert np.isnan(result.first[[0, 4]]).all()  # the same for every device
    assert np.isnan(result.total_interval[[0, 4]]).all()
    np.testing.assert_allclose(result.variance, [0, 1 / 12, 5 / 12, 13.845, 0], rtol=0.02)
    np.testing.assert_allclose(result.mean, [0.7, 0.5, 1.5, 3.5, 0.7], atol=0.05)
    np.testing.assert_allclose(result.first[1:3], [[1, 0, 0], [0.2, 0.8, 0]], atol=0.02)
    np.testing.assert_allclose(result.total[1:3], [[1, 0, 0], [0.2, 0.8, 0]], atol=0.02)
    np.testing.assert_allclose(result.first[3], [0.3139, 0.4424, 0.0], atol=0.02)
    np.testing.assert_allclose(result.total[3], [0.5576, 0.4424, 0.2437], atol=0.02)
    weight = np.array([1 / 12, 5 / 12, 13.845]) / (0.5 + 13.845)
    np.testing.assert_allclose(result.generalised_first, weight @ result.first[1:4], atol=0.002)
    np.testing.assert_allclose(result.generalised_total, weight @ result.total[1:4], atol=0.002)
    assert (result.generalised_total_interval > 0).all()
    assert (np.abs(result.total[3] - [0.5576, 0.4424, 0.2437]) < 2 * result.total_interval[3]).all()
    assert result.evaluations == 4096 * 5
    assert result.notes == ()


def test_a_sample_is_a_quantity():
    def third(traces):
        return np.log10(np.abs(traces.cycle().current[:, 25]) + 1e-15)

    whole = sobol_along_curve(MODEL, SPACE, base_samples=256)
    alone = sobol(MODEL, SPACE, [third], base_samples=256)
    np.testing.assert_allclose(whole.first[25], alone.first[0], atol=1e-9)
    np.testing.assert_allclose(whole.total[25], alone.total[0], atol=1e-9)
    np.testing.assert_allclose(whole.total_interval[25], alone.total_interval[0], rtol=1.0)  # of 64 groups, of 256 rows
    assert whole.first.shape == (41, 5)


def test_the_curves_come_in_parts(monkeypatch):
    sizes, steps = [], []

    def counted(devices, drive):
        sizes.append(len(devices))
        return MODEL(devices, drive)

    at_once = sobol_along_curve(MODEL, SPACE, base_samples=128)
    monkeypatch.setattr(curve_sensitivity, "CURVES_AT_ONCE", 60)  # eight base samples of seven
    parts = sobol_along_curve(counted, SPACE, base_samples=128, progress=lambda *step: steps.append(step))
    assert max(sizes) == 56
    assert steps[-1] == (128 * 7, 128 * 7)
    for name in ("total", "generalised_total"):
        np.testing.assert_allclose(getattr(parts, name), getattr(at_once, name), atol=0.05)  # about another centre
    np.testing.assert_allclose(parts.mean, at_once.mean, rtol=1e-12)


def test_failed_curves_are_left_out_and_counted():
    def failing(share):
        def predictor(devices, drive):
            traces = curves(devices, drive)
            status, current = traces.status_class.copy(), traces.current.copy()
            bad = np.random.default_rng(len(devices)).random(len(devices)) < share
            status[bad] = "diverged"
            current[0, 6] = np.nan
            return dataclasses.replace(traces, status_class=status, current=current)

        return predictor

    result = sobol_along_curve(failing(0.01), CUBE, base_samples=1024, log=False)
    assert 1 < result.dropped < 100
    assert result.notes == (f"{result.dropped} of 1024 rows of the design are left out: a curve failed.",)
    np.testing.assert_allclose(result.total[3], [0.5576, 0.4424, 0.2437], atol=0.05)
    with pytest.raises(SolveFailed, match="of 64 rows of the design have a failed curve"):
        sobol_along_curve(failing(0.3), CUBE, base_samples=64)


def test_a_curve_that_never_changes_has_no_indices():
    def flat(devices, drive):
        traces = curves(devices, drive)
        return dataclasses.replace(traces, current=np.full_like(traces.current, 1e-6))

    result = sobol_along_curve(flat, CUBE, base_samples=16)
    assert np.isnan(result.first).all()
    assert np.isnan(result.generalised_total).all()


def test_results_come_back_and_seeds_count(tmp_path):
    result = sobol_along_curve(MODEL, SPACE, base_samples=16, seed=0)
    result.to_json(tmp_path / "c.json")
    assert CurveSobolResult.from_json(tmp_path / "c.json").to_dict() == result.to_dict()
    assert sobol_along_curve(MODEL, SPACE, base_samples=16).to_dict() == result.to_dict()
    assert not np.array_equal(sobol_along_curve(MODEL, SPACE, base_samples=16, seed=1).mean, result.mean)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_samples": 100}, "not a power of two"),
        ({"floor": 0.0}, "floor = 0 A"),
        ({"cycle": 2}, "cycle = 2"),
        ({"resamples": 1}, "resamples = 1"),
        ({"seed": -1}, "seed = -1"),
        ({"space": Space.preset("16d")}, "not independent"),
    ],
)
def test_bad_arguments_are_one_sentence(changes, words):
    with pytest.raises(InvalidValue, match=words):
        sobol_along_curve(MODEL, **({"space": SPACE} | changes))
