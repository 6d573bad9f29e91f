"""Data sets as files of other programs: the same numbers, whatever reads them."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time

import duckdb
import h5py
import numpy as np
import polars
import pyarrow as pa
import pytest
import xarray
from pyarrow import csv

from memflux import export as module
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue, MissingDependency
from memflux.export import export
from memflux.folder import Folder
from memflux.rows import Method
from memflux.shards import Manifest, list_shards
from memflux.space import Space
from memflux.stand_in import StandIn

COUNT = 13
SENTENCE = 'it said "no", then\nstopped, 50 µs on'


@pytest.fixture
def folder(tmp_path):
    """A data set of several shards, with a row that failed on the way and one that was never answered."""
    devices, drive = Space.preset("9d").sample(COUNT, seed=1)
    devices = devices.replace(image_force_permittivity=np.where(np.arange(COUNT) % 2, 4.0, np.nan))
    devices = devices.replace(barrier_lowering=np.arange(COUNT) % 3 > 0)
    traces = StandIn(samples=8)(devices, drive)
    current, kinds, status = traces.current.copy(), traces.status_class.copy(), traces.status.copy()
    current[2, 9:], kinds[2], status[2] = np.nan, "diverged", SENTENCE
    current[7], kinds[7], status[7] = np.nan, "crashed", "the worker died"
    traces = dataclasses.replace(
        traces, current=current, status_class=kinds, status=status, conduction=0.5 * np.abs(current)
    )
    url = tmp_path / "data"
    Dataset.write(
        url, devices=devices, drive=drive, traces=traces, space=Space.preset("9d"), recipe={"seed": 1}, shard_size=4,
        method=Method(engine="compact", solver_version="7"),
    )  # fmt: skip
    return url


def opened(path) -> xarray.Dataset:
    with xarray.open_dataset(path, engine="h5netcdf") as file:
        return file.load()


@pytest.mark.parametrize("name", ["c.nc", "c.h5"])
@pytest.mark.parametrize("block", [1, 5, 1024])
def test_xarray_opens_what_to_xarray_gives(folder, tmp_path, name, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    assert export(folder, tmp_path / name) == COUNT
    there, wanted = opened(tmp_path / name), Dataset.open(folder).to_xarray()
    xarray.testing.assert_equal(there, wanted)
    assert set(there.coords) == set(wanted.coords)
    for variable in wanted.variables:
        assert there[variable].attrs == wanted[variable].attrs
        if wanted[variable].dtype.kind not in "OU":
            assert there[variable].dtype == wanted[variable].dtype
    assert there.status.values[2] == SENTENCE
    assert np.isnan(there.current.values[2, 9:]).all()
    assert not np.isnan(there.current.values[2, :9]).any()


def test_the_file_says_where_its_rows_come_from(folder, tmp_path):
    export(folder, tmp_path / "c.nc")
    attributes, manifest = opened(tmp_path / "c.nc").attrs, Manifest.read(Folder.at(folder))
    assert attributes["source"].startswith("memflux ")
    assert json.loads(attributes["recipe"]) == {"seed": 1}
    assert Space.from_dict(json.loads(attributes["space"])) == manifest.space
    assert (attributes["count"], attributes["shard_size"]) == (COUNT, 4)


def test_a_manifest_too_long_for_an_attribute_is_pointed_to(folder, tmp_path):
    text = json.loads((folder / "manifest.json").read_text())
    text["recipe"] = {"note": "x" * 70_000}
    (folder / "manifest.json").write_text(json.dumps(text))
    export(folder, tmp_path / "c.nc")
    assert opened(tmp_path / "c.nc").attrs["recipe"].endswith("see the manifest of the data set")


def test_h5py_reads_it_too(folder, tmp_path):
    export(folder, tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5") as file:
        np.testing.assert_array_equal(file["current"][:], Dataset.open(folder).traces.current)
        assert file["status"].asstr()[2] == SENTENCE
        assert file["current"].attrs["units"] == "A"


def test_shards_with_a_column_more_are_joined(folder, tmp_path):
    """A shard whose workers died has a conduction of NaN where the others, of an engine without one, have none."""
    made = Dataset.open(folder)
    without = dataclasses.replace(made.rows, conduction=None)
    first, second = Dataset.of(made.manifest, without[:4]), Dataset.of(made.manifest, made.rows[4:])
    for parts in ([first, second], [second, first]):
        path = tmp_path / f"{len(parts[0])}.nc"
        module._write_netcdf(path, made.manifest, COUNT, iter([[parts[0]], [parts[1]]]))
        joined = opened(path)
        lacking = slice(0, 4) if parts[0] is first else slice(9, 13)
        assert np.isnan(joined.conduction.values[lacking]).all()
        np.testing.assert_array_equal(joined.conduction.sel(device=slice(8, 12)), made.rows.conduction[8:])
    module._write_netcdf(tmp_path / "one.nc", made.manifest, COUNT, iter([[first, second]]))
    assert np.isnan(opened(tmp_path / "one.nc").conduction.values[:4]).all()


def test_csv_has_a_line_a_device(folder, tmp_path):
    assert export(folder, tmp_path / "c.csv") == COUNT
    table = csv.read_csv(tmp_path / "c.csv", parse_options=csv.ParseOptions(newlines_in_values=True))
    made = Dataset.open(folder)
    names = table.column_names
    assert names[0] == "index"
    assert names[names.index("status") + 1] == "voltage_000"
    assert names[-1] == "current_016"
    np.testing.assert_array_equal(table["period"].to_numpy(), made.drive.period)
    current = np.stack([table[f"current_{k:03}"].to_numpy() for k in range(17)], axis=1)
    np.testing.assert_array_equal(current, made.traces.current)
    assert table["image_force_permittivity"].null_count == 7
    assert table["barrier_lowering"].to_pylist() == made.devices.barrier_lowering.tolist()
    assert table["status"][2].as_py() == SENTENCE
    assert table["status_class"][7].as_py() == "crashed"


@pytest.mark.parametrize("read", ["polars", "duckdb", "numpy"])
def test_others_read_the_csv(folder, tmp_path, read):
    path = tmp_path / "c.csv"
    export(folder, path)
    made = Dataset.open(folder).traces.current[:, 10]
    match read:
        case "polars":
            found = polars.read_csv(path)["current_010"].cast(polars.Float64).fill_null(np.nan).to_numpy()
        case "duckdb":
            found = duckdb.sql(f"select current_010 from '{path}'").fetchnumpy()["current_010"].filled(np.nan)
        case "numpy":
            lines = path.read_text().replace(SENTENCE.replace('"', '""'), "x").splitlines()
            found = np.genfromtxt(lines, delimiter=",", names=True, dtype=None, deletechars='"')["current_010"]
    np.testing.assert_array_equal(found, made)


def test_duckdb_reads_the_shards_as_they_lie(folder):
    made = Dataset.open(folder)
    shards = f"'{folder}/shard-*.parquet'"
    kinds = duckdb.sql(f"select status_class, count(*) from {shards} group by all order by 2 desc").fetchall()
    assert dict(kinds) == {"solved": 11, "diverged": 1, "crashed": 1}
    rows = duckdb.sql(
        f"select index, period, image_force_permittivity, current from {shards} order by index"
    ).fetchall()
    assert [r[0] for r in rows] == list(range(COUNT))
    np.testing.assert_array_equal([r[1] for r in rows], made.drive.period)
    assert [r[2] is None for r in rows] == np.isnan(made.devices.image_force_permittivity).tolist()
    np.testing.assert_array_equal([r[3] for r in rows], made.traces.current)


def test_polars_reads_the_shards_as_they_lie(folder):
    made = Dataset.open(folder)
    frame = polars.scan_parquet(f"{folder}/shard-*.parquet").sort("index").collect()
    np.testing.assert_array_equal(np.array(frame["current"].to_list()), made.traces.current)
    assert frame["image_force_permittivity"].null_count() == 7
    assert frame["status"][2] == SENTENCE


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(180)
def test_ray_data_reads_the_shards_as_they_lie(folder):
    ray_data = pytest.importorskip("ray.data")
    from memflux.platform.cluster import local_cluster

    made = Dataset.open(folder)
    with local_cluster(cores=1):
        rows = ray_data.read_parquet(f"{folder}/", file_extensions=["parquet"]).sort("index").take_all()
    np.testing.assert_array_equal(np.array([row["current"] for row in rows]), made.traces.current)
    assert [row["status_class"] for row in rows] == made.status_class.tolist()


def test_a_file_that_is_there_is_not_replaced_unasked(folder, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("mine")
    with pytest.raises(InvalidValue, match="is there already; give another name"):
        export(folder, path)
    assert path.read_text() == "mine"
    export(folder, path, overwrite=True)
    assert path.read_text().startswith('"index"')


@pytest.mark.parametrize("name", ["c.nc", "c.csv"])
def test_nothing_is_left_where_a_shard_is_damaged(folder, tmp_path, name):
    shard = folder / list_shards(Folder.at(folder))[2].name
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DataError, match="damaged or truncated"):
        export(folder, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_the_format_may_be_named(folder, tmp_path):
    export(folder, tmp_path / "c.dat", "csv")
    assert (tmp_path / "c.dat").read_text().startswith('"index"')


@pytest.mark.parametrize(
    ("name", "file_format", "sentence"),
    [
        ("c.txt", None, "ends with none of .nc, .h5, .csv; give such a name, or the format"),
        ("c", None, "ends with none of"),
        ("c.nc", "netcfd", "format = 'netcfd' is not known; choose one of netcdf, hdf5, csv. Did you mean 'netcdf'"),
    ],
)
def test_an_unknown_format_is_refused(folder, tmp_path, name, file_format, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        export(folder, tmp_path / name, file_format)


def test_what_cannot_be_read_or_written_is_a_sentence(folder, tmp_path):
    with pytest.raises(DataError, match="is no data set"):
        export(tmp_path / "nothing", tmp_path / "c.csv")
    with pytest.raises(DataError, match=r"c.nc cannot be written: .*choose another folder"):
        export(folder, tmp_path / "no" / "c.nc")
    for shard in folder.glob("shard-*"):
        shard.unlink()
    for name in ("c.csv", "c.nc"):
        with pytest.raises(DataError, match="has no shards yet"):
            export(folder, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory):
    """Rows with 4 MB of text in small shards: more than HDF5 keeps of a file in its cache of metadata."""
    devices, drive = Space.preset("9d").sample(1300, seed=1)
    traces = StandIn(samples=8)(devices, drive)
    status = np.array([f"{k} " + "x" * 3000 for k in range(len(devices))])
    traces = dataclasses.replace(traces, status_class=np.full(len(devices), "diverged"), status=status)
    url = tmp_path_factory.mktemp("long") / "data"
    Dataset.write(
        url, devices=devices, drive=drive, traces=traces, space=Space.preset("9d"), recipe={}, shard_size=100,
        method=Method(engine="compact", solver_version="7"),
    )  # fmt: skip
    return url


# A process of its own, since what is tested for is a crash: at a write, or as the process ends.
EXPORT_WITH_LIMITS = """
import resource, sys
from memflux.errors import DataError
from memflux.export import export
source, target, *limits = sys.argv[1:]
for limit in map(int, limits):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        print(export(source, target))
    except DataError as error:
        print(error)
