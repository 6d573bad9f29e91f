"""The compact model dressed as a surrogate, for endpoints in tests."""

import dataclasses

import numpy as np

from memflux.contracts import CurveCost
from memflux.device import Devices
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.traces import Traces
from memflux.waveform import Triangle, Waveform

NAME = "5d-parametric"
TOKEN = "a-token-for-tests-only"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompactServed:
    """What `endpoint.Served` asks for; `inside` as a surrogate would say it."""

    model: StandIn = dataclasses.field(default_factory=lambda: StandIn(samples=40))
    space: Space = dataclasses.field(default_factory=lambda: Space.preset(NAME))
    drive: Waveform = dataclasses.field(default_factory=lambda: Triangle(amplitude=10.0, period=8.0, cycles=2))
    cycles: int = 2

    @property
    def samples(self) -> int:
        return self.model.samples

    @property
    def parameters(self) -> tuple[str, ...]:
        return self.model.parameters

    @property
    def test_errors(self) -> dict[str, float]:
        return {"median": 0.01}

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        traces = self.model(devices, drive)
        inside = self.space.contains(devices, drive)
        status = np.where(inside, "solved", "outside the training space").astype(object)
        return dataclasses.replace(traces, inside=inside, status=status)

    def value_and_gradient(self, devices: Devices, drive: Waveform, cost: CurveCost) -> tuple[np.ndarray, np.ndarray]:
        return self.model.value_and_gradient(devices, drive, cost)


def load(folder: object, scale: object) -> CompactServed:
    """A loader that needs no folder."""
    return CompactServed()
