"""Numerical error of the default control: space, time, orders, and smoothness in the device.

Truth is the same model on a mesh with 4 times the cells and 4 times the time levels, itself checked
against 8 times. Errors are those of |I| wherever it exceeds 1 % of its peak, over both cycles.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

import harness
from harness import Row
from memflux import Device, Space
from memflux.solvers import batch, march
from memflux.solvers.control import PhaseSteps, SolverControl
from memflux.solvers.lanes import allocate
from memflux.solvers.solver import corner_times
from memflux.solvers.system import build_system
from memflux.waveform import Waveform

ACCURATE = SolverControl.preset("accurate")
SAMPLES = 160


def curve(
    device: Device, drive: Waveform, mesh: float = 1.0, levels: int = 1, control: SolverControl = ACCURATE
) -> np.ndarray:
    """I [A] at the samples of the default grid, with `mesh` times the cells and `levels` times the levels."""
    assert isinstance(control.steps, PhaseSteps)
    steps = dataclasses.replace(control.steps, local_error=control.steps.local_error / levels**2)
    control = dataclasses.replace(control.refined(mesh), steps=steps)
    lanes = allocate(build_system(device, control).x.size, 1)
    times, hidden = drive.grid(SAMPLES * levels)[0], corner_times(drive, SAMPLES * levels)
    job = batch.Job(device=device, drive=drive, recorded=times, hidden=hidden)
    trace = batch.solve_device(job, control, march.proceed, lanes)
    assert trace.ok, trace.status
    return trace.current[::levels]


def error(current: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Relative error of |I| [%] where |I| counts."""
    counts = np.abs(truth) > 0.01 * np.abs(truth).max()
    return 100 * np.abs(np.abs(current[counts]) / np.abs(truth[counts]) - 1)


def accuracy(quick: bool) -> Iterator[Row]:
    """abs(I) of 200 devices from 9d against 4x nodes and 4x time levels"""
    count = 12 if quick else 200
    devices, drives = Space.preset("9d").sample(count, seed=1)
    whole, space, time, check = [], [], [], []
    for i in range(count):
        device, drive = devices[i], drives[i]
        truth = curve(device, drive, 4, 4)
        whole.append(error(curve(device, drive), truth))
        space.append(error(curve(device, drive, 1, 4), truth))
        time.append(error(curve(device, drive, 4, 1), truth))
        if i < count // 10:
            check.append(error(truth, curve(device, drive, 8, 8)))
    nodes = build_system(devices[0], ACCURATE).x.size
    yield Row(what="nodes of the default mesh", value=nodes, unit="1", bar=300)
    bars = {"median": 0.2, "95th percentile": 1.0, "worst": 3.0}
    for name, errors, limits in (
        ("default control", whole, bars),
        ("share of space", space, {}),
        ("share of time", time, {}),
        ("the truth against 8x", check, {}),
    ):
        all_of_them = np.concatenate(errors)
        values = (np.median(all_of_them), np.percentile(all_of_them, 95), all_of_them.max())
        for kind, value in zip(bars, values, strict=True):
            yield Row(
                what=f"{name}, |I| error, {kind}",
                value=value,
                unit="%",
                bar=limits.get(kind),
                note=f"{len(errors)} devices",
            )


def orders(quick: bool) -> Iterator[Row]:
    """observed orders in space and time, full sweep, cycle mean and largest"""
    devices, drives = Space.preset("9d").sample(4 if quick else 12, seed=2)
    plain = dataclasses.replace(ACCURATE, steps=PhaseSteps(local_error=np.inf, crossing_parts=1))
    kinds = {
        "space": [(m, 2) for m in (1, 2, 8)],
        "time": [(1, n) for n in (2, 4, 16)],
    }
    for kind, grids in kinds.items():
        mean, largest = [], []
        for i in range(len(devices)):
            coarse, fine, truth = (curve(devices[i], drives[i], m, n, plain) for m, n in grids)
            a, b = error(coarse, truth), error(fine, truth)
            # against 8 times as fine a truth, order 2 shows as (1 - 1/64)/(1/4 - 1/64) = 4.2
            mean.append(a.mean() / b.mean())
            largest.append(a.max() / b.max())
        bar = 1.8 if kind == "space" else 1.5
        yield Row(
            what=f"observed order in {kind}, cycle mean",
            value=np.log2(np.median(mean)),
            unit="1",
            bar=bar,
            better="higher",
        )
        yield Row(
            what=f"observed order in {kind}, largest error",
            value=np.log2(np.median(largest)),
            unit="1",
            better="higher",
        )


def smoothness(quick: bool) -> Iterator[Row]:
    """20 parameter lines of 25 points, residual of a local cubic"""
    space = Space.preset("5d-parametric")
    lines = 5 if quick else 20
    devices, drive = space.sample(lines, seed=3)
    wave = drive.for_batch(lines)
    names = space.names
    worst, mean = 0.0, []
    for i in range(lines):
        name, device = names[i % len(names)], devices[i]
        assert isinstance(device, Device)
        middle = getattr(device, name)
        log = name.startswith("mobility")
        steps = np.linspace(-0.5, 0.5, 25) * 0.02  # 2 % of the range
        low, high = {"vacancy_offset": (0.28, 0.32)}.get(name, (0.05, 0.17))
        values = middle * 100.0**steps if log else middle + (high - low) * steps
        currents = np.stack([curve(device.replace(**{name: float(v)}), wave[i]) for v in values])
        # a cubic fitted to five neighbours misses the middle one by 6/70 of their fourth difference
        left = np.abs(np.diff(currents, n=4, axis=0)) * 6 / 70
        left /= np.abs(currents).max()
        worst, _ = max(worst, float(left.max())), mean.append(float(left.mean()))
    yield Row(what="smoothness, residual of a local cubic over the peak, worst", value=worst, unit="1", bar=1e-4)
    yield Row(
        what="smoothness, residual of a local cubic over the peak, mean", value=float(np.mean(mean)), unit="1", bar=1e-5
    )


if __name__ == "__main__":
    harness.run("fv_accuracy", [accuracy, orders, smoothness])
