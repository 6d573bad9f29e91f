"""The data set: what is written is read back, bit for bit, from any shards on any file system."""

import dataclasses
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.dataset import Dataset, summarise, verify
from memflux.device import FIELDS
from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.shards import list_shards, write_shard
from memflux.space import PRESETS, Space
from memflux.stand_in import StandIn
from memflux.traces import STATUS_CLASSES

floats = st.floats(allow_nan=True, allow_infinity=True, width=64)


@st.composite
def data(draw):
    """Devices of any space with any currents, statuses and shard size."""
    space = Space.preset(draw(st.sampled_from(sorted(PRESETS))))
    count = draw(st.integers(1, 9))
    devices, drive = space.sample(count, seed=draw(st.integers(0, 2**63 - 1)))
    traces = StandIn(samples=4)(devices, drive)
    current = draw(st.lists(floats, min_size=traces.current.size, max_size=traces.current.size))
    traces = dataclasses.replace(
        traces,
        current=np.array(current).reshape(traces.current.shape),
        conduction=draw(st.sampled_from([None, traces.current])),
        status_class=np.array(draw(st.lists(st.sampled_from(STATUS_CLASSES), min_size=count, max_size=count)), object),
        status=np.array(draw(st.lists(st.text(max_size=5), min_size=count, max_size=count)), object),
    )
    return space, devices, drive, traces, draw(st.integers(1, 10))


@settings(max_examples=30, deadline=None)
@given(data())
def test_write_then_read_is_the_identity(case):
    space, devices, drive, traces, shard_size = case
    with tempfile.TemporaryDirectory() as folder:
        written = Dataset.write(folder, devices=devices, drive=drive, traces=traces, space=space, shard_size=shard_size)
        read = Dataset.open(folder)
    for name in FIELDS:
        assert np.array_equal(
            getattr(read.devices, name),
            getattr(devices, name),
            equal_nan=name not in ("contact_density", "barrier_lowering"),
        )
    for name in ("time", "voltage", "current"):
        assert getattr(read.traces, name).tobytes() == np.ascontiguousarray(getattr(traces, name)).tobytes()
    if traces.conduction is None:
        assert read.traces.conduction is None
    else:
        assert np.array_equal(read.traces.conduction, traces.conduction)
    assert list(read.status) == list(traces.status)
    assert list(read.status_class) == list(traces.status_class)
    assert np.array_equal(read.traces.ok, traces.ok)
    assert read.space == space
    assert read.drive.batch == drive.batch
    assert np.array_equal(read.drive.periods(), drive.periods())
    assert read.content_hash == written.content_hash


@pytest.fixture
def made(tmp_path):
    """A folder with 20 compact devices in shards of 8."""
    space = Space.preset("9d")
    devices, drive = space.sample(20, seed=1)
    traces = StandIn(samples=16)(devices, drive)
    Dataset.write(tmp_path / "d", devices=devices, drive=drive, traces=traces, space=space, shard_size=8)
    return tmp_path / "d"


def test_the_hash_does_not_depend_on_shards_or_file_system(made):
    read = Dataset.open(made)
    again = Dataset.write(
        f"memory://{made.parent.name}", devices=read.devices, drive=read.drive, traces=read.traces, shard_size=3
    )
    assert again.content_hash == read.content_hash == Dataset.open(f"memory://{made.parent.name}").content_hash
    assert summarise(made).tally.content_hash == read.content_hash


def test_missing_shards_are_allowed(made):
    folder = Folder.at(made)
    folder.remove(list_shards(folder)[1].name)
    read = Dataset.open(made)
    assert list(read.index) == [*range(8), *range(16, 20)]
    assert len(read.drive) == len(read) == 12
    summary = summarise(made)
    assert (summary.tally.rows, summary.manifest.count, summary.shards) == (12, 20, 2)
    found = verify(made)
    assert (found.wanted, found.present, found.missing, found.damaged) == (3, 2, 1, ())


