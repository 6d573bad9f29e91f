"""From predictors to compact models."""

import dataclasses

import numpy as np
import pytest

from memflux.analysis.compact_fit import DeviceFit, fit_device, loops_of
from memflux.analysis.memristor_march import march
from memflux.compact import IonDrift
from memflux.device import Device, Devices
from memflux.errors import InvalidValue, SolveFailed
from memflux.stand_in import StandIn
from memflux.traces import Traces
from memflux.waveform import Triangle, Waveform
from memristors import EXAMPLES

DEVICE = Device.preset("seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compact:
    """A predictor that is an ion-drift device whatever it is asked of."""

    samples: int = 160
    failing: bool = False

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        time, voltage = drive.grid(self.samples)
        model = dataclasses.replace(EXAMPLES[4], polarity=-1)
        current = march(model, voltage, drive.periods() / self.samples, 0.0, 0.4).current
        status = np.full(len(devices), "failed" if self.failing else "ok")
        traces = Traces.of(time=time, voltage=voltage, current=current, period=drive.periods(), cycles=drive.cycles)
        return dataclasses.replace(traces, status_class=status) if self.failing else traces


def test_the_model_behind_a_predictor_is_found_and_chosen(tmp_path):
    found = fit_device(
        Compact(), DEVICE, (0.3, 1.0), (0.1, 1.0), "sine", points=2, models=("mms", "ion-drift"), generations=40
    )
    assert found.fit.model["model"] == "ion-drift"
    assert found.fit.model["polarity"] == -1
    assert found.tried["ion-drift"]["validation"] < 1e-3 < found.tried["mms"]["validation"]
    assert found.fit.start == pytest.approx(0.4, abs=0.02)
    np.testing.assert_allclose(found.fit.amplitudes, [0.3, 1.0])
    assert found.periods == (0.1, 1.0)
    found.to_json(tmp_path / "fit.json")
    read = DeviceFit.from_json(tmp_path / "fit.json")
    assert isinstance(read.fit.compact, IonDrift)
    assert read.notes() == found.notes()
    assert any("0.3 to 1 V" in line for line in read.notes())


def test_loops_are_all_that_the_predictor_says():
    drive = Triangle(amplitude=np.array([5.0, 10.0]), period=np.array([8.0, 4.0]), cycles=2)
    loops, outside = loops_of(StandIn(samples=40), DEVICE, drive)
    assert outside == 0  # or unknown
    assert loops.source.shape == (2, 80)
    np.testing.assert_allclose(loops.frequency, [0.0625, 0.125])
    traces = StandIn(samples=40)(Devices.repeat(DEVICE, 2), drive)
    np.testing.assert_array_equal(loops.current, traces.current[:, :-1])


def test_a_predictor_that_extrapolates_is_told():
    def far(devices, drive):
        return dataclasses.replace(Compact()(devices, drive), inside=np.zeros(len(devices), bool))

    found = fit_device(far, DEVICE, (0.3, 1.0), (0.1, 1.0), points=2, models=("ion-drift",), generations=2)
    assert found.outside == 5
    assert "The predictor extrapolated for 5 of the drives." in found.notes()


def test_a_predictor_that_fails_is_told():
    with pytest.raises(SolveFailed, match="drive 1 of 4 failed"):
        fit_device(Compact(failing=True), DEVICE, (0.3, 1.0), (0.1, 1.0), points=2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((1.0, 0.3), (0.1, 1.0)), {}, "run downwards"),
        (((1.0, 1.0), (1.0, 1.0)), {}, "one drive alone"),
        (((0.3, 1.0), (0.1, np.nan)), {}, "not finite"),
        (((0.3, 1.0), (0.1, 1.0)), {"models": ("mns",)}, "Did you mean 'mms'"),
        (((0.3, 1.0), (0.1, 1.0)), {"models": ()}, "no models"),
        (((0.3, 1.0), (0.1, 1.0)), {"waveform": "square"}, "waveform"),
        (((0.3, 1.0), (0.1, 1.0)), {"points": 1}, "points"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, options, message):
    with pytest.raises(InvalidValue, match=message):
        fit_device(Compact(), DEVICE, *arguments, **options)
