"""Shares of devices solved, slowest against median in CPU time, memory. A process a core, compiled engine."""

import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

import harness
from harness import Row
from memflux import Solver, Space

CHUNK = 250


def chunk(job: tuple[str, int, int]) -> tuple[list[str], list[float], list[int], int, float]:
    """Status classes, CPU seconds, Newton steps of one chunk; curves that are ok and not finite; memory [MiB]."""
    space, first, stop = job
    devices, drives = Space.preset(space).sample(stop, seed=5)
    solve = Solver(engine="compiled")
    classes, seconds, newton, broken = [], [], [], 0
    for i in range(first, stop):
        began = time.process_time()
        traces = solve(devices[i : i + 1], drives[i : i + 1])
        seconds.append(time.process_time() - began)
        trace = traces[0]
        assert trace.history is not None
        classes.append(trace.status_class)
        newton.append(trace.history.newton_steps)
        broken += trace.ok and not np.isfinite(trace.current).all()
    return classes, seconds, newton, broken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def robustness(quick: bool) -> Iterator[Row]:
    """20,000 devices from 9d, 2,000 from 16d, 500 from 16d-raw"""
    cores = len(os.sched_getaffinity(0))
    memory: list[float] = []
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(chunk, [("9d", 0, 2)] * cores)  # loads the kernels
        for space, count, bar in (("9d", 20_000, 99.95), ("16d", 2_000, 99.0), ("16d-raw", 500, None)):
            total = count // 20 if quick else count
            jobs = [(space, k, min(k + CHUNK, total)) for k in range(0, total, CHUNK)]
            found = pool.map(chunk, jobs, chunksize=1)
            classes = Counter(c for f in found for c in f[0])
            seconds = np.array([s for f in found for s in f[1]])
            newton = np.array([n for f in found for n in f[2]])
            memory += [f[4] for f in found]
            note = ", ".join(f"{c} {n}" for c, n in classes.most_common())
            pace = f"median {np.median(seconds):.3f} s, {np.median(newton):.0f} Newton steps; most {newton.max()}"
            yield Row(
                what=f"{space}, solved",
                value=100 * classes["solved"] / total,
                unit="%",
                bar=bar,
                better="higher",
                note=note,
            )
            yield Row(what=f"{space}, solved but not finite", value=sum(f[3] for f in found), unit="1", bar=0)
            yield Row(
                what=f"{space}, slowest solve over the median", value=seconds.max() / np.median(seconds), unit="1",
                bar=20.0, note=pace,
            )  # fmt: skip
    half = len(memory) // 2
    growth = max(memory[half:]) - max(memory[:half])
    yield Row(
        what="memory of a worker, last half less first half",
        value=growth,
        unit="MiB",
        bar=30.0,
        note=f"peak {max(memory):.0f} MiB",
    )


if __name__ == "__main__":
    harness.run("fv_robustness", [robustness])
