"""Rows solved again: the same to the last bit, or named."""

import dataclasses

import numpy as np
import pytest

from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.recheck import campaign_of, recheck
from memflux.platform.campaigns.runner import run
from memflux.shards import Manifest, list_shards, write_shard
from memflux.space import Space
from memflux.stand_in import StandIn

CAMPAIGN = Campaign(space="9d", count=30, seed=4, samples=8, engine="compact", shard_size=8, workers=3)


@pytest.fixture
def out(tmp_path):
    """A finished campaign."""
    run(CAMPAIGN, str(tmp_path / "d"), SerialExecutor())
    return str(tmp_path / "d")


def forge(out, number, change):
    """Write a shard anew, with rows that were changed."""
    folder = Folder.at(out)
    rows = Dataset.open(out).rows[8 * number : 8 * number + 8]
    folder.remove(next(s.name for s in list_shards(folder) if s.number == number))
    write_shard(folder, number, dataclasses.replace(rows, **change(rows)))


def test_rows_are_the_same_to_the_last_bit(out):
    seen = []
    found = recheck(out, 12, seed=1, on_row=lambda: seen.append(1))
    assert (found.rows, found.identical, found.worst, found.wrong) == (12, 12, 0.0, ())
    assert len(seen) == 12


def test_a_changed_current_is_named(out):
    forge(out, 1, lambda rows: {"current": rows.current * (1 + 1e-6)})
    found = recheck(out, 30, seed=0)
    assert found.identical == found.rows - len(found.wrong) > 0
    assert found.worst == pytest.approx(1e-6, rel=1e-3)
    assert all("row " in sentence and "apart" in sentence for sentence in found.wrong)


def test_another_cpu_may_differ_in_the_last_digits(out):
    elsewhere = {"cpu_target": np.array(["other"] * 8, object)}
    forge(out, 1, lambda rows: {"current": rows.current * (1 + 1e-12), "biography": rows.biography | elsewhere})
    found = recheck(out, 30, seed=0)
    assert found.wrong == ()
    assert found.identical < found.rows
    forge(out, 1, lambda rows: {"status_class": np.array(["diverged"] * 8, object)})
    assert recheck(out, 30, seed=0).worst == np.inf


def test_what_no_campaign_made_is_refused(tmp_path):
    devices, drive = Space.preset("5d").sample(3, seed=0)
    Dataset.write(tmp_path, devices=devices, drive=drive, traces=StandIn(samples=8)(devices, drive))
    with pytest.raises(InvalidValue, match="has no recipe"):
        recheck(str(tmp_path), 1)


def test_rows_of_another_version_are_counted_not_solved(out):
    folder = Folder.at(out)
    manifest = Manifest.read(folder)
    old = dataclasses.replace(manifest, method=dataclasses.replace(manifest.method, solver_version="0"))
    folder.write("manifest.json", old.to_json())
    with pytest.raises(DataError, match="rows can be counted, not made again"):
        recheck(out, 1)


def test_the_campaign_comes_back_from_its_manifest(out):
    assert campaign_of(Manifest.read(Folder.at(out))) == CAMPAIGN.model_copy(update={"workers": None})
