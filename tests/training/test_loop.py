"""Training learns, repeats under a seed, and refuses what it cannot learn from."""

import dataclasses

import numpy as np
import pytest
import torch

from memflux.errors import InvalidValue
from memflux.metrics import balanced_nmae, nmae
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import split
from memflux.training.loop import fit
from memflux.training.schedule import Schedule
from memflux.training.spectral import SpectralConfig
from memflux.waveform import Sine

SPACE = Space.preset("5d-parametric")
SMALL = SpectralConfig(components=8, members=2, width=16)


def test_it_learns_the_compact_model():
    """Clearly better than the mean curve, and below 1 %."""
    devices, drive = SPACE.sample(300, seed=0)
    traces = StandIn(samples=40)(devices, drive)
    surrogate = fit(devices, drive, traces, SPACE, SMALL, Schedule(epochs=400))
    parts = split(devices, drive)
    mean = traces.current[parts.train].mean(axis=0)
    baseline = nmae(np.broadcast_to(mean, traces.current[parts.test].shape), traces.current[parts.test]).mean()
    error = surrogate.test_errors["nmae"]["mean"]
    assert error < 0.1 * baseline
    assert error < 0.01
    assert error == pytest.approx(nmae(surrogate(devices, drive).current, traces.current)[parts.test].mean())


def test_the_seed_decides_and_global_state_is_kept(small_fit):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = small_fit(seed=1, epochs=10), small_fit(seed=1, epochs=10), small_fit(seed=2, epochs=10)
    assert torch.equal(before, torch.get_rng_state())
    asked = SPACE.sample(5, seed=9)
    np.testing.assert_array_equal(first(*asked).current, again(*asked).current)
    assert not np.array_equal(first(*asked).current, other(*asked).current)


def test_batches_and_progress():
    devices, drive = SPACE.sample(100, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    steps = []
    schedule = Schedule(epochs=12, batch_size=16)
    surrogate = fit(
        devices, drive, traces, SPACE, SMALL, schedule, seed=3, dataset_hash="abc", on_progress=steps.append
    )
    assert [s.epoch for s in steps] == list(range(1, 13))
    record = surrogate.record
    assert record["history"] == [dataclasses.asdict(s) for s in steps]
    assert sum(record["split"].values()) == 100
    assert (record["seed"], record["dataset_hash"], record["dropped"]) == (3, "abc", 0)
    assert set(record["test_errors"]) == {"count", "nmae", "nmae_scaled"}


def test_the_best_weights_are_kept():
    """A learning rate that ruins the weights leaves the error of its best look."""
    devices, drive = SPACE.sample(100, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    seen = []
    surrogate = fit(
        devices, drive, traces, SPACE, SMALL, Schedule(epochs=30, learning_rate=1.0), on_progress=seen.append
    )
    validation = split(devices, drive).validation
    error = balanced_nmae(surrogate(devices, drive).current, traces.current)[validation].mean()
    assert error == pytest.approx(min(s.validation for s in seen), rel=1e-3)


def test_without_a_validation_set_the_last_weights_are_kept():
    devices, drive = SPACE.sample(100, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    schedule, seen = Schedule(epochs=6, learning_rate=1e-3), []
    with_none = fit(devices, drive, traces, SPACE, SMALL, schedule, fractions=(0.7, 0.0, 0.3), on_progress=seen.append)
    assert with_none.record["split"]["validation"] == 0
    assert all(np.isnan(s.validation) for s in seen)
    assert with_none.record["history"][0]["validation"] is None
    rising = fit(  # the same steps, and a validation error that is best at the end
        devices, drive, traces, SPACE, SMALL, schedule, fractions=(0.7, 0.3, 0.0), on_progress=(steps := []).append
    )
    assert steps[-1].validation == min(s.validation for s in steps)
    np.testing.assert_array_equal(with_none(devices, drive).current, rising(devices, drive).current)
    with pytest.raises(InvalidValue, match=r"patience = 3 waits for a validation error and fractions .* leave no"):
        fit(devices, drive, traces, SPACE, SMALL, Schedule(epochs=6, patience=3), fractions=(0.7, 0.0, 0.3))


def test_another_family_of_drive():
    devices, _ = SPACE.sample(80, seed=0)
    drive = Sine(amplitude=8.0, period=2.0, cycles=1)
    surrogate = fit(devices, drive, StandIn(samples=16)(devices, drive), SPACE, SMALL, Schedule(epochs=5))
    traces = surrogate(devices, drive)
    assert surrogate.cycles == 1
    assert traces.inside.all()
    assert not surrogate(devices, dataclasses.replace(drive, amplitude=7.0)).inside.any()


def test_too_few_devices_are_refused():
    devices, drive = SPACE.sample(20, seed=0)
    with pytest.raises(InvalidValue, match=r"20 usable devices split into .* give at least 40"):
        fit(devices, drive, StandIn(samples=16)(devices, drive), SPACE)


def test_currents_too_large_for_the_published_scaling_still_train():
    devices, drive = SPACE.sample(60, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    large = dataclasses.replace(traces, current=traces.current * 1e9)
    surrogate = fit(devices, drive, large, SPACE, SMALL, Schedule(epochs=2))
    assert surrogate.published is None
    assert surrogate.test_errors["nmae_scaled"] is None


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_bad_schedules_are_refused(change):
    with pytest.raises(InvalidValue, match=next(iter(change))):
        Schedule(**change)


def test_default_epochs_bound_the_steps():
    assert Schedule().epochs_for(320) == 2500
    assert Schedule().epochs_for(100_000) == 100
    deep = Schedule.of(SpectralConfig.of(20_000))
    assert deep.epochs_for(18_000) == 450
    assert deep.epochs_for(3_600) == 625
