"""Neural ODEs of measured memristors: derivatives, integrators, training, folders, and the loops of a known device."""

import dataclasses

import numpy as np
import pytest
import torch

from memflux.errors import DataError, InvalidValue
from memflux.loops import Loops, loop_error
from memflux.training.memode import model as memode_model
from memflux.training.memode.fit import FitConfig, cross_validate, fit, folds_of
from memflux.training.memode.gradient import MemOdeNetwork, Recipe, balance, bound_penalty, descend, losses
from memflux.training.memode.gradient import _Drive as Drive
from memflux.training.memode.model import MemOde, MemOdeConfig, Orbits, Scales, diamond

DUAL = MemOdeConfig(states=2, rate_widths=(4,), memductance_widths=(4,), steps=64)
SINGLE = MemOdeConfig(kind="single", states=1, rate_widths=(4,), steps=64)
BENT = dataclasses.replace(DUAL, states=1, sees_voltage=True)
LINEAR = dataclasses.replace(DUAL, linear=True, sees_voltage=True)
MONOTONE = dataclasses.replace(BENT, states=2, monotone=True)
SCALES = Scales(voltage=0.3, conductance=2e-3, slowest=1.0, fastest=50.0)


def driven(model: MemOde, amplitudes: tuple[float, ...] = (0.5, 1.5), rates: tuple[float, ...] = (2.0, 30.0)) -> Loops:
    """The loops that `model` says, as if they had been measured."""
    phase = np.arange(512) / 512
    grid = [(a, f) for a in amplitudes for f in rates]
    source = np.stack([a * np.sin(2.0 * np.pi * phase) for a, _ in grid])
    empty = Loops(
        names=tuple(f"{a:g}V_{f:g}Hz" for a, f in grid),
        frequency=np.array([f for _, f in grid]),
        source=source,
        voltage=source,
        current=source,
        series_resistance=5e3,
    )
    voltage, current = model.predict(empty)
    return dataclasses.replace(empty, voltage=voltage, current=current)


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memode_model, "TOLERANCE", 1e-13)


@pytest.mark.parametrize(
    "config", [DUAL, SINGLE, BENT, LINEAR, MONOTONE, MemOdeConfig(states=1, rate_widths=diamond(6, 3), steps=32)]
)
@pytest.mark.usefixtures("tight")
def test_derivatives_of_orbits_are_those_of_finite_differences(config: MemOdeConfig) -> None:
    model = MemOde.untrained(config, SCALES, seed=1)
    loops = driven(model)
    found = model.orbits(loops, derivatives=True, periods=5000)
    assert found.missed.max() < 1e-12
    generator = np.random.default_rng(0)
    for _ in range(4):
        along = generator.normal(size=model.weights.size)
        ends = [
            dataclasses.replace(model, weights=model.weights + sign * 1e-6 * along).orbits(
                loops, found.start, towards=found.towards
            )
            for sign in (1.0, -1.0)
        ]
        np.testing.assert_allclose((ends[0].voltage - ends[1].voltage) / 2e-6, found.by_weights @ along, atol=2e-7)
        np.testing.assert_allclose((ends[0].start - ends[1].start) / 2e-6, found.start_by_weights @ along, atol=2e-6)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (SINGLE, dataclasses.replace(SINGLE, rate_widths=(7,))),
        (dataclasses.replace(DUAL, states=1), dataclasses.replace(DUAL, states=3, memductance_widths=(6,))),
        (BENT, dataclasses.replace(BENT, states=2, rate_widths=(5,))),
        (dataclasses.replace(LINEAR, states=1), dataclasses.replace(LINEAR, states=2, rate_widths=(5,))),
        (dataclasses.replace(MONOTONE, states=1), dataclasses.replace(MONOTONE, rate_widths=(5,))),
    ],
)
def test_a_grown_network_is_the_same_device(small: MemOdeConfig, large: MemOdeConfig) -> None:
    model = MemOde.untrained(small, SCALES, seed=1)
    loops = driven(model)
    grown = model.grown(large, seed=2)
    assert grown.weights.size == MemOde.untrained(large, SCALES, seed=0).weights.size > model.weights.size
    np.testing.assert_allclose(grown.predict(loops)[0], loops.voltage, atol=1e-7)


