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
import ray

import harness
from harness import ROOT, Row
from memflux.contracts import Predictor
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign, shard_size_for
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.campaigns.runner import Progress, claim, run
from memflux.platform.campaigns.shard_work import Job, manifest_of, solver_for
from memflux.platform.cluster import local_cluster
from memflux.shards import Manifest, damaged_files, list_shards, read_tallies
from memflux.solvers.solver import Solver
from memflux.traces import Traces

sys.path.insert(0, str(ROOT / "tests"))
from processes import command_of, descendants

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
    count = 40_000 if quick else 200_000
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
        yield Row(
            what=f"{count:g} no-op devices: the driver's work a shard",
            value=1e3 * told["cpu_s"] / told["shards"],
            unit="ms",
            note="CPU time, start-up included",
        )
        yield Row(
            what=f"{count:g} no-op devices: memory of Ray's head store at the end", value=told["head_mb"], unit="MB"
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


def shards(quick: bool) -> Iterator[Row]:
    """parts of a shard: what a worker does beside solving, and reading it back"""
    campaign = Campaign(space="9d", count=10**6, engine="compact", shard_size=512)
    with tempfile.TemporaryDirectory() as name:
        folder = Folder.at(name)
        job = Job(campaign=campaign, out=name, manifest=claim(folder, manifest_of(campaign)), solver_factory=solver_for)
        predictor = job.predictor()
        for rows in (16, 512):
            index = np.arange(rows)
            devices, drive = campaign.sample(rows)
            traces = predictor(devices, drive)
            seconds = []
            for i in range(5 if quick else 40):
                began = time.perf_counter()
                job.write(i, job.rows(lambda d, w, known=traces: known, index), began)
                seconds.append(time.perf_counter() - began)
            yield Row(
                what=f"a shard of {rows} rows of 321 samples, all but the solve",
                value=1e3 * np.median(seconds),
                unit="ms",
                note="draw, keys, tally, Parquet, checksum, sync",
            )
        manifest, there = Manifest.read(folder), list_shards(folder)
        size = sum(path.stat().st_size for path in Path(name).glob("*.parquet"))
        began = time.perf_counter()
        read_tallies(folder, there)
        each = (time.perf_counter() - began) / len(there)
        yield Row(what="reading the tally of a shard", value=1e6 * each, unit="us")
        began = time.perf_counter()
        damaged_files(folder, manifest)
        yield Row(
            what="comparing shards with their checksums",
            value=size / 1e6 / (time.perf_counter() - began),
            unit="MB/s",
            note=f"{size / len(there) / rows / 1e3:.3g} kB a row, from memory",
        )


def _driver(folder: str, count: int) -> None:
    """The driver of a large no-op campaign, in a process of its own whose memory can be told."""
    campaign = Campaign(
        space="9d", count=count, samples=8, engine="compact", shard_size=shard_size_for(count, "compact")
    )
    head: list[float] = []

    def look(progress: Progress) -> None:
        if progress.done == progress.wanted and progress.made:
            head.append(sum(map(resident_mb, descendants_named(b"gcs_server"))))

    made = run(campaign, folder, RayExecutor(workers=WORKERS), look, solver_factory=nothing)
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "peak_mb": used.ru_maxrss / 1e3,
        "cpu_s": used.ru_utime + used.ru_stime,
        "head_mb": max(head, default=0.0),
        "rate": made.rate,
        "made": made.made,
        "shards": -(-count // campaign.shard_size),
    }
    print(json.dumps(told))


def descendants_named(name: bytes) -> list[int]:
    """Processes below this one with the name in their command line."""
    return [pid for pid in descendants(os.getpid()) if name in command_of(pid)]


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 1e6


def waiting(quick: bool) -> Iterator[Row]:
    """the driver's look at the tasks of a thousand workers"""
    with local_cluster(cores=2):
        actor = ray.remote(Sleeper).options(num_cpus=0)
        sleeper, quick_one = actor.remote(), actor.remote()
        ray.get(quick_one.rest.remote(0.0))
        pending = [sleeper.rest.remote(60.0) for _ in range(2 * 1000)]
        seconds = []
        for _ in range(20 if quick else 200):
            began = time.perf_counter()
            ray.wait([*pending, quick_one.rest.remote(0.0)], num_returns=1, timeout=10.0)
            seconds.append(time.perf_counter() - began)
    yield Row(
        what="one task among 2,000 that are pending, as the driver waits for it",
        value=1e3 * np.median(seconds),
        unit="ms",
        note="a thousand workers that hold two shards each",
    )


class Sleeper:
    """Does nothing for a while."""

    def rest(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


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
        harness.run("campaign_overhead", [petsc, compiled, no_op, million, shards, waiting, mpi])
