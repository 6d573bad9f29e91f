"""An LSTM trained on random drives and asked for families of drives that it never saw, on fresh devices.

200 devices each under sines, triangles and trains of pulses, two cycles each, of amplitudes and periods
over the whole ranges; training saw neither these families nor a second cycle.
"""

from collections.abc import Iterator

import numpy as np

import harness
import published
from harness import Row
from memflux import Devices, PulseTrain, Sine, Solver, Space, Triangle
from memflux.metrics import nmae
from memflux.platform.campaigns.campaign import SAMPLES
from memflux.training.lstm import LstmConfig
from memflux.waveform import Waveform

SPACE = Space.preset("5d-any-drive")
COUNT, EPOCHS = 6000, 60
ASKED, SEED = 200, 77


def asked(count: int) -> Iterator[tuple[str, Devices, Waveform]]:
    """Devices and drives, `count` of each family."""
    devices, drawn = SPACE.sample(3 * count, SEED)
    sines, triangles, pulses = (slice(k * count, (k + 1) * count) for k in range(3))
    for name, kind, rows in (("sines", Sine, sines), ("triangles", Triangle, triangles)):
        yield name, devices[rows], kind(amplitude=drawn.amplitude[rows], period=drawn.period[rows], cycles=2)
    random = np.random.default_rng(SEED)
    amplitude = drawn.amplitude[pulses] * random.choice([-1.0, 1.0], count)
    width = random.uniform(0.05, 0.3, count)  # the rest of a cycle waits for the write pulse, and then for the read
    rest = 0.5 * (0.82 - width)
    cycle = drawn.period[pulses]
    train = PulseTrain(
        amplitude=amplitude, width=width * cycle, ramp=0.02 * cycle, rest=rest * cycle,
        read_voltage=0.5, read_width=0.1 * cycle, read_ramp=0.02 * cycle, cycles=2,
    )  # fmt: skip
    yield "pulse trains", devices[pulses], train


def any_drive(quick: bool) -> Iterator[Row]:
    """nMAE in A of drives never seen"""
    count, epochs = (400, 5) if quick else (COUNT, EPOCHS)
    surrogate = published.trained("5d-any-drive", count, LstmConfig.any_drive(), epochs)
    solver = Solver(engine="compiled", samples=SAMPLES)
    every = []
    for name, devices, drive in asked(20 if quick else ASKED):
        truth, answer = solver(devices, drive), surrogate(devices, drive)
        assert answer.inside is not None
        assert answer.inside[truth.ok].all(), name
        errors = 100 * nmae(answer.current[truth.ok], truth.current[truth.ok])
        every.append(errors)
        note = f"median {np.median(errors):.3f} %, 99 % {np.percentile(errors, 99):.3f} %; {truth.ok.sum()} solved"
        yield Row(what=f"{name}, mean", value=errors.mean(), unit="%", note=note)
    note = f"{count} random drives, {epochs} epochs, {surrogate.record['seconds'] / 60:.0f} min of one thread"
    yield Row(what="all three, mean", value=np.concatenate(every).mean(), unit="%", bar=2.0, note=note)
    seen = 100 * surrogate.test_errors["nmae"]["mean"]
    yield Row(what="2,000 fresh random drives, mean", value=seen, unit="%")


if __name__ == "__main__":
    harness.run("surrogate_any_drive", [any_drive])
