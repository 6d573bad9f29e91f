"""The MPI executor with real ranks: the same content, and nothing lost when one of them dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import slow_campaign
from slow_campaign import CAMPAIGN, DEADLY

from memflux.dataset import Dataset, summarise
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from processes import command_of, descendants

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
MEMFLUX = str(Path(sys.executable).with_name("memflux"))

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec; pip install mpich"),
]


@pytest.fixture(scope="module", autouse=True)
def mpi():
    """mpi4py is there."""
    pytest.importorskip("mpi4py")


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The content hash of an undisturbed serial run."""
    out = tmp_path_factory.mktemp("calm")
    run(CAMPAIGN, str(out), SerialExecutor())
    return summarise(out).tally.content_hash


def begin(ranks, *words):
    """Ranks in a session of their own."""
    return subprocess.Popen(
        [MPIEXEC, "-n", str(ranks), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def slow(ranks, out, *words):
    """The slow campaign."""
    return begin(ranks, sys.executable, slow_campaign.__file__, out, "mpi", *words)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_makes_the_content_of_a_serial_run(ranks, tmp_path, calm):
    file = tmp_path / "c.yaml"
    file.write_text(CAMPAIGN.to_yaml())
    out = tmp_path / "d"
    told = begin(ranks, MEMFLUX, "campaign", "run", file, "--out", out, "--executor", "mpi", "--json")
    stdout, stderr = told.communicate()
    assert told.returncode == 0, stderr
    made = json.loads(stdout)
    assert (made["done"], made["made"], made["cores"]) == (CAMPAIGN.count, CAMPAIGN.count, ranks)
    assert summarise(out).tally.content_hash == calm
    assert not list(out.glob(".*"))


def test_every_rank_works(tmp_path):
    process = slow(3, tmp_path / "d")
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    pids, rows = np.unique(Dataset.open(tmp_path / "d").biography["pid"], return_counts=True)
    assert len(pids) == 3
    assert rows.min() > 0.15 * CAMPAIGN.count


def test_a_rank_that_dies_leaves_a_campaign_that_goes_on(tmp_path, calm):
    out = tmp_path / "d"
    process = slow(3, out)
    wait_for_shards(out, 5, process)
    ranks = [pid for pid in descendants(process.pid) if b"slow_campaign.py" in command_of(pid)]
    os.kill(ranks[-1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert 0 < summarise(out).tally.rows < CAMPAIGN.count
    again = slow(2, out)
    _, stderr = again.communicate()
    assert again.returncode == 0, stderr
    assert summarise(out).tally.content_hash == calm
    assert not list(out.glob(".*"))


def test_ranks_drain_when_they_are_asked_to(tmp_path, calm):
    out = tmp_path / "d"
    process = slow(2, out)
    wait_for_shards(out, 3, process)
    leader = next(pid for pid in descendants(process.pid) if b"slow_campaign.py" in command_of(pid))
    os.kill(leader, signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert 0 < summarise(out).tally.rows < CAMPAIGN.count
    run(CAMPAIGN, str(out), SerialExecutor())
    assert summarise(out).tally.content_hash == calm


def test_a_mistake_is_told_once(tmp_path):
    told = begin(3, MEMFLUX, "campaign", "run", tmp_path / "none.yaml", "--out", tmp_path / "d", "--executor", "mpi")
    _, stderr = told.communicate(timeout=60)
    assert told.returncode == 1
    assert stderr.count("cannot be read") == 1
    assert "Traceback" not in stderr


@pytest.mark.parametrize("kind", ["serial", "mpi"])
def test_a_device_that_kills_its_process_twice_is_a_row(kind, tmp_path, calm):
    out = tmp_path / "d"
    for _ in range(2):
        process = deadly(kind, out)
        process.communicate(timeout=60)
        assert process.returncode not in (0, 1)
    last = deadly(kind, out)
    _, stderr = last.communicate(timeout=60)
    assert last.returncode == 0, stderr
    made = Dataset.open(out)
    assert list(np.flatnonzero(~made.traces.ok)) == [DEADLY]
    assert made.status_class[DEADLY] == "crashed"
    assert "took its process down 2 times (exit code 139)" in made.status[DEADLY]
    assert not list(out.glob(".*"))
    state = run(CAMPAIGN, str(out), SerialExecutor(), again=("crashed",))  # with a solver that is cured
    assert (state.made, state.failed, state.done) == (1, 0, CAMPAIGN.count)
    assert summarise(out).tally.content_hash == calm


def test_a_suspected_shard_is_made_with_petsc_under_mpiexec(tmp_path):
    pytest.importorskip("petsc4py")
    campaign = Campaign(space="5d-parametric", count=4, samples=8, engine="petsc", shard_size=2)
    file, out = tmp_path / "c.yaml", tmp_path / "d"
    file.write_text(campaign.to_yaml())
    out.mkdir()
    for number in range(2):
        (out / f".making-{number}").write_bytes(b"||")
    told = begin(2, MEMFLUX, "campaign", "run", file, "--out", out, "--executor", "mpi", "--json")
    stdout, stderr = told.communicate(timeout=120)
    assert told.returncode == 0, stderr
    assert json.loads(stdout)["failed"] == 0
    assert Dataset.open(out).traces.ok.all()
    assert not list(out.glob(".*"))


def deadly(kind, out):
    """The campaign with a deadly device, alone or on two ranks."""
    words = [sys.executable, slow_campaign.__file__, str(out), kind, "deadly"]
    if kind == "mpi":
        return begin(2, *words)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_shards(out, count, process):
    """Until so many shards are there."""
    deadline = time.monotonic() + 60
    while len(list(out.glob("shard-*"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "too few shards were made"
        time.sleep(0.02)
