"""Simulated devices of measured pulse trains."""

import numpy as np
import pytest

from measured_trains import made_up
from memflux.analysis.pulse_devices import DevicePool, advance
from memflux.errors import InvalidValue


def test_a_pulse_goes_one_pulse_further_along_the_curve():
    curve = np.array([[0.0, 0.5, 0.8, 0.9, 0.9]])
    for level, pulses, after in [
        (0.0, 1.0, 0.5), (0.5, 1.0, 0.8), (0.25, 1.0, 0.65), (0.5, 0.5, 0.65), (0.0, 2.0, 0.8), (0.0, 99.0, 0.9),
        (0.9, 1.0, 0.9), (1.2, 1.0, 1.2), (-0.1, 1.0, 0.4),
    ]:  # fmt: skip
        assert advance(curve, np.array([level]), np.array([pulses]))[0] == pytest.approx(after)


def test_a_plateau_is_left():
    curve = np.array([[0.0, 0.5, 0.5, 0.5, 1.0]])
    assert advance(curve, np.array([0.5]), np.array([1.0]))[0] == pytest.approx(1.0)


def test_equal_pulses_retrace_the_measured_train():
    curves = made_up(replicates=1, noise=0.0)
    pool = DevicePool.bootstrap(curves, 3, read_noise=0.0)
    random, level = np.random.default_rng(0), np.zeros(3)
    trace = [level]
    for _ in range(curves.pulses - 1):
        level = pool.pulse(level, np.full(3, pool.reference), random)
        trace.append(level)
    wanted = curves.scaled[curves.setting == pool.reference][0]
    assert np.abs(np.stack(trace, axis=1) - wanted).max() < 0.03


def test_noise_is_told_apart():
    """White reads on a random walk: both deviations come back."""
    from memflux.analysis.pulse_devices import _noise

    random = np.random.default_rng(0)
    curve = np.cumsum(0.02 * random.standard_normal(20000)) + 0.03 * random.standard_normal(20000)
    step, read = _noise(curve)
    assert step == pytest.approx(0.02, rel=0.1)
    assert read == pytest.approx(0.03, rel=0.1)


def test_the_seed_decides():
    curves = made_up()
    first, again, other = (DevicePool.bootstrap(curves, 50, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.curve, again.curve)
    assert (first.curve != other.curve).any()
    assert len(first) == 50


def test_mistakes():
    curves = made_up()
    with pytest.raises(InvalidValue, match="count = 0"):
        DevicePool.bootstrap(curves, 0)
    with pytest.raises(InvalidValue, match="read_noise"):
        DevicePool.bootstrap(curves, 1, read_noise=-1.0)
    with pytest.raises(InvalidValue, match="nothing to choose"):
        DevicePool.bootstrap(curves.take(curves.setting == 0), 5)
