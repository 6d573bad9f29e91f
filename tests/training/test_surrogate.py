"""The contract of every surrogate, whatever its model."""

import dataclasses

import numpy as np
import pytest
import torch

from memflux.contracts import CurveCost, Differentiable, finite_difference_gradient
from memflux.device import Device
from memflux.errors import DataError, InvalidValue
from memflux.space import Space
from memflux.training import surrogate as module_under_test
from memflux.training.surrogate import Surrogate
from memflux.waveform import Sine, Triangle

SPACE = Space.preset("5d-parametric")


@pytest.fixture
def asked():
    return SPACE.sample(20, seed=5)


def test_it_is_a_differentiable_predictor(surrogate, asked):
    devices, drive = asked
    assert isinstance(surrogate, Differentiable)
    assert surrogate.parameters == SPACE.names
    assert (surrogate.samples, surrogate.cycles) == (16, 2)
    traces = surrogate(devices, drive)
    time, voltage = drive.grid(16)
    assert traces.current.shape == (20, 33)
    assert traces.current.dtype == np.float64
    np.testing.assert_array_equal(traces.time[3], time)
    np.testing.assert_array_equal(traces.voltage[3], voltage)
    assert traces.ok.all()
    assert traces.inside.all()
    assert set(traces.status) == {"inside the training space"}
    assert surrogate.test_errors["nmae"]["mean"] > 0


def test_no_devices_is_an_empty_answer(surrogate, asked):
    devices, drive = asked
    assert surrogate(devices[:0], drive).current.shape == (0, 33)


def test_save_and_load_predict_bit_identically(surrogate, asked, tmp_path):
    surrogate.save(tmp_path / "s")
    again = Surrogate.load(tmp_path / "s")
    np.testing.assert_array_equal(again(*asked).current, surrogate(*asked).current)
    assert again.record == surrogate.record
    assert again.space == surrogate.space
    again.save(tmp_path / "s")  # replaces
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]


def test_rows_do_not_see_each_other(surrogate, asked):
    """Up to the summation order of BLAS: 1e-12 of the peak."""
    devices, drive = asked
    together = surrogate(devices, drive).current
    apart = np.concatenate([surrogate(devices[i : i + 1], drive).current for i in range(20)])
    assert (np.abs(together - apart).max(axis=1) <= 1e-12 * np.abs(together).max(axis=1)).all()


def test_chunks_change_nothing(surrogate, asked, monkeypatch):
    whole = surrogate(*asked).current
    cost = CurveCost(kind="log_curve", target=whole[0, 16:])
    value, gradient = surrogate.value_and_gradient(*asked, cost)
    monkeypatch.setattr(module_under_test, "CHUNK", 7)
    np.testing.assert_allclose(surrogate(*asked).current, whole, rtol=1e-9)
    value_7, gradient_7 = surrogate.value_and_gradient(*asked, cost)
    np.testing.assert_allclose(value_7, value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradient_7[1:], gradient[1:], rtol=1e-7)


@pytest.mark.parametrize("kind", ["log_curve", "curve"])
def test_gradient_agrees_with_finite_differences(surrogate, asked, kind):
    devices, drive = asked
    target = surrogate(devices[:1], drive).cycle(-1).current[0]
    cost = CurveCost(kind=kind, target=target)
    value, gradient = surrogate.value_and_gradient(devices[1:6], drive, cost)
    step = {"curve": 1e-5, "log_curve": 1e-6}[kind]  # |.| of a logarithm has kinks, which a short step meets less
    value_fd, gradient_fd = finite_difference_gradient(surrogate, devices[1:6], drive, cost, surrogate.parameters, step)
    np.testing.assert_allclose(value, value_fd, rtol=1e-12)
    scale = np.abs(gradient_fd).max(axis=0)
    np.testing.assert_allclose(gradient / scale, gradient_fd / scale, atol=1e-5)


