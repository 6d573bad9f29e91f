"""The band of replicates."""

import numpy as np
import pytest

from measured_trains import SETTINGS, made_up
from memflux.errors import InvalidValue
from memflux.training.pulse_spread import PulseSpread


def parts(seed=0, replicates=40):
    """Curves with residuals five times larger at one setting."""
    curves, random = made_up(replicates=replicates, seed=seed), np.random.default_rng(seed)
    size = np.where(curves.settings[:, 4] < 0, 0.1, 0.02)
    return curves, size[:, None] * random.standard_normal(curves.current.shape)


def test_the_band_covers_fresh_curves_and_follows_the_setting():
    spread = PulseSpread.fit(*parts(0), *parts(1))
    curves, error = parts(2)
    inside = np.abs(error) <= spread.half_width(curves.settings)
    assert inside.mean() == pytest.approx(0.9, abs=0.03)
    half = spread.half_width(SETTINGS).mean(axis=1)
    assert half[2] > 3.0 * half[1]
    step = spread.step(SETTINGS)
    assert step[2] == pytest.approx(2**0.5 * 0.1, rel=0.3)


def test_a_larger_coverage_is_wider():
    narrow = PulseSpread.fit(*parts(0), *parts(1), coverage=0.5).half_width(SETTINGS)
    assert (narrow < PulseSpread.fit(*parts(0), *parts(1), coverage=0.9).half_width(SETTINGS)).all()


def test_round_trip():
    spread = PulseSpread.fit(*parts(0), *parts(1))
    again = PulseSpread.from_dict(spread.to_dict(), 30)
    np.testing.assert_array_equal(again.half_width(SETTINGS), spread.half_width(SETTINGS))
    with pytest.raises(InvalidValue, match="profile has 30 numbers"):
        PulseSpread.from_dict(spread.to_dict(), 29)


def test_mistakes():
    curves, error = parts(0, replicates=1)
    with pytest.raises(InvalidValue, match="validation curves"):
        PulseSpread.fit(curves, error, curves.take(np.arange(2)), error[:2])
    with pytest.raises(InvalidValue, match="coverage"):
        PulseSpread.fit(curves, error, curves, error, coverage=1.0)
