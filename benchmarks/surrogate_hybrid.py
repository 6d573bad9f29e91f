"""The hybrid network on the set of its paper: 1,000 devices of 16d, 70/30, five seeds (Zamankhani, sections 5 and 6).

No scaling of the output is published, and peak currents span 16 decades: the claim is on shapes,
each curve over its own peak, beside what needs no network. Settings were chosen on other devices
(those from 1,000 on), so nothing is held out of the 70 %, and the last weights are kept. Of the times
every fourth is learned (the paper keeps a random fifth). The split follows from each device, so every
size of set has the same test part.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import harness
from harness import Row
from memflux import Space
from memflux.dataset import Dataset
from memflux.device import Devices
from memflux.metrics import nmae
from memflux.solvers.solver import Solver
from memflux.stand_in import StandIn
from memflux.traces import Traces
from memflux.training.data import split
from memflux.training.hybrid import HybridConfig
from memflux.training.loop import fit
from memflux.training.scaling import PeakScaling
from memflux.training.schedule import Schedule
from memflux.training.surrogate import Surrogate
from memflux.waveform import Waveform

SPACE = Space.preset("16d")
COUNT, QUICK_COUNT = 1000, 160
SEEDS = 5
FRACTIONS = (0.7, 0.0, 0.3)
SAMPLES = 40  # a cycle
DATASETS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memflux" / "datasets"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curves:
    """The solved devices of the set, in the order of their draw."""

    devices: Devices
    drive: Waveform
    traces: Traces
    source: str
    drawn: np.ndarray  # [B] place in the draw
    unit: np.ndarray  # [B, P] scaled parameters
    shape: np.ndarray  # [B, T] current over its peak
    log_peak: np.ndarray  # [B] log10(peak / A)
    known: np.ndarray  # [B] the 70 %
    test: np.ndarray  # [B] the 30 %


@functools.cache
def curves(quick: bool) -> Curves:
    """From the data set where it is there, else solved; the compact model where it is quick."""
    count = QUICK_COUNT if quick else COUNT
    devices, drive = SPACE.sample(count, seed=0)
    folder = DATASETS / "16d"
    if quick:
        traces, source = StandIn(samples=SAMPLES)(devices, drive), "compact model"
    elif folder.is_dir() and len(dataset := Dataset.open(folder)) >= count:
        assert np.array_equal(dataset.index[:count], np.arange(count)), f"{folder} is not whole"
        devices, drive, traces = dataset.devices[:count], dataset.drive[:count], dataset.traces[:count]
        source = "data set 16d"
    else:
        traces, source = Solver(engine="compiled")(devices, drive), "engine compiled"
    drawn = np.flatnonzero(traces.ok)
    devices, drive, traces = devices[drawn], drive.for_batch(count)[drawn], traces[drawn].on_grid(SAMPLES)
    peak = np.abs(traces.current).max(axis=1)
    parts = split(devices, drive, FRACTIONS)
    return Curves(
        devices=devices,
        drive=drive,
        traces=traces,
        source=f"{source}, {drawn.size} of {count} solved",
        drawn=drawn,
        unit=SPACE.coordinates(devices, drive),
        shape=traces.current / peak[:, None],
        log_peak=np.log10(peak),
        known=parts.train,
        test=parts.test,
    )


@functools.cache
def trained(quick: bool, size: int, seed: int) -> Surrogate:
    """The hybrid, trained on the first `size` draws."""
    data, config = curves(quick), HybridConfig()
    schedule = Schedule.of(config)
    if quick:
        schedule = dataclasses.replace(schedule, epochs=4)
    rows = data.drawn < size
    return fit(
        data.devices[rows], data.drive[rows], data.traces[rows], SPACE, config, schedule, seed=seed, fractions=FRACTIONS
    )


def answers(quick: bool, size: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shapes [N, T] and log10 peaks [N] of the test part, a seed each."""
    data = curves(quick)
    devices, drive = data.devices[data.test], data.drive[data.test]
    result = []
    for seed in range(2 if quick else SEEDS):
        surrogate = trained(quick, size or (QUICK_COUNT if quick else COUNT), seed)
        assert isinstance(surrogate.outputs, PeakScaling)
        unit = surrogate.inputs.scale(surrogate.inputs.values(devices, drive))
        voltage = surrogate.voltages.scale(data.traces.voltage[data.test])
        with torch.no_grad():
            shape, log_peak = surrogate.module(torch.tensor(unit), torch.tensor(voltage))
        logs = surrogate.outputs.mean + surrogate.outputs.deviation * log_peak.numpy()
        result.append((shape.numpy(), logs / np.log(10)))
    return result


def nearest(data: Curves) -> np.ndarray:
    """Of every test device, the place of the known one nearest to it in scaled parameters [N]."""
    distance = ((data.unit[data.test][:, None] - data.unit[data.known][None]) ** 2).sum(axis=2)
    return np.flatnonzero(data.known)[distance.argmin(axis=1)]


