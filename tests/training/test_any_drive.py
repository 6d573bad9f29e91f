"""Surrogates that answer for any drive: trained on random ones, asked for others, piece by piece."""

import dataclasses

import numpy as np
import pytest

from memflux.contracts import CurveCost
from memflux.errors import InvalidValue
from memflux.metrics import nmae
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.hybrid import HybridConfig
from memflux.training.loop import fit
from memflux.training.lstm import LstmConfig
from memflux.training.neural_ode import NeuralOdeConfig
from memflux.training.schedule import Schedule
from memflux.training.spectral import SpectralConfig
from memflux.training.surrogate import Surrogate
from memflux.waveform import PulseTrain, Sine, Triangle

SPACE = Space.preset("5d-any-drive")
SAMPLES = 32
CONFIGS = {
    "lstm": dataclasses.replace(LstmConfig.any_drive(), units=16),
    "neural_ode": dataclasses.replace(NeuralOdeConfig.any_drive(), latent=3, width=12),
}


@pytest.fixture(scope="module")
def solved():
    devices, drive = SPACE.sample(160, seed=0)
    return devices, drive, StandIn(samples=SAMPLES)(devices, drive)


@pytest.fixture(scope="module", params=CONFIGS)
def surrogate(request, solved):
    config = CONFIGS[request.param]
    schedule = dataclasses.replace(Schedule.of(config), epochs=20, batch_size=16)
    return fit(*solved, SPACE, config, schedule)


def others(count=20):
    """Devices that training did not see, and drives of families that it did not."""
    devices, drive = SPACE.sample(count, seed=5)
    period = drive.period
    pulses = PulseTrain(
        amplitude=-drive.amplitude, width=0.3 * period, ramp=0.1 * period, rest=0.1 * period,
        read_voltage=0.3, read_width=0.1 * period, read_ramp=0.1 * period,
    )  # fmt: skip
    sine = Sine(amplitude=drive.amplitude, period=period, cycles=2)
    return devices, {"sine": sine, "pulses": pulses, "triangle": Triangle(**vars_of(sine))}


def vars_of(drive):
    return {name: getattr(drive, name) for name in ("amplitude", "period", "cycles")}


@pytest.mark.parametrize("family", ["sine", "pulses", "triangle"])
def test_it_answers_for_drives_it_never_saw(surrogate, family):
    devices, drives = others()
    answer = surrogate(devices, drives[family])
    truth = StandIn(samples=SAMPLES)(devices, drives[family])
    assert answer.inside.all()
    np.testing.assert_array_equal(answer.voltage, truth.voltage)
    assert nmae(answer.current, truth.current).mean() < 0.5 * nmae(np.zeros_like(truth.current), truth.current).mean()


def test_the_amplitude_is_no_parameter(surrogate):
    assert surrogate.parameters == tuple(name for name in SPACE.names if name != "amplitude")


