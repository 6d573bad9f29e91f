"""The neural ODE: its integrators against each other, what its form guarantees, and that it learns."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from memflux.errors import InvalidValue, MissingDependency
from memflux.metrics import nmae
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import split
from memflux.training.loop import fit
from memflux.training.models import config_from_dict, config_to_dict
from memflux.training.neural_ode import NeuralOde, NeuralOdeConfig
from memflux.training.schedule import Schedule
from memflux.waveform import Triangle

SPACE = Space.preset("5d-parametric")
SAMPLES = 64  # a cycle: a step of up to 16 samples ends at the corners of a triangle
TIMES = 2 * SAMPLES + 1


@pytest.fixture(autouse=True)
def one_thread():
    """Several threads are slower on networks as small as these, tenfold where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(**fields):
    """The same weights whatever integrates them; zero volts are 0.5, as the triangle goes from 0 to 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NeuralOde(NeuralOdeConfig(latent=4, width=16, **fields), inputs=3, times=TIMES).double()
    model.zero_voltage.fill_(0.5)
    return model


def asked(count=3):
    """Scaled parameters and one scaled triangle."""
    unit = torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    volts = Triangle(amplitude=1.0, period=1.0, cycles=2).grid(SAMPLES)[1]
    return unit, torch.tensor(0.5 + 0.5 * volts)[None]


@pytest.fixture(scope="module")
def reference():
    with torch.no_grad():
        return built(integrator="dopri5", rtol=1e-9, atol=1e-10)(*asked())[0]


def test_fixed_steps_converge_to_dopri5_at_fourth_order(reference):
    errors = []
    for stride in (8, 4, 2):
        with torch.no_grad():
            curve = built(stride=stride)(*asked())[0]
        errors.append(float((curve - reference).abs().max()))  # at all samples: what is filled in counts too
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert (np.abs(orders - 4.0) < 0.3).all(), (errors, orders)
    assert errors[-1] < 1e-6


def test_a_stride_that_does_not_divide_the_drive_ends_with_a_shorter_step(reference):
    with torch.no_grad():
        curve = built(stride=3)(*asked())[0]
    assert curve.shape == reference.shape
    assert (curve - reference).abs().max() < 2e-3  # its steps pass the corners


def test_adjoint_gradient_is_the_direct_one():
    """For the weights, the start, the parameters and the amplitude.

    Not for single samples of the voltage: where a step passes several, only those that it looked at count.
    """
    gradients = []
    for integrator in ("dopri5", "dopri5-adjoint"):
        model = built(integrator=integrator, rtol=1e-6, atol=1e-7)
        unit, voltage = asked(2)
        voltage = voltage[:, : 9 * SAMPLES // 16 : SAMPLES // 16]  # half a cycle
        amplitude = torch.ones((), dtype=unit.dtype, requires_grad=True)
        model(unit.requires_grad_(), 0.5 + amplitude * (voltage - 0.5))[0].square().sum().backward()
        gradients.append([unit.grad, amplitude.grad, *(p.grad for p in model.parameters())])
    for direct, adjoint in zip(*gradients, strict=True):
        torch.testing.assert_close(adjoint, direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output", ["published", "peaks"])
def test_no_voltage_is_no_current(output):
    model = built(output=output)
    unit, voltage = asked()
    with torch.no_grad():
        assert not model(unit, torch.full_like(voltage, 0.5))[0].any()
        curve = model(unit, voltage)[0]
    assert not curve[:, :: SAMPLES // 2].any()
    assert (curve * (voltage - 0.5) >= 0).all()
    assert curve[:, 1].abs().min() > 0


def test_zero_volts_are_where_the_current_vanishes():
    model = built()
    unit, voltage = asked()
    model.prepare(unit, voltage, (voltage - torch.tensor([[0.25], [0.25], [0.25]]),), 1.0)
    assert model.zero_voltage == 0.25


def test_it_is_causal_from_step_to_step():
    model = built(stride=4)
    unit, voltage = asked()
    later = voltage.clone()
    later[:, 21:] += 0.1
    with torch.no_grad():
        before, after = model(unit, voltage)[0], model(unit, later)[0]
    torch.testing.assert_close(after[:, :21], before[:, :21], rtol=0, atol=0)
    held = voltage.clone()
    held[:, 8:13] += 0.1
    with torch.no_grad():
        after = model(unit, held)[0]
    assert ((after - before)[:, [20, 40, 50]].abs() > 1e-7).all()  # it remembers


@pytest.mark.parametrize("integrator", ["rk4", "dopri5"])
def test_two_halves_are_the_whole(integrator):
    model = built(integrator=integrator, stride=4)
    unit, voltage = asked()
    for drive in (voltage, voltage * torch.tensor([[1.0], [0.9], [0.8]])):
        with torch.no_grad():
            whole, end = model.stream(unit, drive)
            first, state = model.stream(unit, drive[:, :33])
            second, end_again = model.stream(unit, drive[:, 33:], state)
        tolerance = 1e-12 if integrator == "rk4" else 1e-3
        torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=tolerance)
        torch.testing.assert_close(end_again[0], end[0], rtol=0, atol=tolerance)


def test_a_stream_may_bring_one_sample_at_a_time():
    model = built(stride=1)
    unit, voltage = asked()
    with torch.no_grad():
        whole, _ = model.stream(unit, voltage)
        state, pieces = None, []
        for k in range(10):
            piece, state = model.stream(unit, voltage[:, k : k + 1], state)
            pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole[:, :10], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"latent": 0},
        {"width": 0},
        {"layers": 0},
        {"integrator": "euler"},
        {"stride": 0},
        {"rtol": 0.0},
        {"atol": -1.0},
        {"output": "peak"},
    ],
)
def test_bad_configs_are_refused(change):
    with pytest.raises(InvalidValue, match=next(iter(change))):
        NeuralOdeConfig(**change)


def test_config_survives_its_dictionary():
    config = NeuralOdeConfig(latent=3, integrator="dopri5-adjoint")
    assert config_from_dict("neural_ode", config_to_dict(config)) == config
    with pytest.raises(InvalidValue, match="'strides' is not a field of a neural ODE; did you mean 'stride'"):
        config_from_dict("neural_ode", {"strides": 3})


def test_torchdiffeq_is_needed_for_dopri5_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with torch.no_grad():
        assert built()(*asked())[0].isfinite().all()
    for integrator in ("dopri5", "dopri5-adjoint"):
        with pytest.raises(MissingDependency, match=r"torchdiffeq cannot be imported .* choose integrator = 'rk4'"):
            built(integrator=integrator)


def test_it_learns_the_compact_model():
    """Clearly better than the mean curve; and dopri5 answers with the same weights."""
    devices, drive = SPACE.sample(120, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    config = NeuralOdeConfig(latent=3, width=16, stride=4, output="peaks")
    schedule = dataclasses.replace(Schedule.of(config), epochs=25, batch_size=32)
    surrogate = fit(devices, drive, traces, SPACE, config, schedule)
    parts = split(devices, drive)
    truth = traces.current[parts.test]
    mean = traces.current[parts.train].mean(axis=0)
    baseline = nmae(np.broadcast_to(mean, truth.shape), truth).mean()
    assert surrogate.test_errors["nmae"]["mean"] < 0.2 * baseline
    adaptive = NeuralOde(dataclasses.replace(config, integrator="dopri5"), inputs=5, times=33).double()
    adaptive.load_state_dict(surrogate.module.state_dict())
    again = dataclasses.replace(surrogate, module=adaptive.requires_grad_(False))(devices[:5], drive)
    assert nmae(again.current, surrogate(devices[:5], drive).current).max() < 2e-3