@pytest.mark.parametrize("model", ["spectral", "lstm"])
def test_drive_parameters_are_inputs(small_fit, model):
    """For a model that sees the voltage, the amplitude acts through it too."""
    space = Space.preset("9d")
    surrogate = small_fit(model, space="9d", count=150, epochs=10)
    devices, drive = space.sample(6, seed=3)
    traces = surrogate(devices, drive)
    np.testing.assert_allclose(traces.time[:, -1], 2 * drive.period)
    np.testing.assert_allclose(traces.voltage.max(axis=1), drive.amplitude)
    assert traces.inside.all()
    cost = CurveCost(kind="curve", target=traces.cycle(-1).current[0])
    _, gradient = surrogate.value_and_gradient(devices[1:], drive[1:], cost)
    _, gradient_fd = finite_difference_gradient(surrogate, devices[1:], drive[1:], cost, surrogate.parameters, 1e-5)
    scale = np.abs(gradient_fd).max(axis=0)
    np.testing.assert_allclose(gradient / scale, gradient_fd / scale, atol=1e-5)
    slow = dataclasses.replace(drive, period=np.array([20.0, *drive.period[1:]]))
    answer = surrogate(devices, slow)
    assert not answer.inside[0]
    assert answer.status[0] == "outside the training space: period = 20 s is beyond 1 to 10 s"


def test_outside_the_space_it_says_so(surrogate, asked):
    devices, drive = asked
    high = np.array(devices.barrier_left)
    high[2] = 0.3
    long = np.array(devices.length)
    long[4] = 2e-6
    traces = surrogate(devices.replace(barrier_left=high, length=long), drive)
    assert np.flatnonzero(~traces.inside).tolist() == [2, 4]
    assert traces.status[2] == "outside the training space: barrier_left = 0.3 eV is beyond 0.05 to 0.17 eV"
    assert traces.status[4] == "outside the training space: length = 2e-06 m differs from 1e-06 m"
    weak = surrogate(devices, dataclasses.replace(drive, amplitude=9.0))
    assert not weak.inside.any()
    assert weak.status[0] == "outside the training space: amplitude = 9 V differs from 10 V"
    other = surrogate(devices.replace(contact_density="lowered"), drive)
    assert "contact_density = lowered differs from equilibrium" in other.status[0]


def test_far_outside_never_returns_infinity(surrogate, asked):
    devices, drive = asked
    traces = surrogate(devices.replace(barrier_left=20.0, barrier_right=-5.0), drive)
    assert not traces.inside.any()
    assert np.isnan(traces.current[~traces.ok]).all()
    assert np.isfinite(traces.current[traces.ok]).all()


def test_other_drives_are_refused(surrogate, asked):
    devices, drive = asked
    with pytest.raises(InvalidValue, match="the drive is a Sine and this surrogate was trained on a Triangle"):
        surrogate(devices, Sine(amplitude=10.0, period=8.0))
    with pytest.raises(InvalidValue, match="cycles = 3"):
        surrogate(devices, dataclasses.replace(drive, cycles=3))
    with pytest.raises(InvalidValue, match="drive has 3 entries for 20 devices"):
        surrogate(devices, Triangle(amplitude=np.full(3, 10.0), period=8.0))


def test_float32_is_close(surrogate, asked):
    exact = surrogate(*asked).current
    single = surrogate.on("cpu", "float32")
    peak = np.abs(exact).max(axis=1, keepdims=True)
    assert (np.abs(single(*asked).current - exact) / peak).max() < 1e-4
    assert next(surrogate.module.parameters()).dtype == torch.float64
    with pytest.raises(InvalidValue, match="precision"):
        surrogate.on("cpu", "float16")
    with pytest.raises(InvalidValue, match="device = 'nowhere'"):
        surrogate.on("nowhere")


def test_unknown_names_say_what_exists(tmp_path):
    with pytest.raises(DataError, match="no-such-model is neither a folder nor a pretrained surrogate"):
        Surrogate.load("no-such-model")
    with pytest.raises(DataError, match="cannot be read"):
        Surrogate.load(tmp_path)


def test_hole_mobility_follows_when_it_is_not_given(surrogate, asked):
    devices, drive = asked
    assert surrogate(devices.resolved(), drive).inside.all()
    assert Device().mobility_hole is None
