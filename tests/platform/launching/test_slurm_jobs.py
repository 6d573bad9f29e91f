"""Campaigns on a real Slurm: drained by the walltime, cancelled, killed; nothing is lost, and nothing stays behind."""

import json
import subprocess

import pytest

from launched import processes_with, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


@pytest.fixture
def queue(cheap, slurm_conf):
    """Calls Slurm's commands, and looks at jobs."""
    cheap.environment["SLURM_CONF"] = str(slurm_conf)

    class Queue:
        def ask(self, *words):
            return subprocess.run(
                words, env=cheap.environment, capture_output=True, text=True, timeout=60, check=True
            ).stdout

        def jobs(self):
            return self.ask("squeue", "--noheader", "--format=%i").split()

        def log(self, out, job):
            path = cheap.folder / f"{out}.slurm" / f"slurm-{job}.out"
            return path.read_text() if path.exists() else ""

        def end(self, out, job):
            """Wait for the end of a job; its exit code."""
            wait_for(lambda: job not in self.jobs(), 150, f"job {job} ends: {self.log(out, job)}")
            told = self.ask("scontrol", "--oneliner", "show", "job", job)
            return int(told.partition(" ExitCode=")[2].partition(":")[0])

    yield Queue()
    subprocess.run(["scancel", "--me"], env=cheap.environment, check=False)
    wait_for(lambda: not Queue().jobs(), 60, "the queue is empty")


def submit(cheap, out, *more):
    words = ("cluster", "slurm", cheap.file, "--out", out, "--cpus-per-node", 2, *more, "--json")
    return cheap.memflux(*words)["job"]


@pytest.mark.slow
def test_drained_by_its_walltime_submitted_again_finished(cheap, queue, other_ray):
    first = submit(cheap, "data", "--nodes", 1, "--time", "00:01:00", "--lead", 1)
    assert queue.end("data", first) == 75
    log = queue.log("data", first)
    assert '"stopped": true' in log
    cheap.pace(0)
    made = cheap.shards("data")
    assert 0 < made < 150
    ledger = json.loads((cheap.folder / "data.slurm" / "ledger.json").read_text())
    second = ledger["jobs"][1]
    assert ledger["done"] == [4 * made]
    assert f"stopped at {4 * made} rows; job {second} goes on" in log
    assert queue.end("data", second) == 0
    assert queue.jobs() == []
    assert processes_with(str(cheap.folder)) == []
    assert other_ray.poll() is None
    assert list((cheap.folder / "data.slurm").glob("run-*")) == []
    assert cheap.content_hash("data") == cheap.undisturbed()


@pytest.mark.slow
def test_two_nodes_are_one_ray_and_a_cancelled_job_drains_and_is_not_submitted_again(cheap, queue):
    job = submit(cheap, "two nodes%j", "--nodes", 2, "--time", "00:10:00")
    wait_for(lambda: cheap.shards("two nodes%j") >= 6, 120, "shards")
    assert len([line for line in processes_with(str(cheap.folder)) if "raylet/raylet" in line]) == 2
    again = cheap.memflux(
        "cluster", "slurm", cheap.file, "--out", "two nodes%j", "--nodes", 1, "--time", "00:10:00", code=1
    )
    assert f"job {job} of" in again.stderr
    assert "is running already, and goes on by itself" in again.stderr
    cheap.pace(0.1)
    queue.ask("scancel", job)
    queue.end("two nodes%j", job)
    log = queue.log("two nodes%j", job)
    assert '"stopped": true' in log
    assert "the job was cancelled; go on with: sbatch '" in log
    assert queue.jobs() == []
    assert processes_with(str(cheap.folder)) == []


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_no_process_and_goes_on_by_hand(cheap, queue):
    job = submit(cheap, "data", "--nodes", 1, "--time", "00:10:00")
    wait_for(lambda: cheap.shards("data") >= 2, 120, "shards")
    queue.ask("scancel", "--signal=KILL", f"{job}.0")
    assert queue.end("data", job) == 137
    wait_for(lambda: not processes_with(str(cheap.folder)), 20, "no process is left")
    assert queue.jobs() == []
    cheap.pace(0)
    assert (
        queue.end("data", queue.ask("sbatch", "--parsable", str(cheap.folder / "data.slurm" / "job.sh")).strip()) == 0
    )
    assert cheap.content_hash("data") == cheap.undisturbed()


@pytest.mark.slow
def test_asked_to_drain_it_goes_on_as_often_as_it_may(cheap, queue):
    job = submit(cheap, "data", "--nodes", 1, "--time", "00:10:00", "--submissions", 1)
    wait_for(lambda: cheap.shards("data") >= 2, 120, "shards")
    queue.ask("scancel", "--signal=USR1", job)
    assert queue.end("data", job) == 75
    second = json.loads((cheap.folder / "data.slurm" / "ledger.json").read_text())["jobs"][1]
    made = cheap.shards("data")
    wait_for(lambda: cheap.shards("data") > made, 120, "more shards")
    queue.ask("scancel", "--signal=USR1", second)
    assert queue.end("data", second) == 75
    assert "after 1 submissions by itself; go on with: sbatch" in queue.log("data", second)
    assert queue.jobs() == []
