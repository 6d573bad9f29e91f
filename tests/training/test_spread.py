"""The spread of members is the standard deviation of the currents that they predict one by one."""

import dataclasses

import numpy as np
import pytest
import torch

from memflux.errors import InvalidValue
from memflux.stand_in import StandIn
from memflux.training.spread import spread_among, spread_of_members


def test_members_of_a_spectral_model(spectral):
    devices, drive = spectral.space.sample(7, seed=3)
    unit = spectral.inputs.scale(spectral.inputs.values(devices, drive))
    module = spectral.module
    with torch.no_grad():
        out = module.members_of(torch.tensor(unit))
        currents = [
            spectral.outputs.unscale((module.mean_shape + o[:, :-1] @ module.basis).numpy(), o[:, -1].numpy())
            for o in out
        ]
    expected = np.std(currents, axis=0, ddof=1)
    np.testing.assert_allclose(spread_of_members(module, spectral.outputs, unit), expected, rtol=1e-9)


def test_other_models_have_none(small_fit):
    surrogate = small_fit("lstm", epochs=1)
    assert spread_of_members(surrogate.module, surrogate.outputs, np.full((2, 5), 0.5)) is None


def test_several_predictors(spectral):
    devices, drive = spectral.space.sample(3, seed=0)
    first = StandIn(samples=16)

    def second(devices, drive):
        traces = first(devices, drive)
        return dataclasses.replace(traces, current=3.0 * traces.current)

    current = first(devices, drive).current
    np.testing.assert_allclose(spread_among([first, second])(devices, drive), np.sqrt(2.0) * np.abs(current))
    with pytest.raises(InvalidValue, match="predictors has 1 entries; give at least two"):
        spread_among([first])