def test_pieces_of_a_protocol_add_up_to_the_whole(surrogate):
    devices, drives = others(3)
    drive = drives["sine"]
    whole, end = surrogate.stream(devices, drive)
    np.testing.assert_array_equal(whole.current, surrogate(devices, drive).current)
    cycle = dataclasses.replace(drive, cycles=1)
    first, state = surrogate.stream(devices, cycle)
    second, again = surrogate.stream(devices, cycle, state)
    np.testing.assert_allclose(first.current, whole.current[:, : SAMPLES + 1], rtol=1e-12)
    np.testing.assert_array_equal(second.current[:, 0], first.current[:, -1])
    np.testing.assert_allclose(second.current, whole.current[:, SAMPLES:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again.current, end.current, rtol=1e-9)


def test_a_long_drive_takes_memory_for_a_piece_at_a_time(surrogate, monkeypatch):
    devices, drives = others(3)
    whole = surrogate(devices, drives["pulses"]).current
    monkeypatch.setattr("memflux.training.surrogate.PIECE", 10)
    np.testing.assert_allclose(surrogate(devices, drives["pulses"]).current, whole, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr("memflux.training.surrogate.CHUNK", 2)
    np.testing.assert_allclose(surrogate(devices, drives["pulses"]).current, whole, rtol=1e-9, atol=1e-12)


def test_the_next_drive_may_be_another(surrogate):
    devices, drives = others(3)
    _, state = surrogate.stream(devices, drives["sine"])
    answer, _ = surrogate.stream(devices, drives["pulses"], state)
    fresh, _ = surrogate.stream(devices, drives["pulses"])
    assert answer.current.shape == fresh.current.shape
    assert not np.allclose(answer.current, fresh.current, rtol=1e-3)


def test_a_state_belongs_to_its_devices_and_voltage(surrogate):
    devices, drives = others(3)
    _, state = surrogate.stream(devices, drives["sine"])
    for wrong in (devices[:2], devices[np.array([1, 0, 2])]):
        with pytest.raises(InvalidValue, match="state belongs to other devices; give those that it was left with"):
            surrogate.stream(wrong, Sine(amplitude=5.0, period=5.0), state)
    elsewhere = dataclasses.replace(state, voltage=np.array([0.0, 2.0, 0.0]))
    with pytest.raises(
        InvalidValue, match="drive of device 1 starts at 0 V and state was left at 2 V; start the drive"
    ):
        surrogate.stream(devices, drives["sine"], elsewhere)


def test_what_lies_outside_is_said(surrogate):
    devices, drives = others(3)
    fast = Sine(amplitude=5.0, period=1.0)
    high = Sine(amplitude=20.0, period=5.0)
    short = PulseTrain(amplitude=5.0, width=1e-5, ramp=1e-5, rest=3.0)
    for drive, sentence in (
        (fast, "period = 1 s is beyond 3.2 to 16 s"),
        (high, "amplitude = 20 V is beyond 1 to 10 V"),
        (short, "the drive changes faster than its samples show"),
    ):
        answer = surrogate(devices, drive)
        assert not answer.inside.any()
        assert all(sentence in status for status in answer.status)
    far = devices.replace(barrier_left=[0.1, 0.5, 0.1])
    np.testing.assert_array_equal(surrogate(far, drives["sine"]).inside, [True, False, True])


def test_gradients_agree_with_differences(surrogate):
    devices, drives = others(2)
    drive = drives["pulses"]
    cost = CurveCost(kind="curve", target=StandIn(samples=SAMPLES)(devices, drive).current[0])
    _, gradient = surrogate.value_and_gradient(devices, drive, cost)
    for name in ("barrier_left", "mobility_vacancy"):
        base = getattr(devices, name)
        up, down = (
            cost(surrogate(devices.replace(**{name: base * (1 + sign * 1e-6)}), drive).current, drive.cycles)
            for sign in (1, -1)
        )
        column = surrogate.parameters.index(name)
        np.testing.assert_allclose(gradient[:, column], (up - down) / (2e-6 * base), rtol=1e-4)


def test_it_survives_its_folder(surrogate, tmp_path):
    surrogate.save(tmp_path / "any")
    again = Surrogate.load(tmp_path / "any")
    devices, drives = others(2)
    np.testing.assert_array_equal(again(devices, drives["sine"]).current, surrogate(devices, drives["sine"]).current)


def test_bands_are_refused(surrogate, solved):
    with pytest.raises(InvalidValue, match="a surrogate for any drive has no bands"):
        surrogate.calibrated(*solved)


@pytest.mark.parametrize("config", [SpectralConfig(), HybridConfig(), LstmConfig(), NeuralOdeConfig()])
def test_models_that_follow_no_voltage_are_refused(solved, config):
    with pytest.raises(InvalidValue, match=r"cannot answer for any drive; give LstmConfig.any_drive\(\)"):
        fit(*solved, SPACE, config)


def test_a_surrogate_of_one_drive_has_no_stream(small_fit):
    surrogate = small_fit("lstm-peaks")
    devices, drive = surrogate.space.sample(2, seed=1)
    with pytest.raises(InvalidValue, match="was trained on a Triangle from rest and cannot go on from a state"):
        surrogate.stream(devices, drive)
