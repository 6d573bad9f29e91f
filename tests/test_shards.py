"""Shard files: names that certify the content, and which copy counts."""

import dataclasses
import hashlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from memflux import designs, shards
from memflux.dataset import Dataset
from memflux.errors import DataError
from memflux.folder import Folder
from memflux.rows import Method, rows_of
from memflux.shards import (
    Manifest,
    Shard,
    complete_shards,
    damaged_files,
    list_shards,
    parse,
    read_shard,
    read_tally,
    sizes_on_disk,
    write_shard,
)
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.tally import Tally


@pytest.fixture
def made(tmp_path):
    """A folder with a data set of 10 rows in shards of 4, its manifest and its rows."""
    space = Space.preset("5d")
    devices, drive = space.sample(10, seed=0)
    dataset = Dataset.write(
        tmp_path,
        devices=devices,
        drive=drive,
        traces=StandIn(samples=8)(devices, drive),
        space=space,
        shard_size=4,
    )
    return Folder.at(tmp_path), dataset.manifest, dataset.rows


def test_shards_are_found_by_number(made):
    folder, manifest, _ = made
    assert [shard.number for shard in list_shards(folder)] == [0, 1, 2]
    assert manifest.shards == 3
    assert manifest.shard_rows(2) == range(8, 10)
    assert damaged_files(folder, manifest) == []


@pytest.mark.parametrize("damage", [lambda c: c[:-100], lambda c: c[:500] + b"x" + c[501:], lambda c: b""])
def test_damage_is_reported_by_name(made, damage):
    folder, manifest, _ = made
    shard = list_shards(folder)[1]
    folder.write(shard.name, damage(folder.read(shard.name)))
    assert damaged_files(folder, manifest) == [shard]
    with pytest.raises(DataError, match=f"{shard.name} is damaged or truncated"):
        read_shard(folder, shard)


def test_manifest_survives_the_round_trip(made):
    folder, manifest, _ = made
    assert Manifest.read(folder).to_json() == manifest.to_json()
    assert Manifest.read(folder).space == manifest.space


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "damaged"),
        (b"{}", "damaged"),
        (b'{"format": 99}', "upgrade"),
        (b'{"format": 2, "odd": 2}', "damaged"),
        (b'{"format": 1}', "make the data set anew"),
    ],
)
def test_a_bad_manifest_is_a_data_error(tmp_path, content, sentence):
    folder = Folder.at(tmp_path)
    folder.write("manifest.json", content)
    with pytest.raises(DataError, match=sentence):
        Manifest.read(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shard_size", 0), ("count", "many"), ("cycles", None), ("drive", {"kind": "square"}), ("drive", 3)],
)
def test_a_manifest_that_makes_no_sense_is_a_data_error(made, name, value):
    folder, manifest, _ = made
    fields = json.loads(manifest.to_json()) | {name: value}
    folder.write("manifest.json", json.dumps(fields).encode())
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        Manifest.read(folder)


def test_a_file_without_a_tally_is_damaged(made):
    folder, manifest, rows = made
    sink = io.BytesIO()
    pq.write_table(rows[4:8].to_table(), sink)
    folder.remove(list_shards(folder)[1].name)
    name = f"shard-000001-{hashlib.sha256(sink.getvalue()).hexdigest()[:16]}.parquet"
    folder.write(name, sink.getvalue())
    assert damaged_files(folder, manifest) == [Shard(1, name)]


def test_of_two_copies_one_counts(made):
    folder, manifest, rows = made
    late = dataclasses.replace(rows[4:8], biography=rows[4:8].biography | {"pid": np.full(4, 7)})
    write_shard(folder, 1, late)
    chosen, superseded = complete_shards(folder, manifest)
    assert [shard.number for shard in chosen] == [0, 1, 2]
    assert [shard.number for shard in superseded] == [1]


def test_of_two_copies_the_longer_one_counts(made):
    folder, manifest, _ = made
    grown = dataclasses.replace(manifest, count=12)
    devices, drive = Space.preset("5d").sample(4, seed=0, first=8)
    whole = rows_of(np.arange(8, 12), devices, drive, StandIn(samples=8)(devices, drive), Method())
    name = write_shard(folder, 2, whole)
    assert complete_shards(folder, grown)[0][2].name == name