def after(model: MemOde, loops: Loops, periods: int) -> Orbits:
    """Where the device itself is, period after period."""
    found = model.orbits(loops, periods=1)
    for _ in range(periods - 1):
        found = model.orbits(loops, found.start, periods=1)
    return found


def test_slow_states_come_to_the_orbit_that_the_device_comes_to() -> None:
    model = MemOde.untrained(DUAL, SCALES, seed=1)
    of_rates = DUAL.sizes[0]
    rates = (of_rates[0] + 1) * of_rates[1] + of_rates[1] * of_rates[2]  # where the biases of log(r) are
    model.weights[rates : rates + DUAL.states] -= 6.0
    loops = driven(model)
    found, late, soon = model.orbits(loops), after(model, loops, 20_000), after(model, loops, 400)
    assert soon.missed.max() > 1e-6
    assert found.missed.max() < 1e-8
    np.testing.assert_allclose(found.start, late.start, atol=1e-4)
    assert np.abs(soon.start - late.start).max() > 0.01
    again = model.orbits(loops, found.start + 0.01, towards=found.towards, periods=6)
    np.testing.assert_allclose(again.start, found.start, atol=1e-5)


@pytest.mark.parametrize("seed", [97, 152])
def test_an_orbit_that_no_device_stays_on_is_none(seed: int) -> None:
    model = MemOde.untrained(DUAL, SCALES, seed)
    model = dataclasses.replace(model, weights=(4.0 if seed == 97 else 6.0) * model.weights)
    loops = driven(model)
    late = after(model, loops, 1000).missed
    assert (late > 1e-3).sum() == 1
    np.testing.assert_array_equal(model.orbits(loops).missed > 1e-3, late > 1e-3)
    np.testing.assert_array_equal(np.isnan(loops.voltage).all(1), late > 1e-3)