def test_damage_is_named(made):
    folder = Folder.at(made)
    shard = list_shards(folder)[2]
    folder.write(shard.name, folder.read(shard.name)[:-7])
    with pytest.raises(DataError, match=shard.name):
        Dataset.open(made)
    found = verify(made)
    assert (found.wanted, found.present, found.missing) == (3, 3, 0)
    assert len(found.damaged) == 1
    assert shard.name in found.damaged[0]


def test_a_shard_that_growth_left_too_short_is_missing(made):
    folder = Folder.at(made)
    grown = dataclasses.replace(Dataset.open(made).manifest, count=24)
    folder.write("manifest.json", grown.to_json())
    found = verify(made)
    assert (found.wanted, found.present, found.missing, found.damaged) == (3, 2, 1, ())


def test_a_folder_without_rows_or_manifest_is_a_data_error(made, tmp_path):
    with pytest.raises(DataError, match="no manifest"):
        Dataset.open(tmp_path)
    folder = Folder.at(made)
    for shard in list_shards(folder):
        folder.remove(shard.name)
    with pytest.raises(DataError, match="no shards yet"):
        Dataset.open(made)


def test_a_data_set_is_not_written_over(made):
    read = Dataset.open(made)
    with pytest.raises(InvalidValue, match="holds a data set already"):
        Dataset.write(made, devices=read.devices, drive=read.drive, traces=read.traces)
    with pytest.raises(InvalidValue, match="one trace a device"):
        Dataset.write(made, devices=read.devices[:3], drive=read.drive, traces=read.traces)


def test_rows_that_are_there_twice_are_refused(made):
    rows = Dataset.open(made).rows
    write_shard(Folder.at(made), 2, rows[8:16])
    with pytest.raises(DataError, match=r"have rows twice|row"):
        Dataset.open(made)


def test_one_drive_for_all_stays_one(tmp_path):
    devices, drive = Space.preset("5d-parametric").sample(3, seed=0)
    Dataset.write(tmp_path, devices=devices, drive=drive, traces=StandIn(samples=8)(devices, drive))
    assert Dataset.open(tmp_path).drive.batch is None


def test_xarray_has_units_and_coordinates(made):
    data = Dataset.open(made).to_xarray()
    assert data["current"].dims == ("device", "sample")
    assert data["current"].attrs["units"] == "A"
    assert data["barrier_left"].attrs["units"] == "eV"
    assert float(data["phase"][-1]) == 2.0
    assert data["current"].sel(device=19).shape == (33,)


def test_a_summary_counts_classes_and_rates(made):
    read = Dataset.open(made)
    classes = np.array(["solved"] * 17 + ["diverged"] * 2 + ["crashed"], object)
    traces = dataclasses.replace(read.traces, status_class=classes)
    Dataset.write(made.parent / "e", devices=read.devices, drive=read.drive, traces=traces)
    summary = summarise(made.parent / "e")
    assert summary.failed_by_class == {"crashed": 1, "diverged": 2}
    assert (summary.tally.failures, summary.tally.rows) == (3, 20)
    assert summary.tally.failed == {"crashed": [19], "diverged": [17, 18]}
    assert summary.tally.rate() is None  # all rows were finished at once
    assert summary.disk_bytes == sum(path.stat().st_size for path in (made.parent / "e").glob("*.parquet"))


def test_rows_of_another_solver_never_mix(made):
    read = Dataset.open(made)
    rows = read.rows[8:16]
    versions = rows.biography | {"solver_version": np.full(8, "9", object)}
    folder = Folder.at(made)
    folder.remove(list_shards(folder)[1].name)
    name = write_shard(folder, 1, dataclasses.replace(rows, biography=versions))
    with pytest.raises(DataError, match=r"row 8 of .* has solver_version = '9' where the manifest says ''"):
        Dataset.open(made)
    folder.remove(name)
    write_shard(folder, 1, dataclasses.replace(rows, devices=rows.devices.replace(length=1e-6)))
    assert "another solver made, or that were changed" in verify(made).damaged[0]
