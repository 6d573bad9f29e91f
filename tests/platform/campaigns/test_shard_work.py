"""The work of one shard: a pure function of the campaign, in which every failure is a row."""

import dataclasses

import numpy as np
import pytest

from memflux.contracts import Predictor
from memflux.errors import DataError, MissingDependency
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.shard_work import Job, cpu_target, manifest_of, solver_for
from memflux.rows import Rows
from memflux.shards import complete_shards, list_shards, read_shard
from memflux.space import Space
from memflux.stand_in import StandIn

CAMPAIGN = Campaign(space="9d", count=20, seed=4, samples=8, engine="compact", shard_size=8)


def job(**changes):
    return Job(campaign=CAMPAIGN, out=changes.pop("out", ""), manifest=manifest_of(CAMPAIGN), **changes)


def raises_for_short(devices, drive):
    """Refuses devices below 1.3 um; the rest as the compact model."""
    if (devices.length < 1.3e-6).any():
        raise ArithmeticError("singular\nJacobian")
    return StandIn(samples=8)(devices, drive)


def test_rows_depend_on_campaign_and_index_alone():
    model = solver_for(CAMPAIGN)
    assert isinstance(model, Predictor)
    whole = job().rows(model, np.arange(20))
    parts = [job().rows(model, np.array([i])).content() for i in range(20)]
    assert np.concatenate(parts).tobytes() == whole.content().tobytes()
    devices, _ = Space.preset("9d").sample(20, seed=4)
    assert np.array_equal(whole.devices.length, devices.length)


def test_the_biography_says_who_where_and_with_what():
    told = job().rows(solver_for(CAMPAIGN), np.arange(3)).biography
    assert set(told["engine"]) == {"compact"}
    assert set(told["cpu_target"]) == {cpu_target()} != {""}
    assert (told["wall_time_s"] > 0).all()
    assert (told["finished_at"] > 1.6e9).all()


def test_a_device_that_raises_is_one_row():
    rows = job().rows(raises_for_short, np.arange(20))
    short = rows.devices.length < 1.3e-6
    assert 0 < short.sum() < 20
    assert set(rows.status_class[short]) == {"crashed"}
    assert set(rows.status[short]) == {"the solver raised ArithmeticError: singular Jacobian"}
    assert np.isnan(rows.current[short]).all()
    sound = job().rows(solver_for(CAMPAIGN), np.arange(20))
    assert rows[~short].content().tobytes() == sound[~short].content().tobytes()
    assert np.array_equal(rows.voltage, sound.voltage)


@pytest.mark.parametrize("error", [MissingDependency("no petsc4py"), OSError(28, "full")])
def test_what_is_wrong_with_the_machine_is_no_row(error):
    def broken(devices, drive):
        raise error

    with pytest.raises(type(error)):
        job().rows(broken, np.arange(2))


def test_a_device_that_no_memory_holds_is_one_row():
    def greedy(devices, drive):
        if (devices.length < 1.3e-6).any():
            raise MemoryError
        return StandIn(samples=8)(devices, drive)

    rows = job().rows(greedy, np.arange(20))
    assert np.array_equal(rows.status_class == "out_of_memory", rows.devices.length < 1.3e-6)
    assert set(rows.status[~rows.solved]) == {"the solver ran out of memory"}


def test_a_folder_that_a_worker_does_not_see_is_said(tmp_path):
    with pytest.raises(DataError, match=r"is not to be seen by process .* every node mounts"):
        job(out=str(tmp_path / "elsewhere")).predictor()


def test_rows_of_some_classes_are_made_again_and_the_rest_stays(tmp_path):
    first = job(out=str(tmp_path))
    first.make(raises_for_short, 0)
    folder = Folder.at(tmp_path)
    [old] = list_shards(folder)
    before = Rows.from_table(read_shard(folder, old), ("amplitude", "period"))
    again = job(out=str(tmp_path), again={0: old}, classes=("crashed",))
    assert list(again.indices(0)) == list(before.index[~before.solved])
    report = again.make(solver_for(CAMPAIGN), 0)
    assert (report.rows, report.failed) == ((~before.solved).sum(), {})
    assert again.make(solver_for(CAMPAIGN), 0).rows == report.rows  # whoever made it died before it could tell
    new = complete_shards(folder, again.manifest)[0][0]
    assert new != old in list_shards(folder)  # it goes when the run ends
    after = Rows.from_table(read_shard(folder, new), ("amplitude", "period"))
    assert after.content().tobytes() == job().rows(solver_for(CAMPAIGN), np.arange(8)).content().tobytes()
    kept = before.solved
    assert np.array_equal(after.biography["finished_at"][kept], before.biography["finished_at"][kept])


def test_a_shard_is_written_and_reported(tmp_path):
    work = job(out=str(tmp_path))
    report = work.make(raises_for_short, 2)
    folder = Folder.at(tmp_path)
    [shard] = list_shards(folder)
    rows = Rows.from_table(read_shard(folder, shard), ("amplitude", "period"))
    assert list(rows.index) == [16, 17, 18, 19]
    assert (report.number, report.rows) == (2, 4)
    assert sum(report.failed.values()) == (rows.status_class == "crashed").sum()


def test_the_manifest_holds_the_resolved_recipe():
    manifest = manifest_of(CAMPAIGN)
    assert manifest.drive == {"kind": "triangle", "cycles": 2}
    assert (manifest.method.engine, manifest.shards, manifest.samples) == ("compact", 3, 8)
    constant = manifest_of(CAMPAIGN.model_copy(update={"space": "5d-parametric"}))
    assert constant.drive == {"kind": "triangle", "cycles": 2, "amplitude": 10.0, "period": 8.0}
    assert dataclasses.is_dataclass(manifest)
