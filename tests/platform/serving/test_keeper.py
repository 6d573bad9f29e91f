"""What solvers solve is kept, once, beside the answers; trouble is told and waited out."""

import dataclasses
import time

import numpy as np
import pytest

from compact_served import NAME, CompactServed
from memflux.dataset import Dataset, summarise
from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.platform.serving import keeper as keeper_file
from memflux.platform.serving.keeper import Keeper, Origin, rows_to_keep
from memflux.rows import Method, drive_family
from memflux.stand_in import StandIn
from memflux.waveform import PiecewiseLinear, Sine

MODEL = CompactServed()
ORIGIN = Origin(space=MODEL.space, drive=MODEL.drive, samples=MODEL.samples)
METHOD = Method(control="accurate", engine="compact", solver_version="1")


def solved(count, seed=0, drive=MODEL.drive):
    """A family of drive and rows of it."""
    devices, _ = MODEL.space.sample(count, seed=seed)
    traces = StandIn(samples=MODEL.samples)(devices, drive)
    return drive_family(drive), rows_to_keep(devices, drive, traces, METHOD)


def begin(folder, **changed):
    return Keeper(str(folder), {NAME: dataclasses.replace(ORIGIN, **changed)}, METHOD)


def soon(happens):
    """Whether something happens within a few seconds."""
    end = time.monotonic() + 10.0
    while not happens() and time.monotonic() < end:
        time.sleep(0.01)
    return happens()


def rows_in(folder):
    return summarise(folder).tally.rows if (folder / "manifest.json").exists() else 0


def test_the_first_rows_are_written_at_once_and_the_last_at_the_end(tmp_path):
    keeper = begin(tmp_path)
    family, rows = solved(7)
    keeper.keep(NAME, family, rows[:2])
    assert soon(lambda: rows_in(tmp_path / NAME) == 2)
    keeper.keep(NAME, family, rows[1:])
    account = keeper.finish()
    assert (account.kept, account.lost) == (7, 0)
    data = Dataset.open(tmp_path / NAME)
    np.testing.assert_array_equal(data.rows.key, rows.key)
    np.testing.assert_array_equal(data.traces.current, rows.current)
    assert (data.space, data.manifest.method) == (MODEL.space, METHOD)
    assert not (tmp_path / NAME / ".lock").exists()
    again = begin(tmp_path)  # an endpoint of another day
    again.keep(NAME, family, rows)
    again.keep(NAME, *solved(2, seed=1))
    assert again.finish().kept == 2
    assert len(Dataset.open(tmp_path / NAME)) == 9


def test_families_of_drive_have_folders_of_their_own(tmp_path):
    keeper = begin(tmp_path)
    knots = [
        PiecewiseLinear(times=np.array([0.0, 1.0, t]), voltages=np.array([0.0, 1.0, 0.0]), cycles=1) for t in (2.0, 3.0)
    ]
    for drive in (MODEL.drive, Sine(amplitude=5.0, period=8.0, cycles=3), *knots):
        keeper.keep(NAME, *solved(2, drive=drive))
    keeper.keep(NAME, *solved(2, seed=1, drive=dataclasses.replace(MODEL.drive, amplitude=3.0)))
    assert keeper.finish().kept == 10
    below = sorted(path.name for path in (tmp_path / NAME).iterdir() if path.is_dir())
    assert [name[:18] for name in below] == ["piecewise_linear-1", "piecewise_linear-1", "sine-3"]
    data = Dataset.open(tmp_path / NAME)
    np.testing.assert_array_equal(data.drive.amplitude, [10.0, 10.0, 3.0, 3.0])
    assert Dataset.open(tmp_path / NAME / "sine-3").drive.cycles == 3


