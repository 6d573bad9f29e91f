"""Programming simulated devices, with a model that knows the truth and with one that does not."""

import numpy as np
import pytest

from measured_trains import SETTINGS, made_up
from memflux.analysis.programming import (
    Controller,
    Menu,
    Programmed,
    Rules,
    compare,
    fixed,
    open_loop,
    pulse_energy,
    pulse_time,
    write_verify,
)
from memflux.analysis.pulse_devices import DevicePool
from memflux.errors import InvalidValue
from memflux.pulse_scale import AbsoluteScale


class Known:
    """Mean measured trains: a model without a perceptron."""

    def __init__(self, curves):
        self.curves, self.scale = curves, AbsoluteScale.fit(curves)

    def scaled(self, settings):
        same = [(self.curves.settings == s).all(axis=1) for s in settings]
        return np.stack([self.curves.scaled[rows].mean(axis=0) for rows in same])

    def scatter(self, settings):
        return np.full(len(settings), 0.01)

    def relative_range(self, settings, reference):
        return self.scale.relative_range(settings, reference)


@pytest.fixture(scope="module")
def curves():
    return made_up(replicates=8, pulses=100, noise=0.003, speed=0.04)


@pytest.fixture(scope="module")
def pool(curves):
    return DevicePool.bootstrap(curves, 200)


@pytest.fixture(scope="module")
def targets():
    return np.random.default_rng(0).uniform(0.1, 0.9, 200)


def test_energy_and_time_of_a_period():
    settings = np.array([[0.1, 2.0, 0.2, 0.01, 0.0], [0.1, 2.0, 0.2, 0.01, -1.0]])
    np.testing.assert_allclose(
        pulse_energy(settings, np.full(2, 1e-6)), [2e-6 * (0.4 + 0.0025), 2e-6 * (0.4 + 0.1 + 0.0025)]
    )
    assert pulse_energy(settings, np.full(2, -1e-6)).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(pulse_time(settings), [0.51, 0.61])


def test_what_reads_within_the_tolerance_is_reached(curves, pool, targets):
    result = write_verify(pool, Menu.of(Known(curves), pool.settings, pool.reference), targets, Rules())
    reached = result.reached.astype(bool)
    assert reached.mean() > 0.8
    assert np.abs(result.level - targets)[reached].max() < 0.02 + 5 * pool.read_noise
    assert (result.pulses[~reached] == 100).all()
    assert result.summary["mean pulses"] == result.pulses.mean()


def test_a_missed_device_costs_the_same_in_every_policy(curves, pool):
    rules = Rules(most_pulses=7)
    missed = [fixed(pool, k, 1.0, rules) for k in (0, 1)]
    costs = {
        (float(p), float(e)) for m in missed for p, e in zip(m.pulses[~m.reached], m.energy[~m.reached], strict=True)
    }
    assert len(costs) == 1
    assert costs.pop()[0] == 7.0


def test_the_model_saves_pulses(curves, pool, targets):
    result = compare(pool, Known(curves), targets, Rules())
    assert result.gain[0] > 1.3
    assert result.fewest_pulses.pulses.mean() <= result.least_energy.pulses.mean()
    assert result.opened.reached.mean() < result.verified.reached.mean()
    assert set(result.summary) >= {"write-verify", "open loop", "times fewer pulses"}


def test_a_target_below_the_first_read_is_reached_at_once(curves, pool):
    result = fixed(pool, 0, 0.0, Rules(tolerance=0.05))
    assert result.reached.all()
    assert (result.pulses == 0).all()


def test_no_pulse_follows_an_overshoot(pool):
    result = fixed(pool, len(pool.settings) - 1, 0.05, Rules(tolerance=1e-6))
    assert result.level.max() < 0.9


def test_one_controller_learns_a_slow_device(curves, pool):
    menu = Menu.of(Known(curves), pool.settings, pool.reference)
    controller = Controller(menu, np.full(200, 0.9), Rules())
    level, going = np.zeros(200), np.ones(200, dtype=bool)
    choice = controller.choose(level, going)
    before = controller.predicted(level)
    controller.choose(level + 0.2 * (before[np.arange(200), choice] - level), going)  # rose by a fifth
    assert (controller.predicted(level) <= before + 1e-12).all()
    assert (controller.predicted(level) < before).any()


def test_beyond_every_curve_the_strongest_is_tried(curves, pool):
    menu = Menu.of(Known(curves), pool.settings, pool.reference)
    choice = Controller(menu, np.full(2, 50.0), Rules()).choose(np.full(2, 40.0), np.ones(2, dtype=bool))
    assert choice.tolist() == [int(menu.levels[:, -1].argmax())] * 2


def test_results_are_written_and_read(curves, pool, targets, tmp_path):
    result = open_loop(pool, Menu.of(Known(curves), pool.settings, pool.reference), targets, Rules())
    result.to_json(tmp_path / "p.json")
    np.testing.assert_array_equal(Programmed.from_json(tmp_path / "p.json").level, result.level)


def test_the_seed_decides(curves, pool, targets):
    menu = Menu.of(Known(curves), pool.settings, pool.reference)
    first, again, other = (write_verify(pool, menu, targets, Rules(), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.level, again.level)
    assert (first.level != other.level).any()


def test_mistakes(curves, pool):
    menu = Menu.of(Known(curves), pool.settings, pool.reference)
    with pytest.raises(InvalidValue, match="targets has 3 levels"):
        write_verify(pool, menu, [0.1, 0.2, 0.3], Rules())
    with pytest.raises(InvalidValue, match="out of range"):
        fixed(pool, 0, 1.5, Rules())
    with pytest.raises(InvalidValue, match="setting = 9"):
        fixed(pool, 9, 0.5, Rules())
    with pytest.raises(InvalidValue, match="tolerance"):
        Rules(tolerance=0.0)
    with pytest.raises(InvalidValue, match="other settings"):
        write_verify(pool, Menu.of(Known(curves), SETTINGS[:2], 1), 0.5, Rules())
    with pytest.raises(InvalidValue, match="reference = 9"):
        Menu.of(Known(curves), pool.settings, 9)
