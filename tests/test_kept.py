"""A data set that grows: every row once, readable at any moment, gone on with after any death."""

import dataclasses
import itertools

import numpy as np
import pytest

from memflux import kept as kept_file
from memflux.dataset import Dataset, verify
from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.kept import Kept
from memflux.rows import Method, drive_family, rows_of
from memflux.shards import list_shards
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
SAMPLES = 8
METHOD = Method(engine="compact", solver_version="1")


def rows_from(count, seed=0, samples=SAMPLES, method=METHOD):
    """Rows of the compact model, all with the same index."""
    devices, drive = SPACE.sample(count, seed=seed)
    return rows_of(np.zeros(count, int), devices, drive, StandIn(samples=samples)(devices, drive), method)


def begin(url, **changed):
    given = {
        "recipe": {"kept_for": "a"},
        "space": SPACE,
        "drive": drive_family(SPACE.sample(1, 0)[1]),
        "samples": SAMPLES,
        "method": METHOD,
    }
    return Kept.open(url, **given | changed)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of four rows."""
    monkeypatch.setattr(kept_file, "MOST_ROWS", 4)


def test_rows_come_back_in_the_order_in_which_they_came(tmp_path, small_shards):
    rows, kept = rows_from(11), begin(tmp_path)
    assert not list(tmp_path.iterdir())
    ends = [0, 1, 3, 9, 11]
    for first, last in itertools.pairwise(ends):
        assert kept.add(rows[first:last]) == last - first
        data = Dataset.open(tmp_path)
        assert (len(data), data.manifest.count) == (last, last)
        np.testing.assert_array_equal(data.index, np.arange(last))
        np.testing.assert_array_equal(data.rows.key, rows.key[:last])
        np.testing.assert_array_equal(data.traces.current, rows.current[:last])
    assert verify(tmp_path).damaged == ()
    assert verify(tmp_path).missing == 0
    assert data.space == SPACE
    # full shards once; of the one that grows at most one older copy, for whoever is reading it
    assert [shard.number for shard in list_shards(Folder.at(tmp_path))] == [0, 1, 2, 2]


def test_no_device_is_there_twice(tmp_path, small_shards):
    rows, kept = rows_from(6), begin(tmp_path)
    assert kept.add(rows[np.array([0, 1, 0, 2, 1])]) == 3
    assert kept.add(rows[:3]) == 0
    kept = begin(tmp_path)
    assert len(kept) == 3
    assert kept.add(rows) == 3
    np.testing.assert_array_equal(Dataset.open(tmp_path).rows.key, rows.key)
    assert begin(tmp_path).add(rows) == 0


def test_a_row_is_that_of_a_campaign_with_the_same_method(tmp_path):
    devices, drive = SPACE.sample(3, seed=0)
    traces = StandIn(samples=SAMPLES)(devices, drive)
    made = Dataset.write(tmp_path / "made", devices=devices, drive=drive, traces=traces, space=SPACE, method=METHOD)
    begin(tmp_path / "kept").add(rows_from(3))
    assert Dataset.open(tmp_path / "kept").content_hash == made.content_hash


@pytest.mark.parametrize("failing", range(1, 8))
def test_a_write_that_fails_loses_nothing(tmp_path, small_shards, monkeypatch, failing):
    """Every place at which writing or removing may fail: the folder stays readable and goes on, also elsewhere."""
    rows, kept, calls = rows_from(11), begin(tmp_path), itertools.count()
    kept.add(rows[:1])
    plain = {name: getattr(Folder, name) for name in ("write", "remove")}

    def fails(name):
        def method(self, *given):
            if next(calls) == failing:
                raise DataError(f"{given[0]} cannot be written: no space")
            return plain[name](self, *given)

        return method

    for name in plain:
        monkeypatch.setattr(Folder, name, fails(name))
    with pytest.raises(DataError, match="no space"):
        any(kept.add(rows[:end]) is None for end in (3, 9, 11))
    there = Dataset.open(tmp_path)
    np.testing.assert_array_equal(there.rows.key, rows.key[: len(there)])
    for writer in (kept, begin(tmp_path)):
        writer.add(rows)
        data = Dataset.open(tmp_path)
        np.testing.assert_array_equal(data.rows.key, rows.key)
        np.testing.assert_array_equal(data.index, np.arange(11))
    assert verify(tmp_path).damaged == ()


def test_a_folder_that_was_only_announced_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_file, "write_shard", lambda *_: (_ for _ in ()).throw(DataError("no space")))
    with pytest.raises(DataError):
        begin(tmp_path).add(rows_from(2))
    monkeypatch.undo()
    assert begin(tmp_path).add(rows_from(2)) == 2
    assert len(Dataset.open(tmp_path)) == 2


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"recipe": {"kept_for": "b"}}, r"recipe = {'kept_for': 'a'}, not {'kept_for': 'b'}; give another folder\.$"),
        ({"samples": 16}, "samples = 8, not 16"),
        ({"method": Method(engine="petsc")}, "method = Method"),
        ({"drive": {"kind": "sine", "cycles": 2}}, "drive = {'kind': 'triangle', 'cycles': 2}, not"),
        ({"space": dataclasses.replace(SPACE, name="other")}, "another space than 'other'"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, changed, sentence):
    begin(tmp_path).add(rows_from(1))
    with pytest.raises(InvalidValue, match=sentence):
        begin(tmp_path, **changed)


def test_a_campaign_is_no_such_folder(tmp_path):
    devices, drive = SPACE.sample(3, seed=0)
    traces = StandIn(samples=SAMPLES)(devices, drive)
    Dataset.write(tmp_path, devices=devices, drive=drive, traces=traces, space=SPACE, method=METHOD)
    with pytest.raises(InvalidValue, match=r"holds a data set of recipe = \{\}"):
        begin(tmp_path)


def test_strange_rows_are_refused(tmp_path):
    kept = begin(tmp_path)
    with pytest.raises(InvalidValue, match="engine = 'petsc' of a row is not the 'compact'"):
        kept.add(rows_from(1, method=Method(engine="petsc", solver_version="1")))
    with pytest.raises(InvalidValue, match="rows of 33 samples do not fit"):
        kept.add(rows_from(1, samples=16))
    assert not list(tmp_path.iterdir())


def test_damage_is_found_at_the_start(tmp_path):
    begin(tmp_path).add(rows_from(2))
    folder = Folder.at(tmp_path)
    shard = list_shards(folder)[0]
    folder.write(shard.name, folder.read(shard.name)[:-50])
    with pytest.raises(DataError, match=shard.name):
        begin(tmp_path)
