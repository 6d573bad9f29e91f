"""Bands hold what they state on errors of known size, pointwise and as a whole, also where errors are large."""

import dataclasses
import json

import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.traces import Traces
from memflux.training import difficulty
from memflux.training.band_check import check_bands
from memflux.training.bands import Bands, calibrate, fewest, quantile
from memflux.training.scaling import InputScaling

SPACE = Space.preset("5d-parametric")
INPUTS = InputScaling.of(SPACE)
TIMES = 2 * 16 + 1


def size_of(unit):
    """Standard deviation of the relative error: 30 times larger in one corner, and along the curve."""
    phase = np.linspace(0.0, 4.0 * np.pi, TIMES)
    return 1e-3 * np.exp(2.0 * unit[:, 1] + 1.4 * unit[:, 2])[:, None] * (1.2 + np.sin(phase))


def unit_of(devices, drive):
    return INPUTS.scale(INPUTS.values(devices, drive))


def predict(devices, drive):
    """Sines of amplitude 2 A, with a peak at a time of the grid."""
    time, voltage = drive.grid(16)
    current = np.tile(2.0 * np.sin(2.0 * np.pi * np.arange(TIMES) / 16), (len(devices), 1))
    return Traces.of(time=time, voltage=voltage, current=current, period=drive.periods(), cycles=2)


def spread(devices, drive):
    """What four members would disagree by."""
    noise = np.random.default_rng(len(devices)).standard_normal((4, len(devices), TIMES))
    return 2.0 * size_of(unit_of(devices, drive)) * noise.std(axis=0, ddof=1)


def solved(count, seed):
    """Devices and what is true of them: the prediction and smooth normal errors."""
    devices, drive = SPACE.sample(count, seed=seed)
    prediction = predict(devices, drive)
    noise = np.random.default_rng(seed).standard_normal((count, TIMES + 1))
    smooth = (noise[:, 1:] + noise[:, :-1]) / np.sqrt(2.0)
    error = 2.0 * size_of(unit_of(devices, drive)) * smooth
    return devices, drive, dataclasses.replace(prediction, current=prediction.current + error)


@pytest.fixture(scope="module")
def bands():
    return calibrate(predict, *solved(1200, seed=1), INPUTS)


@pytest.fixture(scope="module")
def fresh():
    return solved(2000, seed=2)


@pytest.mark.parametrize("kind", ["pointwise", "curve"])
def test_stated_coverage_holds(bands, fresh, kind):
    check = check_bands(bands, predict, *fresh, INPUTS, kind=kind)
    # four standard deviations of two binomials: 600 devices set the quantile, 2,000 are counted
    assert abs(check.covered - 0.95) < 4.0 * np.sqrt(0.05 * 0.95 * (1 / 600 + 1 / 2000))
    assert check.worst > 0.88
    assert check.count == 2000
    assert json.loads(json.dumps(check.to_dict()))["kind"] == kind


def test_pointwise_bands_are_hardly_wider_than_errors_of_known_size_need(bands, fresh):
    check = check_bands(bands, predict, *fresh, INPUTS)
    ideal = 2.0 * 1.96 * size_of(unit_of(*fresh[:2])).mean()
    assert check.width < 1.15 * ideal
    assert check.ratio == pytest.approx(check.width / check.error)


def test_the_whole_curve_needs_more(bands, fresh):
    devices, drive, _ = fresh
    prediction, unit = predict(devices, drive), unit_of(devices, drive)
    low, high = bands.around(prediction, unit)
    lower, upper = bands.around(prediction, unit, kind="curve")
    assert (upper - lower).mean() > 1.2 * (high - low).mean()
    np.testing.assert_allclose(0.5 * (low + high), prediction.current, atol=1e-12)


def test_the_spread_of_members_tells_difficult_devices_without_many_of_them(fresh):
    # one parameter that tells nothing: all that is known of the error is the spread
    blind = InputScaling(parameters=SPACE.parameters[:1])
    few = solved(300, seed=3)
    with_it = calibrate(predict, *few, blind, coverage=0.9, spread=spread)
    without = calibrate(predict, *few, blind, coverage=0.9)
    seen = check_bands(with_it, predict, *fresh, blind, spread=spread)
    unseen = check_bands(without, predict, *fresh, blind)
    assert abs(seen.covered - 0.9) < 0.05
    assert seen.width < 0.9 * unseen.width


