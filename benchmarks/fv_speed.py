"""Seconds a curve on one core, with the same accurate control for all engines, and the peer DEVSIM in the same run."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import harness
from harness import Row
from memflux import Device, PulseTrain, Solver, Space, Triangle, simulate, vacancy_offset_for
from memflux.errors import MissingDependency

REFERENCE = (
    Path(os.environ.get("MEMFLUX_REFERENCE_DATA", str(harness.ROOT.parent / "shared" / "data"))) / "reference_fv"
)
SAMPLES = 160
BARS = {"petsc": 0.25, "compiled": 0.05}
PEER_BARS = {"petsc": 20.0, "compiled": 100.0}


def engines() -> list[str]:
    """Those that can run here."""
    return ["compiled"] + ["petsc"] * (importlib.util.find_spec("petsc4py") is not None)


def curves(quick: bool) -> Iterator[Row]:
    """seconds a two-cycle curve of 5d-parametric, one core"""
    count = 8 if quick else 60
    devices, drive = Space.preset("5d-parametric").sample(count, seed=4)
    for engine in engines():
        solve = Solver(engine=engine)
        solve(devices[:1], drive.for_batch(count)[:1])  # loads the kernels
        traces = solve(devices, drive)
        assert traces.ok.all()
        assert traces.history is not None
        seconds = np.array([h.wall_time for h in traces.history if h is not None])
        newton = np.array([h.newton_steps for h in traces.history if h is not None])
        note = f"{newton.mean():.0f} Newton steps, {1e6 * seconds.sum() / newton.sum():.0f} us a step, {count} devices"
        yield Row(
            what=f"5d-parametric, {engine}, mean of a two-cycle curve",
            value=seconds.mean(),
            unit="s",
            bar=BARS[engine],
            note=note,
        )


def cold(quick: bool) -> Iterator[Row]:
    """first curve of a cold process with a warm cache"""
    code = (
        "from memflux import Device, Triangle, simulate\n"
        "assert simulate(Device.preset('seed'), Triangle(amplitude=10.0, period=8.0), engine='compiled').ok"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    yield Row(what="cold process, first curve, warm cache", value=time.perf_counter() - began, unit="s", bar=5.0)


def pulses(quick: bool) -> Iterator[Row]:
    """500 reset and 500 set pulses of set S1, each read, one train going on where the other ended"""
    device, count, state, newton = Device.preset("S1"), 50 if quick else 500, None, 0
    simulate(device, PulseTrain(amplitude=1.0, width=1e-3, ramp=1e-3, rest=1e-3), engine="compiled", samples=8)
    began = time.perf_counter()
    for amplitude, width in ((-5.0, 7e-3), (2.0, 3e-3)):
        drive = PulseTrain(amplitude=amplitude, width=width, ramp=3e-3, rest=2e-3, cycles=count)
        trace = simulate(device, drive, engine="compiled", samples=8, at=drive.read_times(), state=state)
        assert trace.ok
        assert trace.history is not None
        state, newton = trace.state, newton + trace.history.newton_steps
    yield Row(
        what=f"S1, compiled, {count} reset and {count} set pulses", value=time.perf_counter() - began, unit="s",
        note=f"{newton / (2 * count):.0f} Newton steps a pulse, its read included",
    )  # fmt: skip


def content(quick: bool) -> Iterator[Row]:
    """the offset of a mean vacancy density, in the CPU time it takes"""
    devices, _ = Space.preset("9d").sample(8 if quick else 50, seed=6)
    given = [devices[i].replace(mean_vacancy_density=5e23) for i in range(len(devices))]
    vacancy_offset_for(given[0])  # loads the kernels
    seconds = []
    for device in given:
        began = time.process_time()
        vacancy_offset_for(device)
        seconds.append(time.process_time() - began)
    yield Row(
        what="9d, offset of a mean vacancy density, median", value=1e3 * float(np.median(seconds)), unit="ms",
        note=f"{len(given)} devices, slowest {1e3 * max(seconds):.0f} ms",
    )  # fmt: skip


def gpu(quick: bool) -> Iterator[Row]:
    """curves a second on a CUDA GPU, where one is present, and the same levels on the CPU"""
    try:
        check_cuda()
    except (ImportError, MissingDependency):
        return
    few, count = 16, 2_000 if quick else 20_000
    devices, drive = Space.preset("5d-parametric").sample(count, seed=4)
    levels = drive.for_batch(count)[0].grid(SAMPLES)[0]
    there, here = (Solver(engine=e).traces(devices[:few], drive[:few], levels) for e in ("cuda", "compiled"))
    worst = max(np.abs(a.current - b.current).max() / np.abs(b.current).max() for a, b in zip(there, here, strict=True))
    yield Row(what="cuda against the CPU on the same levels, over the peak", value=float(worst), unit="1", bar=1e-8)
    began = time.perf_counter()
    solved = float(Solver(engine="cuda")(devices, drive).ok.mean())
    seconds = time.perf_counter() - began
    yield Row(
        what="5d-parametric, cuda, curves a second", value=count / seconds, unit="1/s", bar=1000.0, better="higher",
        note=f"{count} devices, {100 * solved:.2f} % solved",
    )  # fmt: skip


def check_cuda() -> None:
    """ImportError or MissingDependency where no GPU can be used."""
    from memflux.solvers import cuda  # here, because numba-cuda need not be there

    cuda.check_cuda()


def peer(quick: bool) -> Iterator[Row]:
    """DEVSIM on set S2 in the same run"""
    if importlib.util.find_spec("devsim") is None or not REFERENCE.is_dir():
        return
    device, drive = Device.preset("S2"), Triangle(amplitude=10.0, period=8.0, cycles=2)
    ours = {}
    for engine in engines():
        simulate(device, drive, engine=engine)
        began = time.process_time()
        repeats = 10 if engine == "compiled" else 3
        for _ in range(repeats):
            assert simulate(device, drive, engine=engine).ok
        ours[engine] = (time.process_time() - began) / repeats
    script = Path(__file__).parent / "peers" / "devsim_memristor.py"
    command = [sys.executable, str(script), "--set", "S2", "--reference", str(REFERENCE), "--dt", "0.02"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    user = json.loads(done.stdout.strip().splitlines()[-1])["user_cpu_s"]
    yield Row(what="peer DEVSIM, S2, user time", value=user, unit="s", note="no bar: the peer")
    for engine, seconds in ours.items():
        yield Row(
            what=f"S2, {engine}, times faster than DEVSIM", value=user / seconds, unit="1",
            bar=PEER_BARS[engine], better="higher", note=f"{seconds:.4f} s of CPU",
        )  # fmt: skip


if __name__ == "__main__":
    harness.run("fv_speed", [curves, cold, pulses, content, gpu, peer])
