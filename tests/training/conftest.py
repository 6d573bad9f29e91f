"""Small surrogates of the compact model, trained once a test run."""

import dataclasses

import pytest


@pytest.fixture(scope="session")
def small_fit():
    """A function: surrogate of `count` compact devices of a space, trained for a second or so."""
    from memflux.space import Space
    from memflux.stand_in import StandIn
    from memflux.training.hybrid import HybridConfig
    from memflux.training.loop import fit
    from memflux.training.lstm import LstmConfig
    from memflux.training.neural_ode import NeuralOdeConfig
    from memflux.training.schedule import Schedule
    from memflux.training.spectral import SpectralConfig

    configs = {
        "spectral": SpectralConfig(components=8, members=2, width=16, layers=2),
        "lstm": LstmConfig(units=12),
        "lstm-peaks": LstmConfig(units=8, layers=2, output="peaks"),
        "hybrid": HybridConfig(filters=4, kernel=3, units=8, width=16),
        "neural_ode": NeuralOdeConfig(latent=3, width=12, stride=2),
    }

    def train(model="spectral", space="5d-parametric", count=120, seed=0, epochs=None):
        box = Space.preset(space)
        devices, drive = box.sample(count, seed=0)
        traces = StandIn(samples=16)(devices, drive)
        few = 60 if model == "spectral" else 15
        schedule = dataclasses.replace(Schedule.of(configs[model]), epochs=epochs or few, batch_size=32)
        return fit(devices, drive, traces, box, configs[model], schedule, seed=seed)

    return train


@pytest.fixture(scope="session")
def spectral(small_fit):
    """One trained spectral surrogate."""
    return small_fit("spectral")


@pytest.fixture(scope="session", params=["spectral", "lstm", "lstm-peaks", "hybrid", "neural_ode"])
def surrogate(request, small_fit):
    """One trained surrogate of each model; the contract suite runs on all of them."""
    return small_fit(request.param)
