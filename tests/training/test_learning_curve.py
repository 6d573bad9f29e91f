"""Power laws are recovered, forecasts hold what they state, and a failed training does no harm."""

import json
import math

import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.training import learning_curve as module
from memflux.training.learning_curve import Entry, LearningCurve, Ledger, learning_curve

COUNTS = [100, 200, 400, 800, 1600, 3200]


def law(n, a=0.5, b=0.7, c=1e-3):
    return a * n**-b + c


def noisy(seed, sigma):
    generator = np.random.default_rng(seed)
    return lambda n: law(n) * math.exp(sigma * generator.standard_normal())


def test_a_power_law_is_recovered():
    curve = learning_curve(law, COUNTS)
    assert (curve.a, curve.b, curve.c) == pytest.approx((0.5, 0.7, 1e-3), rel=1e-3)
    assert curve.points == tuple((n, law(n)) for n in COUNTS)
    ahead = curve.forecast(50_000)
    assert ahead.value == pytest.approx(law(50_000), rel=1e-3)
    assert ahead.high - ahead.low < 0.01 * ahead.value
    assert curve.needed(law(20_000)).value == pytest.approx(20_000, rel=1e-2)


def test_an_error_below_the_floor_is_never_reached():
    curve = learning_curve(law, COUNTS)
    assert curve.needed(0.9e-3).value == math.inf
    assert curve.needed(1e9).value == 1.0


def test_without_a_floor_none_is_found():
    curve = learning_curve(lambda n: law(n, c=0.0), COUNTS)
    assert curve.b == pytest.approx(0.7, rel=1e-3)
    assert curve.c < 1e-5


def test_forecasts_hold_most_trainings_on_twice_the_simulations():
    inside = []
    for seed in range(4):
        fit_at = noisy(seed, 0.05)
        curve = learning_curve(fit_at, COUNTS)
        ahead = curve.forecast(6400)
        assert ahead.low <= ahead.value <= ahead.high
        inside += [ahead.low <= fit_at(6400) <= ahead.high for _ in range(50)]
    assert np.mean(inside) > 0.75


def test_a_longer_look_ahead_is_less_certain():
    curve = learning_curve(noisy(0, 0.05), COUNTS)
    near, far = curve.forecast(3200), curve.forecast(1_000_000)
    assert far.high / far.low > near.high / near.low
    assert curve.forecast(6400, level=0.5).high < curve.forecast(6400, level=0.95).high
    needed = curve.needed(2.5e-3)
    assert needed.low < needed.value < needed.high


def test_one_failed_training_is_not_believed():
    counts = sorted(COUNTS * 2)
    broken = iter([True] + [False] * (len(counts) - 1))
    curve = learning_curve(lambda n: law(n) * (20.0 if next(broken) else 1.0), counts)
    assert curve.forecast(6400).value == pytest.approx(law(6400), rel=0.1)


def test_round_trip_and_seed(monkeypatch):
    monkeypatch.setattr(module, "REFITS", 10)
    curve = learning_curve(noisy(1, 0.1), COUNTS, seed=3)
    assert LearningCurve.from_dict(json.loads(json.dumps(curve.to_dict(), allow_nan=False))) == curve
    assert learning_curve(noisy(1, 0.1), COUNTS, seed=3) == curve
    assert learning_curve(noisy(1, 0.1), COUNTS, seed=4) != curve


def test_bad_input_is_refused(monkeypatch):
    monkeypatch.setattr(module, "REFITS", 10)
    with pytest.raises(InvalidValue, match=r"has 3 different numbers; give at least 4\."):
        learning_curve(law, [100, 200, 400, 400])
    with pytest.raises(InvalidValue, match=r"counts\[1\] = 0 is out of range"):
        learning_curve(law, [100, 0, 400, 800])
    with pytest.raises(InvalidValue, match="error at 400 simulations = nan is not finite"):
        learning_curve(lambda n: math.nan if n == 400 else law(n), COUNTS)
    curve = learning_curve(law, COUNTS)
    with pytest.raises(InvalidValue, match="level = 1 is out of range"):
        curve.forecast(100, level=1.0)
    with pytest.raises(InvalidValue, match="error = 0 is out of range"):
        curve.needed(0.0)
    with pytest.raises(InvalidValue, match="is not a field of a learning curve"):
        LearningCurve.from_dict({**curve.to_dict(), "d": 1})


def test_the_ledger_names_the_cheapest_that_reached_an_error():
    ledger = Ledger()
    for n, hours, error in ((100, 1.0, 0.02), (400, 4.0, 0.008), (400, 4.0, 0.009), (1600, 16.0, 0.004)):
        ledger = ledger.add(Entry(simulations=n, data_hours=hours, training_hours=0.1 + error, error=error))
    assert ledger.cheapest(0.01) is ledger.entries[1]
    assert ledger.cheapest(0.001) is None
    assert ledger.entries[0].hours == pytest.approx(1.12)
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


def test_bad_entries_are_refused():
    with pytest.raises(InvalidValue, match="data_hours = -1 core-hours is out of range"):
        Entry(simulations=10, data_hours=-1.0, training_hours=0.0, error=0.1)
    with pytest.raises(InvalidValue, match="is not a field of an entry"):
        Ledger.from_dict({"entries": [{"hours": 1.0}]})
