"""The contract of executors: the same rows whoever made them, whatever died on the way."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import slow_campaign

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
from ray_nodes import three_nodes

CAMPAIGN = Campaign(space="9d", count=60, seed=4, samples=8, engine="compact", shard_size=6)

ON_RAY = ("embedded", "three nodes")


@pytest.fixture(scope="module")
def place(request):
    """Where shards are made: an executor is made there by calling it. One Ray a module: executors find it."""
    with contextlib.ExitStack() as stack:
        match request.param:
            case "serial":
                yield SerialExecutor
            case "one MPI rank":
                yield pytest.importorskip("memflux.platform.campaigns.executor_mpi").MpiExecutor
            case "embedded":
                stack.enter_context(local_cluster(cores=2))
                yield lambda: RayExecutor(workers=2)
            case "three nodes":
                nodes = stack.enter_context(three_nodes())
                stack.enter_context(local_cluster(address=nodes.address))
                yield RayExecutor


def on_ray(timeout):
    """On an embedded Ray, and on one of three nodes."""
    marks = [pytest.mark.ray, pytest.mark.timeout(timeout)]
    return [pytest.param(name, marks=marks) for name in ON_RAY]


everywhere = pytest.mark.parametrize("place", ["serial", "one MPI rank", *on_ray(180)], indirect=True, scope="module")
on_every_ray = pytest.mark.parametrize("place", on_ray(180), indirect=True, scope="module")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The content hash of a serial run."""
    out = tmp_path_factory.mktemp("serial")
    run(CAMPAIGN, str(out), SerialExecutor())
    return summarise(out).tally.content_hash


@everywhere
def test_every_executor_makes_the_same_content(place, tmp_path, undisturbed):
    seen = []
    progress = run(CAMPAIGN, str(tmp_path), place(), seen.append)
    assert (progress.done, progress.failed, progress.stopped) == (60, 0, False)
    assert sorted(p.made for p in seen) == list(range(0, 61, 6))
    assert summarise(tmp_path).tally.content_hash == undisturbed


@everywhere
def test_every_executor_makes_only_what_is_missing(place, tmp_path, undisturbed):
    run(CAMPAIGN, str(tmp_path), SerialExecutor())
    folder = Folder.at(tmp_path)
    shards = list_shards(folder)
    for shard in shards[3:5]:
        folder.remove(shard.name)
    assert run(CAMPAIGN, str(tmp_path), place()).made == 12
    assert {s.name for s in shards[:3] + shards[5:]} < set(folder.names())
    assert summarise(tmp_path).tally.content_hash == undisturbed


@everywhere
def test_every_executor_stops_when_asked(place, tmp_path, undisturbed):
    def ask(progress):
        if progress.made == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    progress = run(CAMPAIGN, str(tmp_path), place(), ask)
    assert progress.stopped
    assert 6 <= progress.done < 60
    assert summarise(tmp_path).tally.rows == progress.done
    run(CAMPAIGN, str(tmp_path), place())
    assert summarise(tmp_path).tally.content_hash == undisturbed


@everywhere
def test_every_executor_passes_on_what_is_wrong_with_the_machine(place, tmp_path):
    def factory(campaign):
        raise MissingDependency("petsc4py is not installed.")

    with pytest.raises(MissingDependency, match="petsc4py is not installed"):
        run(CAMPAIGN, str(tmp_path), place(), solver_factory=factory)


@everywhere
def test_every_executor_makes_rows_of_devices_that_raise(place, tmp_path):
    def factory(campaign):
        from memflux.stand_in import StandIn

        def predict(devices, drive):
            if (devices.length > 1.9e-6).any():
                raise ArithmeticError("singular")
            return StandIn(samples=campaign.samples)(devices, drive)

        return predict

    progress = run(CAMPAIGN, str(tmp_path), place(), solver_factory=factory)
    made = Dataset.open(tmp_path)
    assert np.array_equal(made.status_class == "crashed", made.devices.length > 1.9e-6)
    assert progress.failed == (made.devices.length > 1.9e-6).sum() > 0


@on_every_ray
def test_a_device_that_kills_its_worker_is_one_row(place, tmp_path, undisturbed):
    devices, _ = CAMPAIGN.design_space().sample(60, seed=4)
    deadly = float(devices.length[20])

    def factory(campaign):
        from memflux.stand_in import StandIn

        def predict(batch, drive):
            if (batch.length == deadly).any():
                os._exit(139)
            return StandIn(samples=campaign.samples)(batch, drive)

        return predict

    progress = run(CAMPAIGN, str(tmp_path), place(), solver_factory=factory)
    assert (progress.done, progress.failed) == (60, 1)
    made = Dataset.open(tmp_path)
    assert list(np.flatnonzero(made.status_class == "crashed")) == [20]
    assert "took its process down 2 times" in made.status[20]
    assert np.isfinite(np.delete(made.traces.current, 20, axis=0)).all()
    assert len(list_shards(Folder.at(tmp_path))) == 10


@on_every_ray
def test_a_worker_that_dies_once_costs_no_row(place, tmp_path, undisturbed):
    flag = tmp_path / "died"
    devices, _ = CAMPAIGN.design_space().sample(60, seed=4)
    unlucky = float(devices.length[33])

    def factory(campaign):
        from memflux.stand_in import StandIn

        def predict(batch, drive):
            if (batch.length == unlucky).any() and not flag.exists():
                flag.touch()
                os._exit(137)
            return StandIn(samples=campaign.samples)(batch, drive)

        return predict

    progress = run(CAMPAIGN, str(tmp_path / "a"), place(), solver_factory=factory)
    assert flag.exists()
    assert (progress.done, progress.failed) == (60, 0)
    assert summarise(tmp_path / "a").tally.content_hash == undisturbed


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["serial", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_killed_campaign_goes_on_where_it_was(kind, tmp_path):
    out = tmp_path / "a"
    process = subprocess.Popen([sys.executable, slow_campaign.__file__, str(out), kind], start_new_session=True)
    try:
        wait_for(lambda: len(list(out.glob("shard-*"))) >= 3, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(1.0)  # workers of a dead Ray take a moment to notice
    before = {path.name for path in out.glob("shard-*")}
    campaign = slow_campaign.CAMPAIGN
    assert 3 <= len(before) < campaign.count // campaign.shard_size
    progress = run(campaign, str(out), SerialExecutor())
    assert progress.before == campaign.shard_size * len(before)
    assert before < {path.name for path in out.glob("shard-*")}
    run(campaign, str(tmp_path / "b"), SerialExecutor())
    assert summarise(out).tally.content_hash == summarise(tmp_path / "b").tally.content_hash
    assert summarise(out).tally.rows == campaign.count
    assert not list(out.glob(".*"))


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_run_on_its_own_ray_drains_at_a_signal(number, tmp_path):
    out = tmp_path / "a"
    process = subprocess.Popen([sys.executable, slow_campaign.__file__, str(out), "ray"])
    try:
        wait_for(lambda: len(list(out.glob("shard-*"))) >= 2, process)
        process.send_signal(number)
        assert process.wait(timeout=60) == 75
    finally:
        process.kill()
        process.wait()
    assert 0 < summarise(out).tally.rows < slow_campaign.CAMPAIGN.count
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
