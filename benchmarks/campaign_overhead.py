"""Campaigns: what they cost beyond the solves, how many curves an hour they make, and what a million devices take."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import harness
from harness import ROOT, Row
from memflux.contracts import Predictor
from memflux.platform.campaigns.campaign import Campaign, shard_size_for
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.campaigns.runner import Progress, run
from memflux.solvers.solver import Solver
from memflux.traces import Traces

WORKERS = 2
MEMFLUX = ROOT / ".venv" / "bin" / "memflux"


def petsc(quick: bool) -> Iterator[Row]:
    """PETSc engine: overhead and rate"""
    yield from _against_bare("petsc", 64 if quick else 2000, 24_000, steady_bar=0.95)


def compiled(quick: bool) -> Iterator[Row]:
    """compiled engine: overhead and rate"""
    yield from _against_bare("compiled", 256 if quick else 10_000, 100_000, whole_bar=0.90)


def _against_bare(
    engine: str, count: int, hourly: float, steady_bar: float | None = None, whole_bar: float | None = None
) -> Iterator[Row]:
    """A campaign on Ray between two halves of the same devices solved by bare processes."""
    campaign = Campaign(space="9d", count=count, engine=engine, shard_size=shard_size_for(count, engine))
    half = count // 2
    first = _bare(campaign, 0, half)
    began = time.perf_counter()
    seen: list[tuple[float, Progress]] = []
    with tempfile.TemporaryDirectory() as folder:
        run(campaign, folder, RayExecutor(workers=WORKERS), lambda p: seen.append((time.perf_counter(), p)))
    whole = count / (time.perf_counter() - began)
    second = _bare(campaign, half, count - half)
    bare = count / (half / first + (count - half) / second)
    (at, start), (end, last) = seen[1], seen[-1]
    steady = (last.made - start.made) / (end - at)
    note = f"{count} devices of 9d; bare {first:.3g} and {second:.3g}/s before and after, {last.failed} failed"
    yield Row(what=f"{engine}: two bare processes", value=bare, unit="devices/s", note=note)
    yield Row(
        what=f"{engine}: campaign after its first shard, of the bare rate",
        value=steady / bare,
        unit="1",
        bar=steady_bar,
        better="higher",
        note=f"{steady:.4g} devices/s",
    )
    yield Row(
        what=f"{engine}: campaign with start-up, of the bare rate",
        value=whole / bare,
        unit="1",
        bar=whole_bar,
        better="higher",
        note=f"{whole:.4g} devices/s; first shard after {at - began:.1f} s",
    )
    yield Row(
        what=f"{engine}: solved curves an hour on {WORKERS} cores, with start-up",
        value=3600 * whole * (1 - last.failed / count),
        unit="curves/h",
        bar=hourly,
        better="higher",
        note="published: 360 on three machines",
    )


def _bare(campaign: Campaign, first: int, count: int) -> float:
    """Devices a second of two processes that solve their half in the batches of a campaign and keep nothing."""
    context = multiprocessing.get_context("spawn")
    shares = [(first, count // 2), (first + count // 2, count - count // 2)]
    pipes = [context.Pipe() for _ in shares]
    workers = [
        context.Process(target=_solve_share, args=(campaign, *share, pipe[1]))
        for share, pipe in zip(shares, pipes, strict=True)
    ]
    for worker in workers:
        worker.start()
    for pipe, _ in pipes:
        pipe.recv()
    for pipe, _ in pipes:
        pipe.send("go")
    rate = sum(share[1] / pipe.recv() for share, (pipe, _) in zip(shares, pipes, strict=True))
    for worker in workers:
        worker.join()
    return rate


def _solve_share(campaign: Campaign, first: int, count: int, pipe: Connection) -> None:
    solver = Solver(control=campaign.control, engine=campaign.engine, samples=campaign.samples)
    solver(*campaign.sample(1))
    pipe.send("ready")
    pipe.recv()
    began = time.perf_counter()
    for at in range(first, first + count, campaign.shard_size):
        solver(*campaign.sample(min(campaign.shard_size, first + count - at), first=at))
    pipe.send(time.perf_counter() - began)


def nothing(campaign: Campaign) -> Predictor:
    """A solver that answers zeros."""

    def predict(devices, drive):
        time_, voltage = drive.grid(campaign.samples)
        zeros = np.zeros((len(devices), time_.shape[-1]))
        return Traces.of(time=time_, voltage=voltage, current=zeros, period=drive.periods(), cycles=drive.cycles)

    return predict


def no_op(quick: bool) -> Iterator[Row]:
    """no-op campaign: devices a second"""
    count = 10_000 if quick else 100_000
    campaign = Campaign(space="9d", count=count, engine="compact", shard_size=shard_size_for(count, "compact"))
    with tempfile.TemporaryDirectory() as folder:
        made = run(campaign, folder, RayExecutor(workers=WORKERS), solver_factory=nothing)
    yield Row(
        what="no-op campaign, rows of 321 samples",
        value=made.rate,
        unit="devices/s",
        bar=5000,
        better="higher",
        note=f"{count} devices, {campaign.shard_size} a shard, start-up of the workers included",
    )


def million(quick: bool) -> Iterator[Row]:
    """a million no-op devices: memory of the driver, status"""
    count = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        driver = subprocess.run(
            [sys.executable, __file__, "--driver", folder, str(count)], check=True, capture_output=True, text=True
        )
        told = json.loads(driver.stdout)
        yield Row(
            what=f"{count:g} no-op devices: peak memory of the driver",
            value=told["peak_mb"],
            unit="MB",
            bar=1000,
            note=f"{told['rate']:.0f} devices/s, {told['shards']} shards",
        )
        began = time.perf_counter()
        status = subprocess.run(
            [MEMFLUX, "campaign", "status", folder, "--json"], check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        assert json.loads(status.stdout)["done"] == count
        size = sum(path.stat().st_size for path in Path(folder).glob("*.parquet")) / 1e6
        yield Row(
            what=f"{count:g} no-op devices: memflux campaign status, the whole command",
            value=seconds,
            unit="s",
            bar=2.0,
            note=f"{size:.0f} MB on disk",
        )
        began = time.perf_counter()
        again = subprocess.run(
            [sys.executable, __file__, "--driver", folder, str(count)], check=True, capture_output=True, text=True
        )
        assert json.loads(again.stdout)["made"] == 0
        yield Row(
            what=f"{count:g} no-op devices: running the finished campaign again, every checksum",
            value=time.perf_counter() - began,
            unit="s",
        )


def _driver(folder: str, count: int) -> None:
    """The driver of a large no-op campaign, in a process of its own whose memory can be told."""
    campaign = Campaign(
        space="9d", count=count, samples=8, engine="compact", shard_size=shard_size_for(count, "compact")
    )
    made = run(campaign, folder, RayExecutor(workers=WORKERS), solver_factory=nothing)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    shards = -(-count // campaign.shard_size)
    print(json.dumps({"peak_mb": peak, "rate": made.rate, "made": made.made, "shards": shards}))


def mpi(quick: bool) -> Iterator[Row]:
    """MPI: two ranks, of which the first also hands out the work"""
    count = 128 if quick else 2000
    mpiexec = MEMFLUX.with_name("mpiexec")
    if not mpiexec.exists():
        return
    campaign = Campaign(space="9d", count=count, engine="compiled", shard_size=shard_size_for(count, "compiled"))
    bare = _bare(campaign, 0, count)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "c.yaml"
        file.write_text(campaign.to_yaml())
        words = [mpiexec, "-n", str(WORKERS), MEMFLUX, "campaign", "run", file, "--out", f"{folder}/d"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        told = subprocess.run(
            [*words, "--executor", "mpi", "--json"], check=True, capture_output=True, text=True, env=environment
        )
    made = json.loads(told.stdout)
    yield Row(
        what="compiled, two MPI ranks: rate of the run, of the bare rate",
        value=made["rate"] / bare,
        unit="1",
        note=f"{made['rate']:.4g} of {bare:.4g} devices/s, {count} devices",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--driver"]:
        _driver(sys.argv[2], int(sys.argv[3]))
    else:
        harness.run("campaign_overhead", [petsc, compiled, no_op, million, mpi])
