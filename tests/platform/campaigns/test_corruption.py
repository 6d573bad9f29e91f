"""Disks that lie, fill up or refuse: found, named, and repaired by the same run."""

import os
import subprocess

import pytest

from memflux.dataset import summarise, verify
from memflux.errors import DataError
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from memflux.shards import list_shards

CAMPAIGN = Campaign(space="9d", count=40, seed=4, samples=8, engine="compact", shard_size=8)


@pytest.fixture
def out(tmp_path):
    """A finished campaign."""
    run(CAMPAIGN, str(tmp_path / "d"), SerialExecutor())
    return tmp_path / "d"


def flip(path):
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


HURTS = {
    "a flipped bit": flip,
    "half of it": lambda path: os.truncate(path, path.stat().st_size // 2),
    "nothing in it": lambda path: os.truncate(path, 0),
    "another number": lambda path: path.rename(path.with_name(path.name.replace("0001-", "0002-"))),
}


@pytest.mark.parametrize("hurt", HURTS)
def test_a_hurt_shard_is_found_named_and_made_again(out, hurt):
    whole = summarise(out).tally.content_hash
    before = set(os.listdir(out))
    HURTS[hurt](next(out.glob("shard-000001-*")))
    [sentence] = verify(out).damaged
    changed = {name for name in os.listdir(out) if name not in before or "000001" in name}
    assert any(name in sentence for name in changed)
    state = run(CAMPAIGN, str(out), SerialExecutor())
    assert (state.made, state.done, state.damaged) == (8, 40, 1)
    assert (verify(out).damaged, verify(out).missing) == ((), 0)
    assert summarise(out).tally.content_hash == whole


def test_a_missing_shard_is_counted_and_made_again(out):
    whole = summarise(out).tally.content_hash
    next(out.glob("shard-000001-*")).unlink()
    assert (verify(out).damaged, verify(out).missing) == ((), 1)
    assert run(CAMPAIGN, str(out), SerialExecutor()).made == 8
    assert summarise(out).tally.content_hash == whole


def test_a_full_disk_stops_the_run_and_loses_nothing(small_disk, tmp_path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(190 * 1024))
    out = small_disk / "d"
    with pytest.raises(DataError, match="cannot be written: No space left on device; make room and run again"):
        run(CAMPAIGN, str(out), SerialExecutor())
    there = {path.name for path in out.glob("shard-*")}
    assert 0 < len(there) < 5
    assert verify(out).damaged == ()
    ballast.unlink()
    assert run(CAMPAIGN, str(out), SerialExecutor()).done == 40
    assert there < {path.name for path in out.glob("shard-*")}
    run(CAMPAIGN, str(tmp_path / "b"), SerialExecutor())
    assert summarise(out).tally.content_hash == summarise(tmp_path / "b").tally.content_hash
    assert not list(out.glob(".*"))


def test_a_folder_that_refuses_is_named(small_disk):
    ready = small_disk / "d"
    campaign = CAMPAIGN.model_copy(update={"count": 8})
    run(campaign, str(ready), SerialExecutor())
    shard = next(ready.glob("shard-*"))
    flip(shard)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        for place in (ready, small_disk / "other"):
            with pytest.raises(
                DataError, match=f"{place}.* (cannot be written|cannot be made|cannot be removed): Read-only"
            ):
                run(campaign, str(place), SerialExecutor())
        assert shard.name in verify(ready).damaged[0]
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert run(campaign, str(ready), SerialExecutor()).damaged == 1
    assert verify(ready).damaged == ()


def test_copies_that_differ_in_rows_are_sorted_out(out):
    folder = Folder.at(out)
    shards = list_shards(folder)
    assert len(shards) == 5
    run(CAMPAIGN.model_copy(update={"count": 44}), str(out), SerialExecutor())
    assert len(list_shards(folder)) == 6
    assert summarise(out).tally.rows == 44