def test_steps_are_of_second_order() -> None:
    model = MemOde.untrained(DUAL, SCALES, seed=2)
    loops = driven(model)
    exact = model.orbits(loops, steps=4096).voltage[:, ::64]
    errors = [np.abs(model.orbits(loops, steps=s).voltage[:, :: s // 64] - exact).max() for s in (64, 128, 256)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.3)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("config", [DUAL, SINGLE, BENT, LINEAR])
def test_torch_says_the_same(config: MemOdeConfig) -> None:
    model = MemOde.untrained(config, SCALES, seed=3)
    loops = driven(model)
    found = model.orbits(loops)
    network = MemOdeNetwork(model)
    voltage, end = network(loops, torch.tensor(found.start), "midpoint")
    np.testing.assert_allclose(voltage.detach().numpy(), found.voltage, atol=1e-10)
    np.testing.assert_allclose(end.detach().numpy(), found.start, atol=1e-6)


@pytest.mark.parametrize(("integrator", "kind"), [("dopri5", DUAL), ("dopri5", BENT), ("dopri5-adjoint", DUAL)])
def test_adaptive_steps_agree_with_many_fixed_ones(integrator: str, kind: MemOdeConfig) -> None:
    config = dataclasses.replace(kind, steps=512)
    model = MemOde.untrained(config, SCALES, seed=3)
    loops = driven(model, rates=(30.0,))
    start = torch.tensor(model.orbits(loops).start)
    gradients = []
    for how in ("midpoint", integrator):
        network = MemOdeNetwork(model)
        voltage, _ = network(loops, start, how)
        (voltage**2).mean().backward()
        gradients.append((voltage.detach().numpy(), network.weights.grad.numpy()))
    np.testing.assert_allclose(gradients[1][0], gradients[0][0], atol=5e-5)
    np.testing.assert_allclose(gradients[1][1], gradients[0][1], atol=1e-3 * np.abs(gradients[0][1]).max())


def test_a_current_that_bends_obeys_the_circuit() -> None:
    model = MemOde.untrained(BENT, SCALES, seed=3)
    loops = driven(model)
    loops = dataclasses.replace(loops, source=np.roll(loops.source, -128, axis=1))  # a period begins at the peak
    found = model.orbits(loops)
    with torch.no_grad():
        start = torch.tensor(found.start)
        voltage = torch.tensor(found.voltage[:, :1])
        forward, backward = (MemOdeNetwork(model).memductance(start, sign * voltage) for sign in (1.0, -1.0))
    current = (loops.source[:, :1] - found.voltage[:, :1]) / loops.series_resistance
    np.testing.assert_allclose(forward * voltage, current, rtol=1e-9, atol=1e-15)
    assert not np.allclose(forward, backward)


@pytest.mark.parametrize("config", [DUAL, SINGLE, BENT, dataclasses.replace(LINEAR, states=1)])
def test_a_device_of_the_same_kind_is_found_and_foretold(config: MemOdeConfig) -> None:
    truth = MemOde.untrained(dataclasses.replace(config, steps=512), SCALES, seed=5)
    loops = driven(truth, (0.5, 1.0, 1.5), (2.0, 10.0, 30.0))
    new = driven(truth, (0.8, 1.3), (5.0, 20.0))
    trained = fit(loops, config, FitConfig(starts=2, iterations=40, ridge=1e-8, balanced=False), seed=0)
    assert trained.errors.mean() < 5e-4
    assert loop_error(*trained.model.predict(new), new).mean() < 5e-3


@pytest.mark.parametrize(
    "config",
    [MONOTONE, dataclasses.replace(MONOTONE, rate_widths=(6, 5), memductance_widths=(5, 4), linear=True)],
)
@pytest.mark.parametrize("on", [1.0, -1.0])
def test_states_and_memductance_rise_where_they_have_to(config: MemOdeConfig, on: float) -> None:
    free = dataclasses.replace(config, monotone=False)
    truth = MemOde.untrained(free, dataclasses.replace(SCALES, voltage=on * SCALES.voltage), seed=4)
    loops = driven(truth)
    assert not risen(truth, on)
    trained = fit(loops, config, FitConfig(starts=1, iterations=6)).model
    assert risen(trained, np.sign(trained.scales.voltage))
    assert (trained.weights[config.bounded] == 0.0).any()  # a bound that the data press against
    descended, _ = descend(loops, dataclasses.replace(config, steps=32), Recipe(epochs=2))
    assert risen(descended, np.sign(descended.scales.voltage))


def risen(model: MemOde, on: float) -> bool:
    """Whether y rises with the voltage towards `on`, and G with every state, at random places."""
    network, generator = MemOdeNetwork(model), np.random.default_rng(0)
    x, further = (torch.tensor(generator.random((500, model.config.states))) for _ in range(2))
    v, to = (torch.tensor(generator.uniform(-1.0, 1.0, (500, 1))) for _ in range(2))
    with torch.no_grad():
        places = on * (network.slope(x, torch.maximum(v, to))[1] - network.slope(x, torch.minimum(v, to))[1])
        more = network.memductance(torch.maximum(x, further), v) - network.memductance(torch.minimum(x, further), v)
    return bool((places >= 0.0).all() and (more >= 0.0).all())


def test_loops_tell_which_voltage_switches_on() -> None:
    model = MemOde.untrained(MONOTONE, SCALES, seed=4)
    loops = driven(model)
    mirrored = dataclasses.replace(loops, voltage=-loops.voltage, current=-loops.current)
    assert Scales.of(loops).voltage > 0.0 > Scales.of(mirrored).voltage
    of_mirrored = dataclasses.replace(model, scales=dataclasses.replace(SCALES, voltage=-SCALES.voltage))
    np.testing.assert_allclose(driven(of_mirrored).voltage, np.roll(-loops.voltage, 256, axis=1), atol=1e-6)


def test_a_model_without_an_orbit_between_the_records_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = driven(MemOde.untrained(DUAL, SCALES, seed=5))[np.array([0, 3])]  # 0.5 V at 2 Hz, 1.5 V at 30 Hz
    orbits, asked = MemOde.orbits, []

    def open_between(self: MemOde, drives: Loops, *arguments: object, **options: object) -> Orbits:
        between = (np.ptp(drives.source, axis=1) > 2.0) & (drives.frequency < 10.0)
        asked.append(between.sum())
        found = orbits(self, drives, *arguments, **options)
        return found._replace(missed=np.where(between, 0.1, found.missed))

    monkeypatch.setattr(MemOde, "orbits", open_between)
    trained = fit(loops, DUAL, FitConfig(starts=2, iterations=2))
    assert max(asked) == 1
    assert np.isinf(trained.of_starts).all()
    assert np.isfinite(trained.errors).all()


def test_the_same_seed_is_the_same_model() -> None:
    loops = driven(MemOde.untrained(DUAL, SCALES, seed=5))
    weights = [fit(loops, DUAL, FitConfig(starts=1, iterations=5), seed=s).model.weights for s in (0, 0, 1)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])


@pytest.mark.usefixtures("tight")
def test_balanced_terms_count_as_much_as_the_base() -> None:
    terms = torch.tensor([1e-2, 0.3, 4.0])
    shares = balance(terms) * terms
    np.testing.assert_allclose(shares, shares.mean(), rtol=1e-5)
    assert balance(torch.tensor([1e-9, 1.0, 1.0]))[0] == 1e3
    model = MemOde.untrained(DUAL, SCALES, seed=6)
    loops = driven(model)
    voltage = torch.tensor(model.predict(loops)[0][:, ::8])
    assert float(losses(voltage, Drive(loops, 64)).sum()) < 1e-6


def test_penalty_is_that_of_the_paper() -> None:
    outside = bound_penalty(torch.tensor([-0.5, 1.5]), 0.0, 1.0)
    assert float(outside) == pytest.approx(0.25, rel=1e-6)
    assert float(bound_penalty(torch.tensor([0.1, 0.5, 0.9]), 0.0, 1.0)) < 1e-12


def test_gradient_descent_learns_too() -> None:
    truth = MemOde.untrained(dataclasses.replace(DUAL, steps=512), SCALES, seed=5)
    loops = driven(truth)
    config = dataclasses.replace(DUAL, steps=32)
    model, history = descend(loops, config, Recipe(epochs=12, batch=2, optimizer="nadam"), seed=1)
    assert history[-1] < 0.75 * history[0]
    assert np.isfinite(loop_error(*model.predict(loops), loops)).all()


def test_cross_validation_leaves_every_record_out_once() -> None:
    truth = MemOde.untrained(dataclasses.replace(SINGLE, steps=512), SCALES, seed=5)
    loops = driven(truth, (0.5, 1.0, 1.5), (2.0, 30.0))
    how = FitConfig(starts=1, iterations=10)
    errors = cross_validate(loops, [(SINGLE, how), (dataclasses.replace(SINGLE, rate_widths=(2,)), how)], folds=3)
    assert errors.shape == (2, 6)
    assert np.isfinite(errors).all()
    first, last = folds_of(loops, SINGLE, how, 3, first=1)
    np.testing.assert_array_equal(np.concatenate([first.errors, last.errors]), errors[0][[*first.held, *last.held]])
    assert first.iterations > 0
    again = folds_of(loops, SINGLE, how, 3, deal=1)
    assert sorted(k for fold in again for k in fold.held) == list(range(6))
    with pytest.raises(InvalidValue, match="folds = 7"):
        cross_validate(loops, [(SINGLE, how)], folds=7)


def test_folders_hold_all_of_it(tmp_path) -> None:
    model = MemOde.untrained(DUAL, SCALES, seed=7)
    model.save(tmp_path / "m", {"records": ["a"]})
    loops = driven(model)
    again = MemOde.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(loops)[0], model.predict(loops)[0])
    (tmp_path / "m" / "memode.json").write_text('{"config": {"kind": "triple"}, "scales": {}}')
    with pytest.raises(DataError, match="triple"):
        MemOde.load(tmp_path / "m")
    with pytest.raises(DataError, match="no neural ODE"):
        MemOde.load(tmp_path)
    rising = MemOde.untrained(MONOTONE, SCALES, seed=7)
    dataclasses.replace(rising, weights=-rising.weights).save(tmp_path / "falling")
    with pytest.raises(DataError, match="says monotone"):
        MemOde.load(tmp_path / "falling")


def test_architectures_that_make_no_sense_are_refused() -> None:
    for wrong, match in (
        ({"kind": "single"}, "states = 2"),
        ({"states": 0}, "states"),
        ({"kind": "single", "states": 1, "sees_voltage": True}, "sees_voltage"),
        ({"rate_widths": ()}, "layers"),
    ):
        with pytest.raises(InvalidValue, match=match):
            MemOdeConfig(**wrong)
    assert diamond(64, 4) == (32, 64, 64, 32)