def test_rows_of_another_shard_are_refused(made):
    folder, manifest, rows = made
    name = write_shard(folder, 2, rows[0:2])
    shard = next(s for s in list_shards(folder) if s.name == name)
    with pytest.raises(DataError, match=f"{name} does not hold the rows"):
        parse(folder, shard, read_shard(folder, shard), manifest)


def test_sizes_are_those_of_the_files(made):
    folder, _, rows = made
    fixed, each = sizes_on_disk([rows[0:4]])
    name = list_shards(folder)[0].name
    assert fixed + 4 * each == pytest.approx(len(folder.read(name)), rel=0.02)  # but for the tally in the footer


def test_of_two_copies_the_one_with_fewer_failures_counts(made):
    folder, manifest, rows = made
    failed = dataclasses.replace(rows[4:8], status_class=np.array(["solved", "crashed", "solved", "solved"], object))
    sound = list_shards(folder)[1]
    name = write_shard(folder, 1, failed)
    chosen, superseded = complete_shards(folder, manifest)
    assert chosen[1] == sound
    assert [shard.name for shard in superseded] == [name]


def test_the_footer_has_the_tally_of_the_rows(made):
    folder, _, rows = made
    failed = dataclasses.replace(rows[4:8], status_class=np.array(["solved", "crashed"] * 2, object))
    name = write_shard(folder, 1, failed)
    tally = read_tally(folder, Shard(1, name))
    assert tally == Tally.of(failed)
    assert tally.failed == {"crashed": [5, 7]}


@pytest.mark.parametrize("damage", [lambda c: c[:-100], lambda c: c[:-8], lambda c: b"PAR1", lambda c: b""])
def test_a_shard_without_a_footer_is_named(made, damage):
    folder, _, _ = made
    shard = list_shards(folder)[1]
    folder.write(shard.name, damage(folder.read(shard.name)))
    with pytest.raises(DataError, match=f"{shard.name} is damaged or truncated"):
        read_tally(folder, shard)


def test_a_long_footer_is_read_whole(made, monkeypatch):
    folder, _, rows = made
    monkeypatch.setattr(shards, "TAIL", 64)
    assert read_tally(folder, list_shards(folder)[0]) == Tally.of(rows[0:4])


def chosen_rows(manifest, index):
    """Rows of draws of the campaign of `made`."""
    devices, drive = designs.at(Space.preset("5d"), "published", np.array(index), 0)
    traces = StandIn(samples=8)(devices, drive)
    return rows_of(np.array(index), devices, drive.for_batch(len(index)), traces, manifest.method)


def test_chosen_rows_lie_in_the_shards_of_their_blocks(made):
    folder, manifest, _ = made
    more = manifest.choosing([41, 11, 40, 3, 43], 10)
    assert more.chosen == (11, 40, 41, 43)
    assert (more.rows, more.numbers, more.shards) == (14, [0, 1, 2, 10], 4)
    assert [more.shard_rows(n) for n in (1, 2, 10)] == [range(4, 8), [8, 9, 11], [40, 41, 43]]
    folder.write("manifest.json", more.to_json())
    assert Manifest.read(folder).chosen == more.chosen
    grown = more.choosing([], 42)
    assert (grown.chosen, grown.rows, grown.numbers) == ((43,), 43, list(range(11)))


def test_a_shard_of_chosen_rows_may_be_there_in_part(made):
    folder, manifest, _ = made
    more = manifest.choosing([41, 43], 10)
    shard = Shard(10, write_shard(folder, 10, chosen_rows(manifest, [43])))
    assert damaged_files(folder, more) == []
    assert parse(folder, shard, read_shard(folder, shard), more).index.tolist() == [43]
    with pytest.raises(DataError, match="does not hold the rows or samples that its number calls for"):
        parse(folder, shard, read_shard(folder, shard), manifest.choosing([42], 10))


def test_manifests_without_chosen_rows_are_written_as_ever(made):
    folder, manifest, _ = made
    assert "chosen" not in json.loads(manifest.to_json())
    fields = json.loads(manifest.to_json()) | {"chosen": [4]}
    folder.write("manifest.json", json.dumps(fields).encode())
    with pytest.raises(DataError, match=r"chosen = 4 is out of range"):
        Manifest.read(folder)
