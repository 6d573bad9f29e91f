"""Scalings are inverse to their inverses, and refuse what they cannot scale."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.training.scaling import InputScaling, PeakScaling, PublishedScaling

peaks = st.lists(st.floats(1e-9, 1e-4), min_size=2, max_size=8)


def curves(tops, seed=0):
    """Curves [B, 33] in A with the given peak magnitudes, zero crossings included."""
    shapes = np.random.default_rng(seed).uniform(-0.9, 0.9, (len(tops), 33))
    shapes[:, 0], shapes[:, 7] = 0.0, -1.0
    return shapes * np.array(tops)[:, None]


@settings(max_examples=50, deadline=None)
@given(peaks, st.integers(0, 1000))
def test_published_scaling_round_trip(tops, seed):
    current = curves(tops, seed)
    scaling = PublishedScaling.fit(current)
    np.testing.assert_allclose(scaling.unscale(scaling.scale(current)), current, rtol=1e-9, atol=0)


@settings(max_examples=50, deadline=None)
@given(peaks, st.integers(0, 1000))
def test_peak_scaling_round_trip(tops, seed):
    current = curves(tops, seed)
    scaling = PeakScaling.fit(current)
    shape, log_peak = scaling.scale(current)
    np.testing.assert_allclose(np.abs(shape).max(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(scaling.unscale(shape, log_peak), current, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["5d-parametric", "9d", "16d"])
def test_input_scaling_agrees_with_the_space(name):
    space = Space.preset(name)
    devices, drive = space.sample(50, seed=1)
    scaling = InputScaling.of(space)
    values = scaling.values(devices, drive)
    unit = scaling.scale(values)
    np.testing.assert_allclose(unit, space.coordinates(devices, drive), atol=1e-12)
    np.testing.assert_allclose(scaling.unscale(unit), values, rtol=1e-12)
    step = 1e-6 * values
    slope = (scaling.scale(values + step) - scaling.scale(values - step)) / (2 * step)
    np.testing.assert_allclose(scaling.slope(values), slope, rtol=1e-6)


def test_published_scaling_follows_the_published_formulas():
    current = curves([1e-6, 1e-5, 1e-4])
    scaling = PublishedScaling.fit(current)
    logs = np.log([1e-6, 1e-5, 1e-4])
    assert scaling.mean == pytest.approx(logs.mean())
    assert scaling.deviation == pytest.approx(logs.std())
    standard = (np.array([-6.0, -5.0, -4.0]) - logs.mean()) / logs.std()
    tops = np.abs(scaling.scale(current)).max(axis=1)
    np.testing.assert_allclose(tops, standard / standard.mean(), rtol=1e-12)
    assert tops.mean() == pytest.approx(1.0)


def test_zero_curve_stays_zero():
    scaling = PublishedScaling.fit(curves([1e-6, 1e-5]))
    zero = np.zeros((1, 33))
    assert not scaling.scale(zero).any()
    assert not scaling.unscale(zero).any()


def test_published_scaling_refuses_tiny_and_huge_currents():
    scaling = PublishedScaling.fit(curves([1e-6, 1e-5]))
    with pytest.raises(InvalidValue, match="is defined above"):
        scaling.scale(curves([1e-20]))
    with pytest.raises(InvalidValue, match="smallest peak current is 1000 A"):
        PublishedScaling.fit(curves([1e3, 1e4]))


def test_scalings_refuse_zero_and_nan_curves():
    for bad in (0.0, np.nan):
        with pytest.raises(InvalidValue, match=r"current\[1\] has a peak of"):
            PeakScaling.fit(curves([1e-6, bad]))


def test_log_parameter_must_be_positive():
    space = Space.preset("9d")
    devices, drive = space.sample(3, seed=0)
    with pytest.raises(InvalidValue, match=r"donor_density = 0 .* has no logarithm"):
        InputScaling.of(space).values(devices.replace(donor_density=0.0), drive)


def test_scalings_survive_json():
    current = curves([1e-6, 3e-5, 2e-4])
    for scaling in (PeakScaling.fit(current), PublishedScaling.fit(current), InputScaling.of(Space.preset("9d"))):
        assert type(scaling).from_dict(json.loads(json.dumps(scaling.to_dict()))) == scaling
