"""The contract of executors: the same rows whoever made them, whatever died on the way."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from memflux.dataset import Dataset, summarise
from memflux.errors import InvalidValue, MissingDependency
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from memflux.platform.campaigns.shard_work import Job, manifest_of
from memflux.platform.cluster import local_cluster
from memflux.shards import list_shards

CAMPAIGN = Campaign(space="9d", count=60, seed=4, samples=8, engine="compact", shard_size=6)

# A campaign of slow devices, in a process of its own that can be killed.
SLOW = """
import sys, time
from memflux.compact import CompactModel
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.runner import run

def slow(campaign):
    def predict(devices, drive):
        time.sleep(0.05)
        return CompactModel(samples=campaign.samples)(devices, drive)
    return predict

if sys.argv[2] == "ray":
    from memflux.platform.campaigns.executor_ray import RayExecutor
    executor = RayExecutor(workers=2)
else:
    from memflux.platform.campaigns.executor_serial import SerialExecutor
    executor = SerialExecutor()
campaign = Campaign(space="9d", count=600, seed=4, samples=8, engine="compact", shard_size=6)
run(campaign, sys.argv[1], executor, solver_factory=slow)
"""


@pytest.fixture(scope="module")
def cluster():
    """One small Ray for the module; executors find it and leave it running."""
    with local_cluster(cores=2) as made:
        yield made


@pytest.fixture(params=["serial", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(120)])])
def executor(request):
    """Each executor."""
    if request.param == "serial":
        return SerialExecutor()
    request.getfixturevalue("cluster")
    return RayExecutor(workers=2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The content hash of a serial run."""
    out = tmp_path_factory.mktemp("serial")
    run(CAMPAIGN, str(out), SerialExecutor())
    return summarise(out).content_hash


def test_every_executor_makes_the_same_content(executor, tmp_path, undisturbed):
    seen = []
    progress = run(CAMPAIGN, str(tmp_path), executor, seen.append)
    assert (progress.done, progress.failed, progress.stopped) == (60, 0, False)
    assert sorted(p.made for p in seen) == list(range(0, 61, 6))
    assert summarise(tmp_path).content_hash == undisturbed


def test_every_executor_makes_only_what_is_missing(executor, tmp_path, undisturbed):
    run(CAMPAIGN, str(tmp_path), SerialExecutor())
    folder = Folder.at(tmp_path)
    shards = list_shards(folder)
    for shard in shards[3:5]:
        folder.remove(shard.name)
    assert run(CAMPAIGN, str(tmp_path), executor).made == 12
    assert {s.name for s in shards[:3] + shards[5:]} < set(folder.names())
    assert summarise(tmp_path).content_hash == undisturbed


def test_every_executor_stops_when_asked(executor, tmp_path, undisturbed):
    def ask(progress):
        if progress.made == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    progress = run(CAMPAIGN, str(tmp_path), executor, ask)
    assert progress.stopped
    assert 6 <= progress.done < 60
    assert summarise(tmp_path).done == progress.done
    run(CAMPAIGN, str(tmp_path), executor)
    assert summarise(tmp_path).content_hash == undisturbed


def test_every_executor_passes_on_what_is_wrong_with_the_machine(executor, tmp_path):
    def factory(campaign):
        raise MissingDependency("petsc4py is not installed.")

    with pytest.raises(MissingDependency, match="petsc4py is not installed"):
        run(CAMPAIGN, str(tmp_path), executor, solver_factory=factory)


def test_every_executor_makes_rows_of_devices_that_raise(executor, tmp_path):
    def factory(campaign):
        from memflux.compact import CompactModel

        def predict(devices, drive):
            if (devices.length > 1.9e-6).any():
                raise ArithmeticError("singular")
            return CompactModel(samples=campaign.samples)(devices, drive)

        return predict

    progress = run(CAMPAIGN, str(tmp_path), executor, solver_factory=factory)
    made = Dataset.open(tmp_path)
    assert np.array_equal(made.status_class == "crashed", made.devices.length > 1.9e-6)
    assert progress.failed == (made.devices.length > 1.9e-6).sum() > 0


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_device_that_kills_its_worker_is_one_row(cluster, tmp_path, undisturbed):
    devices, _ = CAMPAIGN.design_space().sample(60, seed=4)
    deadly = float(devices.length[20])

    def factory(campaign):
        from memflux.compact import CompactModel

        def predict(batch, drive):
            if (batch.length == deadly).any():
                os._exit(139)
            return CompactModel(samples=campaign.samples)(batch, drive)

        return predict

    progress = run(CAMPAIGN, str(tmp_path), RayExecutor(workers=2), solver_factory=factory)
    assert (progress.done, progress.failed) == (60, 1)
    made = Dataset.open(tmp_path)
    assert list(np.flatnonzero(made.status_class == "crashed")) == [20]
    assert "took its process down 2 times" in made.status[20]
    assert np.isfinite(np.delete(made.traces.current, 20, axis=0)).all()
    assert len(list_shards(Folder.at(tmp_path))) == 10


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_worker_that_dies_once_costs_no_row(cluster, tmp_path, undisturbed):
    flag = tmp_path / "died"
    devices, _ = CAMPAIGN.design_space().sample(60, seed=4)
    unlucky = float(devices.length[33])

    def factory(campaign):
        from memflux.compact import CompactModel

        def predict(batch, drive):
            if (batch.length == unlucky).any() and not flag.exists():
                flag.touch()
                os._exit(137)
            return CompactModel(samples=campaign.samples)(batch, drive)

        return predict

    progress = run(CAMPAIGN, str(tmp_path / "a"), RayExecutor(workers=1), solver_factory=factory)
    assert flag.exists()
    assert (progress.done, progress.failed) == (60, 0)
    assert summarise(tmp_path / "a").content_hash == undisturbed


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["serial", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_killed_campaign_goes_on_where_it_was(kind, tmp_path):
    script, out = tmp_path / "slow.py", tmp_path / "a"
    script.write_text(SLOW)
    process = subprocess.Popen([sys.executable, str(script), str(out), kind], start_new_session=True)
    try:
        wait_for(lambda: len(list(out.glob("shard-*"))) >= 3, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(1.0)  # workers of a dead Ray take a moment to notice
    before = {path.name for path in out.glob("shard-*")}
    assert 3 <= len(before) < 100
    campaign = Campaign(space="9d", count=600, seed=4, samples=8, engine="compact", shard_size=6)
    progress = run(campaign, str(out), SerialExecutor())
    assert progress.before == 6 * len(before)
    assert before < {path.name for path in out.glob("shard-*")}
    run(campaign, str(tmp_path / "b"), SerialExecutor())
    assert summarise(out).content_hash == summarise(tmp_path / "b").content_hash
    assert summarise(out).done == 600
    assert not list(out.glob(".*"))


def wait_for(condition, process):
    """Until the condition holds; the process must not end before."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the campaign ended before it could be killed"
        assert time.monotonic() < deadline, "the campaign made nothing"
        time.sleep(0.02)


def test_an_executor_that_was_not_entered_says_so(tmp_path):
    job = Job(campaign=CAMPAIGN, out=str(tmp_path), manifest=manifest_of(CAMPAIGN))
    with pytest.raises(InvalidValue, match="use it in a with statement"):
        next(RayExecutor().run(job, [0], lambda: False))
