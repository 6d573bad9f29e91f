"""Small surrogates of the compact model, trained once a test run."""

import dataclasses

import pytest


@pytest.fixture(scope="session")
def small_fit():
    """A function: surrogate of `count` compact devices of a space, trained for a second or so."""
    from memflux.compact import CompactModel
    from memflux.space import Space
    from memflux.training.loop import fit
    from memflux.training.lstm import LstmConfig
    from memflux.training.schedule import Schedule
    from memflux.training.spectral import SpectralConfig

    configs = {
        "spectral": SpectralConfig(components=8, members=2, width=16, layers=2),
        "lstm": LstmConfig(units=12),
        "lstm-peaks": LstmConfig(units=8, layers=2, output="peaks"),
    }
    schedules = {"spectral": Schedule(epochs=60)}

    def train(model="spectral", space="5d-parametric", count=120, seed=0, epochs=None):
        box = Space.preset(space)
        devices, drive = box.sample(count, seed=0)
        traces = CompactModel(samples=16)(devices, drive)
        schedule = schedules.get(model, Schedule(epochs=15, batch_size=32, learning_rate=5e-3, weight_decay=0.0))
        schedule = schedule if epochs is None else dataclasses.replace(schedule, epochs=epochs)
        return fit(devices, drive, traces, box, configs[model], schedule, seed=seed)

    return train


@pytest.fixture(scope="session")
def spectral(small_fit):
    """One trained spectral surrogate."""
    return small_fit("spectral")


@pytest.fixture(scope="session", params=["spectral", "lstm", "lstm-peaks"])
def surrogate(request, small_fit):
    """One trained surrogate of each model; the contract suite runs on all of them."""
    return small_fit(request.param)
