"""Tasks of a job without a Slurm: one or two on this machine, drained, killed, gone on with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launched import listening, processes_with, wait_for
from memflux.platform.launching import rendezvous
from memflux.platform.launching.task import Task, cores_here

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    ("rank", "tasks", "cpus", "solve"), [(0, 1, 8, 8), (0, 1, 1, 1), (0, 4, 8, 7), (0, 4, 1, 1), (3, 4, 8, 8)]
)
def test_no_core_is_wasted_and_the_driver_of_many_has_one(rank, tasks, cpus, solve):
    task = Task(rank=rank, tasks=tasks, cpus=cpus, run=Path("run"), file=Path("c"), out="d", patience_s=1.0)
    assert cores_here(task) == solve


@pytest.fixture
def start(cheap):
    """Start the tasks of one job; their processes. They are ended with the test."""
    started = []

    def tasks(name, count=1, patience=60):
        run = cheap.folder / name
        rendezvous.prepare(run)
        options = [f"--run={run}", "--cpus=2", f"--tasks={count}", f"--patience={patience}"]
        launcher = {"PMI_RANK": "0", "SLURM_STEP_ID": "0", "RAY_ADDRESS": "127.0.0.1:1", "PYTHONSAFEPATH": "1"}
        new = [
            subprocess.Popen(
                [sys.executable, "-m", "memflux.platform.launching.node", *options, f"--rank={rank}", "--",
                 str(cheap.file), str(cheap.folder / "data")],
                env=cheap.environment | launcher, stderr=(cheap.folder / f"{name}-{rank}.err").open("w"),
                stdout=(cheap.folder / f"{name}-{rank}.out").open("w"),
            )
            for rank in range(count)
        ]  # fmt: skip
        started.extend(new)
        return new

    yield tasks
    for task in started:
        task.kill()
        task.wait()


@pytest.mark.slow
def test_one_machine_drains_leaves_nothing_and_another_executor_goes_on(cheap, start):
    (task,) = start("first")
    wait_for(lambda: cheap.shards("data") >= 2, 90, "shards")
    (head,) = [line for line in processes_with(str(cheap.folder)) if "ray.scripts.scripts start" in line]
    temporary = Path(head.partition("--temp-dir=")[2].split()[0]).parent
    assert temporary.stat().st_mode & 0o777 == 0o700
    workers = [line for line in processes_with(str(cheap.folder)) if "ray::ShardWorker" in line]
    assert len(workers) == 2  # no core is lost to the driver
    pids = [int(line.partition(":")[0]) for line in processes_with(str(cheap.folder))]
    assert listening(pids) <= {"0100007F", "0000000000000000FFFF00000100007F"}, "not on 127.0.0.1 alone"
    task.send_signal(signal.SIGUSR1)
    assert task.wait(timeout=60) == 75
    assert rendezvous.outcome(cheap.folder / "first") == 75
    made = json.loads((cheap.folder / "first-0.out").read_text().splitlines()[-1])
    assert made["stopped"]
    assert made["done"] == 4 * cheap.shards("data") < 600
    assert processes_with(str(cheap.folder)) == []
    assert not temporary.exists()
    cheap.pace(0)
    cheap.memflux("campaign", "run", cheap.file, "--out", "data", "--executor", "serial", "--json")
    assert cheap.content_hash("data") == cheap.undisturbed()


@pytest.mark.slow
def test_a_task_that_is_killed_leaves_nothing_and_the_first_goes_on_without_it(cheap, start):
    first, second = start("run", count=2)
    wait_for(lambda: cheap.shards("data") >= 4, 120, "shards")
    second.kill()
    wait_for(lambda: len([line for line in processes_with(str(cheap.folder)) if "raylet/raylet" in line]) == 1, 30, "x")
    made = cheap.shards("data")
    wait_for(lambda: cheap.shards("data") > made + 2, 60, "shards made by one")
    first.kill()
    wait_for(lambda: processes_with(str(cheap.folder)) == [], 30, "all have ended")
    assert rendezvous.outcome(cheap.folder / "run") not in (0, 75)
    cheap.pace(0)
    assert start("again")[0].wait(timeout=120) == 0
    assert cheap.content_hash("data") == cheap.undisturbed()


def test_a_signal_that_comes_before_ray_is_up_ends_it_resumably(cheap, start):
    (task,) = start("run")
    wait_for(lambda: (cheap.folder / "run" / "ray-0.log").exists(), 60, "Ray begins")
    os.kill(task.pid, signal.SIGTERM)
    assert task.wait(timeout=60) == 75
    assert processes_with(str(cheap.folder)) == []
    assert cheap.shards("data") == 0


def test_a_task_that_comes_when_all_is_over_ends_at_once(cheap):
    rendezvous.prepare(cheap.folder / "run")
    rendezvous.write_json(cheap.folder / "run" / rendezvous.OUTCOME, {"code": 0})
    options = [f"--run={cheap.folder / 'run'}", "--cpus=1", "--rank=1", "--tasks=2"]
    words = [sys.executable, "-m", "memflux.platform.launching.node", *options, "--", str(cheap.file), "data"]
    done = subprocess.run(words, env=cheap.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_campaign_that_cannot_run_ends_with_an_error(cheap, start):
    cheap.file.write_text("space: 9d\n")
    (task,) = start("run", count=1)
    assert task.wait(timeout=90) == 1
    assert "the campaign has no 'count'" in " ".join((cheap.folder / "run-0.err").read_text().split())
    assert rendezvous.outcome(cheap.folder / "run") == 1