def test_failures_are_rows_unless_the_next_time_may_end_otherwise():
    devices, _ = MODEL.space.sample(4, seed=0)
    traces = StandIn(samples=MODEL.samples)(devices, MODEL.drive)
    classes = np.array(["solved", "diverged", "out_of_budget", "crashed"], dtype=object)
    rows = rows_to_keep(devices, MODEL.drive, dataclasses.replace(traces, status_class=classes), METHOD)
    assert list(rows.status_class) == ["solved", "diverged"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"samples": 80}, "samples = 40, not 80"),
        ({"space": dataclasses.replace(MODEL.space, name="b")}, "another space"),
    ],
)
def test_a_folder_of_another_model_is_refused_and_untouched(tmp_path, changed, sentence):
    first = begin(tmp_path)
    first.keep(NAME, *solved(2))
    first.finish()
    keeper = begin(tmp_path, **changed)
    assert isinstance(keeper.refusal(), InvalidValue)
    assert sentence in str(keeper.refusal())
    keeper.keep(NAME, *solved(3, seed=1))
    account = keeper.finish()
    assert (account.kept, account.lost) == (0, 3)
    assert sentence in account.reason
    assert len(Dataset.open(tmp_path / NAME)) == 2


def test_one_writer_a_folder(tmp_path):
    first = begin(tmp_path)
    second = begin(tmp_path)
    assert isinstance(second.refusal(), DataError)
    assert "is being filled by process" in str(second.refusal())
    second.finish()
    first.keep(NAME, *solved(1))
    assert first.finish().kept == 1


def test_a_full_disk_is_waited_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(keeper_file, "PAUSE", 0.01)
    keeper, plain, full = begin(tmp_path), Folder.write, [True]

    def write(self, name, content):
        if full[0] and name.startswith("shard"):
            raise DataError(f"{name} cannot be written: No space left on device; make room and run again.")
        plain(self, name, content)

    monkeypatch.setattr(Folder, "write", write)
    keeper.keep(NAME, *solved(3))
    assert soon(lambda: "wait to be kept" in caplog.text)
    keeper.keep(NAME, *solved(3, seed=1))
    full[0] = False
    assert soon(lambda: rows_in(tmp_path / NAME) == 6)
    full[0] = True
    keeper.keep(NAME, *solved(2, seed=2))
    account = keeper.finish()
    assert (account.kept, account.lost) == (6, 2)
    assert "No space left on device" in account.reason
    assert "2 solved devices are not kept" in caplog.text
    assert len(Dataset.open(tmp_path / NAME)) == 6


def test_a_small_disk_loses_what_it_cannot_take(small_disk):
    keeper = begin(small_disk)
    for seed in range(12):
        keeper.keep(NAME, *solved(40, seed=seed))
    account = keeper.finish()
    assert account.lost > 0
    assert "No space left on device" in account.reason
    assert account.kept + account.lost <= 480
    assert account.kept <= len(Dataset.open(small_disk / NAME)) <= 480 - account.lost


def test_what_is_held_is_bounded(tmp_path, monkeypatch, caplog):
    family, rows = solved(4)
    monkeypatch.setattr(keeper_file, "MOST_HELD", 2 * rows.current[:2].size)
    monkeypatch.setattr(Keeper, "_write", lambda *_: None)  # a disk that hangs
    keeper = begin(tmp_path)
    for _ in range(3):
        keeper.keep(NAME, family, rows[:2])
    assert "2 solved devices are not kept: they came faster than they could be written." in caplog.text
    assert keeper.finish().lost == 6


def test_rows_of_another_engine_are_told_and_the_rest_goes_on(tmp_path):
    keeper = begin(tmp_path)
    family, rows = solved(2)
    engine = np.full(2, "cuda", dtype=object)
    keeper.keep(NAME, family, dataclasses.replace(rows, biography=rows.biography | {"engine": engine}))
    keeper.keep(NAME, family, rows)
    account = keeper.finish()
    assert (account.kept, account.lost) == (2, 2)
    assert account.reason == "cuda solved them, and compact the others."


def test_nothing_is_kept_after_the_end(tmp_path, caplog):
    keeper = begin(tmp_path)
    keeper.finish()
    keeper.keep(NAME, *solved(1))
    assert "1 solved devices are not kept: the endpoint has ended." in caplog.text