"""


def exported(source, target, *limits: int) -> list[str]:
    """What exports to `target` say, one for each limit of the size of a file in bytes."""
    words = [sys.executable, "-c", EXPORT_WITH_LIMITS, source, target, *limits]
    made = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")
    return made.stdout.splitlines()


@pytest.mark.parametrize("name", ["c.nc", "c.h5", "c.csv"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(small_disk, long_folder, name):
    path = small_disk / name
    sentence = f"{path} cannot be written: No space left on device; make room, or choose another folder."
    assert exported(long_folder, path, -1) == [sentence]
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_is_full_anywhere_in_the_file_does_not_crash_hdf5(long_folder, tmp_path):
    path = tmp_path / "c.nc"
    assert export(long_folder, path) == 1300
    size = path.stat().st_size
    path.unlink()
    limits = [1, 5000, size // 9, size // 4, size // 2, size - 1]
    sentence = f"{path} cannot be written: File too large; make room, or choose another folder."
    assert exported(long_folder, path, *limits) == [sentence] * len(limits)
    assert list(tmp_path.iterdir()) == []
    assert exported(long_folder, path, 2 * size) == ["1300"]


def test_what_a_full_disk_refused_is_read_again(tmp_path):
    disk = module._Disk(tmp_path / "x", "w+")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        assert disk.write(b"01234567") == 8
        disk.check()
        assert disk.write(b"89abcd") == 6  # of which two fit
        disk.seek(2)
        assert disk.write(b"XY") == 2
        disk.truncate(20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    disk.seek(1)
    found = bytearray(15)
    assert disk.readinto(found) == 15
    assert found == b"1XY456789abcd" + bytes(2)
    for ask in (disk.check, disk.close):
        with pytest.raises(OSError, match="File too large"):
            ask()
    assert disk.closed


def test_an_interrupted_export_ends_with_its_block_and_leaves_nothing(folder, tmp_path, monkeypatch):
    append, blocks = module._append, []

    def interrupted(*words):
        blocks.append(words)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)  # until the main thread has heard of it
        return append(*words)

    monkeypatch.setattr(module, "BLOCK", 1)
    monkeypatch.setattr(module, "_append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(folder, tmp_path / "c.nc")
    assert len(blocks) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("name", ["c.nc", "c.csv"])
def test_a_folder_that_cannot_be_written_is_a_sentence(folder, tmp_path, name):
    plain = tmp_path / "plain"
    plain.write_text("mine")
    for place, cause in ((plain, "Not a directory"), (tmp_path / "no", "No such file or directory")):
        with pytest.raises(DataError) as caught:
            export(folder, place / name)
        assert str(caught.value) == f"{place / name} cannot be written: {cause}; choose another folder."
    assert plain.read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"data", "plain"}


@pytest.mark.parametrize("name", ["c.nc", "c.csv"])
def test_a_read_only_file_system_is_a_sentence(folder, small_disk, name):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(DataError, match="cannot be written: Read-only file system; choose another folder"):
        export(folder, small_disk / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0])
@pytest.mark.parametrize("name", ["c.nc", "c.csv"])
def test_a_folder_of_somebody_else_is_a_sentence(folder, tmp_path, name, mode):
    place = tmp_path / "theirs"
    place.mkdir(mode=mode)
    with pytest.raises(DataError, match="cannot be written: Permission denied; choose another folder"):
        export(folder, place / name)


def test_without_h5netcdf_the_remedy_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(MissingDependency, match=r"hdf5 needs h5netcdf .*pip install 'memflux\[export\]'"):
        export(folder, tmp_path / "c.h5")
    assert export(folder, tmp_path / "c.csv") == COUNT


def test_a_column_of_nulls_alone_keeps_its_type(folder):
    empty = module._column(np.full(3, np.nan))
    assert empty.type == pa.float64()
    assert empty.null_count == 3
