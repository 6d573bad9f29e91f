"""Small surrogates of the compact model, trained once a test run."""

import pytest


@pytest.fixture(scope="session")
def small_fit():
    """A function: surrogate of `count` compact devices of a space, trained for a second or so."""
    from memflux.compact import CompactModel
    from memflux.space import Space
    from memflux.training.loop import Schedule, fit
    from memflux.training.spectral import SpectralConfig

    configs = {"spectral": SpectralConfig(components=8, members=2, width=16, layers=2)}

    def train(model="spectral", space="5d-parametric", count=120, seed=0, epochs=60):
        box = Space.preset(space)
        devices, drive = box.sample(count, seed=0)
        traces = CompactModel(samples=16)(devices, drive)
        return fit(devices, drive, traces, box, configs[model], Schedule(epochs=epochs), seed=seed)

    return train


@pytest.fixture(scope="session", params=["spectral"])
def surrogate(request, small_fit):
    """One trained surrogate of each model; the contract suite runs on all of them."""
    return small_fit(request.param)