def test_round_trip_and_seed(bands, fresh, monkeypatch):
    monkeypatch.setattr(difficulty, "STEPS", 20)
    devices, drive, _ = fresh
    again = Bands.from_dict(json.loads(json.dumps(bands.to_dict(), allow_nan=False)))
    prediction, unit = predict(devices, drive), unit_of(devices, drive)
    for kind in ("pointwise", "curve"):
        np.testing.assert_array_equal(
            again.around(prediction, unit, kind=kind), bands.around(prediction, unit, kind=kind)
        )
    few = solved(120, seed=3)
    first, second, third = (calibrate(predict, *few, INPUTS, seed=seed).to_dict() for seed in (0, 0, 1))
    assert first == second != third


def test_failed_rows_are_left_out_and_have_no_band(bands, monkeypatch):
    monkeypatch.setattr(difficulty, "STEPS", 20)
    devices, drive, traces = solved(200, seed=4)
    status_class, current = traces.status_class.copy(), traces.current.copy()
    status_class[7], current[7] = "diverged", np.nan
    broken = dataclasses.replace(traces, status_class=status_class, current=current)
    assert calibrate(predict, devices, drive, broken, INPUTS).count == 100
    assert check_bands(bands, predict, devices, drive, broken, INPUTS).count == 199
    low, high = bands.around(broken, unit_of(devices, drive))
    assert np.isnan(low[7]).all()
    assert np.isnan(high[7]).all()
    assert np.isfinite(np.delete(low, 7, axis=0)).all()


def test_the_quantile_is_that_of_a_finite_sample():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert quantile(scores, 0.95) == 95.0  # of 99, so that a hundredth is below with 95 in 100
    assert quantile(scores, 0.07 * 10) == 70.0
    assert quantile(scores[:, None] * [1.0, 2.0], 0.5).tolist() == [50.0, 100.0]
    assert fewest(0.95) == 19
    assert quantile(np.arange(19.0), 0.95) == 18.0
    with pytest.raises(InvalidValue, match=r"18 scores cannot give a coverage of 0.95; give at least 19\."):
        quantile(np.arange(18.0), 0.95)


def test_the_quantile_covers_as_often_as_stated():
    scores = np.random.default_rng(0).standard_normal((29, 40_000))
    covered = (scores[-1] <= quantile(scores[:-1], 0.9)).mean()
    assert covered == pytest.approx(27 / 29, abs=0.006)  # ceil(29 * 0.9) = 27


def test_bad_input_is_refused(bands):
    devices, drive, traces = solved(60, seed=5)
    with pytest.raises(InvalidValue, match=r"60 of the 60 devices are solved; give at least 80 for a"):
        calibrate(predict, devices, drive, traces, INPUTS)
    with pytest.raises(InvalidValue, match=r"give at least 198 for a coverage of 0\.99"):
        calibrate(predict, devices, drive, traces, INPUTS, coverage=0.99)
    with pytest.raises(InvalidValue, match=r"coverage = 95 is out of range; give a number from 0\.5 to 0\.999"):
        calibrate(predict, devices, drive, traces, INPUTS, coverage=95.0)
    with pytest.raises(InvalidValue, match="has shape"):
        calibrate(predict, devices[:50], drive, traces, INPUTS)
    unit = unit_of(devices, drive)
    with pytest.raises(InvalidValue, match="kind = 'point' is not known"):
        bands.around(traces, unit, kind="point")
    with pytest.raises(InvalidValue, match="spread is given and the bands were calibrated without one"):
        bands.around(traces, unit, traces.current)
    with pytest.raises(InvalidValue, match="there are 4 scaled parameters and the bands were calibrated on 5"):
        bands.around(traces, unit[:, :4])
    with pytest.raises(InvalidValue, match="the prediction has 17 times and the bands were calibrated on 33"):
        bands.around(short(traces), unit)
    with pytest.raises(InvalidValue, match="is not a field of bands"):
        Bands.from_dict({**bands.to_dict(), "more": 1})


def short(traces):
    """The first cycle alone."""
    cut = {name: getattr(traces, name)[:, :17] for name in ("time", "voltage", "current")}
    return dataclasses.replace(traces, **cut, cycles=1)