def spread(values: list[float]) -> str:
    """The range over the seeds."""
    return f"{len(values)} seeds, {min(values):.3g} to {max(values):.3g}"


def shapes(quick: bool) -> Iterator[Row]:
    """per-curve scaled MSE of the hybrid, the mean curve and the nearest neighbour; peaks and nMAE beside"""
    data = curves(quick)
    truth = data.shape[data.test]
    baseline = float(((data.shape[data.known].mean(axis=0) - truth) ** 2).mean())
    near = nearest(data)
    note = f"{data.source}; {data.known.sum()} known, {data.test.sum()} test"
    yield Row(what="per-curve scaled MSE, mean curve", value=baseline, unit="1", note=note)
    yield Row(what="per-curve scaled MSE, nearest neighbour", value=((data.shape[near] - truth) ** 2).mean(), unit="1")
    found = answers(quick)
    errors = [float(((shape - truth) ** 2).mean()) for shape, _ in found]
    yield Row(
        what="per-curve scaled MSE, hybrid, mean over seeds",
        value=np.mean(errors),
        unit="1",
        bar=baseline / 5,
        note=f"{spread(errors)}; {baseline / np.mean(errors):.3g} times below the mean curve",
    )
    together = float(((np.mean([shape for shape, _ in found], axis=0) - truth) ** 2).mean())
    yield Row(
        what="per-curve scaled MSE, mean answer of the seeds",
        value=together,
        unit="1",
        bar=baseline / 5,
        note=f"an ensemble of {len(found)}; {baseline / together:.3g} times below the mean curve",
    )
    logs = data.log_peak[data.test]
    of_peaks = [float(np.abs(log_peak - logs).mean()) for _, log_peak in found]
    yield Row(
        what="error of log10(peak), nearest neighbour", value=np.abs(data.log_peak[near] - logs).mean(), unit="decades"
    )
    yield Row(what="error of log10(peak), hybrid", value=np.mean(of_peaks), unit="decades", note=spread(of_peaks))
    current = data.traces.current[data.test]
    in_amperes = [float(np.mean(nmae(shape * 10.0 ** log_peak[:, None], current))) for shape, log_peak in found]
    yield Row(
        what="nMAE in A, nearest neighbour",
        value=np.mean(nmae(data.traces.current[near], current)),
        unit="1",
        note="at most 0.5 for a curve of the wrong size",
    )
    yield Row(what="nMAE in A, hybrid", value=np.mean(in_amperes), unit="1", note=spread(in_amperes))


def published(quick: bool) -> Iterator[Row]:
    """the published pair, MSE and MAE in one global min-max, and a constant predictor"""
    data = curves(quick)
    low, high = data.traces.current.min(), data.traces.current.max()
    scaled = (data.traces.current - low) / (high - low)
    truth = scaled[data.test]
    constant = scaled[data.known].mean() - truth
    off = [(s * 10.0 ** p[:, None] - low) / (high - low) - truth for s, p in answers(quick)]
    squares, sizes = ([float(f(x).mean()) for x in off] for f in (np.square, np.abs))
    for kind, values, beside, printed in (
        ("MSE", squares, np.square(constant).mean(), 0.002),
        ("MAE", sizes, np.abs(constant).mean(), 0.0029),
    ):
        note = f"published {printed}; {spread(values)}"
        yield Row(what=f"{kind} in one global min-max, hybrid", value=np.mean(values), unit="1", note=note)
        yield Row(what=f"{kind} in one global min-max, constant predictor", value=beside, unit="1")


def length(quick: bool) -> Iterator[Row]:
    """per-curve scaled MSE against prediction length"""
    data = curves(quick)
    truth = data.shape[data.test]
    mean = data.shape[data.known].mean(axis=0)
    found = answers(quick)
    for percent in (25, 50, 75, 100):
        first = slice(1 + percent * (truth.shape[1] - 1) // 100)
        values = [float(((shape - truth)[:, first] ** 2).mean()) for shape, _ in found]
        yield Row(
            what=f"per-curve scaled MSE, first {percent} % of two cycles",
            value=np.mean(values),
            unit="1",
            note=f"{spread(values)}; mean curve {((mean - truth)[:, first] ** 2).mean():.3g}",
        )


def size(quick: bool) -> Iterator[Row]:
    """per-curve scaled MSE against size of the data set"""
    data = curves(quick)
    truth = data.shape[data.test]
    for count in (QUICK_COUNT // 2, QUICK_COUNT) if quick else (125, 250, 500, COUNT):
        values = [float(((shape - truth) ** 2).mean()) for shape, _ in answers(quick, count)]
        known = int((data.known & (data.drawn < count)).sum())
        yield Row(
            what=f"per-curve scaled MSE, set of {count}",
            value=np.mean(values),
            unit="1",
            note=f"{known} known; {spread(values)}",
        )


if __name__ == "__main__":
    harness.run("surrogate_hybrid", [shapes, published, length, size])
