"""Devices in a child process: blamed when they end it, and never for what the machine does."""

import os
import signal

import numpy as np
import pytest

from memflux.errors import MissingDependency, ServiceError
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.isolation import NOTE, make_isolated, make_noted
from memflux.platform.campaigns.runner import claim
from memflux.platform.campaigns.shard_work import Job, manifest_of, solver_for
from memflux.stand_in import StandIn

CAMPAIGN = Campaign(space="9d", count=4, seed=4, samples=8, engine="compact", shard_size=4)


def job(out, factory):
    """Four devices."""
    manifest = manifest_of(CAMPAIGN)
    claim(Folder.at(out), manifest)
    return Job(campaign=CAMPAIGN, out=str(out), manifest=manifest, solver_factory=factory)


def deadly_second(campaign):
    """The second device kills its process as the system does when memory is short."""
    devices, _ = campaign.sample(1, first=1)

    def predict(batch, drive):
        if (batch.length == devices.length[0]).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return StandIn(samples=campaign.samples)(batch, drive)

    return predict


def all_deadly(campaign):
    """An engine that does not work here."""
    return lambda batch, drive: os._exit(15)


def absent(campaign):
    """An engine that is not installed."""
    raise MissingDependency("petsc4py is not installed.")


def never_starts(campaign):
    """Dies before it is ready."""
    os._exit(9)


def test_the_device_that_is_to_blame_is_a_row(tmp_path):
    report = make_isolated(job(tmp_path, deadly_second), 0)
    assert (report.rows, report.failed) == (4, {"crashed": 1})


@pytest.mark.parametrize(
    ("factory", "error", "sentence"),
    [
        (
            all_deadly,
            ServiceError,
            "all 4 devices of shard 0 ended their process, so it is not the devices.*exit code 15",
        ),
        (absent, MissingDependency, "petsc4py is not installed"),
        (never_starts, ServiceError, r"does not start \(exit code 9\)"),
    ],
)
def test_the_machine_s_fault_is_no_row(tmp_path, factory, error, sentence):
    with pytest.raises(error, match=sentence):
        make_isolated(job(tmp_path, factory), 0)
    assert not list(tmp_path.glob("shard-*"))


def test_a_note_is_left_only_by_the_dead(tmp_path):
    work = job(tmp_path, solver_for)
    note = tmp_path / f"{NOTE}0"
    note.write_bytes(b"||")
    assert make_noted(work, all_deadly(CAMPAIGN), 0).failed == {}  # in a child, where it is harmless
    assert not note.exists()

    def broken(batch, drive):
        assert note.read_bytes() == b"|"
        raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        make_noted(work, broken, 0)
    assert not note.exists()
    assert np.array_equal(work.indices(0), np.arange(4))
