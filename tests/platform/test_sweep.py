import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest
import sweep_slowly

from memflux.analysis.quantities import evaluate
from memflux.errors import DataError, InvalidValue
from memflux.platform.sweep import sweep
from memflux.platform.sweep_files import PART, Question
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=16)
QUESTION = Question(space=SPACE, count=2 * PART + 50, shard_size=PART, seed=1)


def content(folder):
    """Bytes of every file, by name."""
    return {p.name: p.read_bytes() for p in Path(folder).iterdir()}


def rows(folder):
    return polars.read_parquet(f"{folder}/shard-*.parquet").sort("index")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    state = sweep(MODEL, QUESTION, str(folder))
    assert (state.counts.rows, state.made, state.stopped) == (QUESTION.count, QUESTION.count, False)
    return folder


def test_rows_are_the_design_and_what_the_predictor_says(whole):
    table = rows(whole)
    devices, drive = QUESTION.draw(0, QUESTION.count)
    assert table["index"].to_list() == list(range(QUESTION.count))
    for name in SPACE.names:
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(devices, name))
    values = evaluate(MODEL, devices, drive, QUESTION.quantities)
    np.testing.assert_allclose(table["symmetry"].to_numpy(), values[:, 0], rtol=1e-12)
    np.testing.assert_allclose(table["on_off_ratio"].to_numpy(), values[:, 1], rtol=1e-12)
    assert set(table["status_class"]) == {"solved"}
    assert table["inside"].null_count() == len(table)  # the compact model has no training space


def test_it_can_be_read_as_it_lies(whole):
    query = f"SELECT count(*), min(\"on_off_ratio\") FROM '{whole}/shard-*.parquet' WHERE barrier_left < 0.1"
    count, least = duckdb.connect().execute(query).fetchone()
    assert count == pytest.approx(QUESTION.count * 0.05 / 0.12, rel=0.01)
    assert 0 < least < 1


def test_again_makes_nothing_and_changes_nothing(whole):
    before = content(whole)
    state = sweep(MODEL, QUESTION, str(whole))
    assert (state.made, state.before) == (0, QUESTION.count)
    assert content(whole) == before


def test_damaged_and_missing_shards_are_made_again_with_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, data in content(whole).items():
        (folder / name).write_bytes(data)
    shards = sorted(folder.glob("shard-*"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-100])
    (folder / ".tmp-abc").write_bytes(b"half")
    state = sweep(MODEL, QUESTION, str(folder))
    assert state.made == 2 * PART
    assert content(folder) == content(whole)


def test_a_larger_count_keeps_every_row(whole, tmp_path):
    less = dataclasses.replace(QUESTION, count=PART + 10)
    sweep(MODEL, less, str(tmp_path))
    first = content(tmp_path)
    state = sweep(MODEL, QUESTION, str(tmp_path))
    assert state.before == PART
    assert content(tmp_path) == content(whole)
    kept = [name for name in first if name.startswith("shard") and name in content(tmp_path)]
    assert len(kept) == 1  # the full shard; the one that grew has another name
    with pytest.raises(InvalidValue, match=f"count = {less.count} is below"):
        sweep(MODEL, less, str(tmp_path))


def test_a_shard_that_grew_before_a_kill_is_there_once(whole, tmp_path):
    sweep(MODEL, dataclasses.replace(QUESTION, count=PART + 10), str(tmp_path))
    short = max(tmp_path.glob("shard-*"))
    old = short.read_bytes()
    sweep(MODEL, QUESTION, str(tmp_path))
    short.write_bytes(old)
    sweep(MODEL, QUESTION, str(tmp_path))
    assert content(tmp_path) == content(whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 2}, "seed = 2 differs from the 1"),
        ({"design": "published"}, "design = 'published' differs"),
        ({"quantities": ("symmetry",)}, "quantities = "),
        ({"curves": True}, "curves = True differs"),
        ({"space": Space.preset("5d")}, "space = "),
        ({"shard_size": 2 * PART}, f"shard_size = {2 * PART} differs"),
    ],
)
def test_another_question_is_refused(whole, change, words):
    before = content(whole)
    with pytest.raises(InvalidValue, match=words):
        sweep(MODEL, dataclasses.replace(QUESTION, **change), str(whole))
    assert content(whole) == before


def test_another_model_is_refused_and_the_same_elsewhere_is_not(whole):
    def changed(devices, drive):
        traces = MODEL(devices, drive)
        return dataclasses.replace(traces, current=traces.current * 1.001)

    def rounded(devices, drive):
        traces = MODEL(devices, drive)
        return dataclasses.replace(traces, current=traces.current.astype(np.float32).astype(np.float64))

    with pytest.raises(InvalidValue, match="answers otherwise than the one"):
        sweep(changed, QUESTION, str(whole))
    assert sweep(rounded, QUESTION, str(whole)).made == 0


def test_failures_and_devices_outside_are_rows(tmp_path):
    def failing(devices, drive):
        traces = MODEL(devices, drive)
        lost = devices.barrier_left > 0.15
        return dataclasses.replace(
            traces,
            current=np.where(lost[:, None], np.nan, traces.current),
            status_class=np.where(lost, "diverged", "solved").astype(object),
            inside=devices.barrier_right < 0.1,
        )

    state = sweep(failing, dataclasses.replace(QUESTION, count=1000), str(tmp_path))
    table = rows(tmp_path)
    lost = table["barrier_left"].to_numpy() > 0.15
    assert len(table) == 1000
    np.testing.assert_array_equal(table["status_class"].to_numpy() == "diverged", lost)
    np.testing.assert_array_equal(np.isnan(table["symmetry"].to_numpy()), lost)
    np.testing.assert_array_equal(table["inside"].to_numpy(), table["barrier_right"].to_numpy() < 0.1)
    assert state.counts.failed == state.counts.undefined == lost.sum()
    assert state.counts.outside == (~table["inside"]).sum()
    assert sweep(failing, dataclasses.replace(QUESTION, count=1000), str(tmp_path)).counts == state.counts


def test_curves_are_float32(tmp_path):
    question = dataclasses.replace(QUESTION, count=100, curves=True, quantities=())
    sweep(MODEL, question, str(tmp_path))
    table = pq.read_table(next(tmp_path.glob("shard-*")))
    assert str(table.schema.field("current").type.value_type) == "float"
    current = np.stack(table["current"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(current, MODEL(*question.draw(0, 100)).current, rtol=1e-6, atol=1e-30)


def test_a_predictor_that_computes_quantities_is_asked_for_numbers(tmp_path):
    class Endpoint(StandIn):
        space = SPACE

        def quantities(self, devices, drive, names):
            return evaluate(MODEL, devices, drive, names)

        def __call__(self, devices, drive):
            assert len(devices) < 100  # the probe
            return MODEL(devices, drive)

    sweep(Endpoint(samples=16), dataclasses.replace(QUESTION, count=3000), str(tmp_path))
    table = rows(tmp_path)
    assert table["inside"].all()
    assert table["status_class"].null_count() == 3000


def test_periods_and_amplitudes_are_columns(tmp_path):
    question = dataclasses.replace(QUESTION, space=Space.preset("9d"), count=64, design="latin-hypercube")
    sweep(MODEL, question, str(tmp_path))
    _, drive = question.draw(0, 64)
    np.testing.assert_array_equal(rows(tmp_path)["period"].to_numpy(), drive.periods())


def test_a_killed_sweep_goes_on_to_the_same_bytes(tmp_path):
    sweep_slowly.main(str(tmp_path / "calm"), 0.0)
    for number in (signal.SIGKILL, signal.SIGTERM):
        folder = tmp_path / number.name
        code = slowly(folder, number)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 75)
        assert 1 <= len(list(folder.glob("shard-*"))) < 6
        sweep_slowly.main(str(folder), 0.0)
        assert content(folder) == content(tmp_path / "calm")


def slowly(folder, number):
    """Start a slow sweep, send it a signal once its first shard is there, and wait; its exit code."""
    path = os.pathsep.join([str(Path(sweep_slowly.__file__).parent), *sys.path])
    words = [sys.executable, sweep_slowly.__file__, str(folder), "0.4"]
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": path})
    try:
        while not list(folder.glob("shard-*")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        return process.wait(60)
    finally:
        process.kill()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "shard-000000-0123456789abcdef.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"has shards and no sweep\.json"):
        sweep(MODEL, QUESTION, str(tmp_path))
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(DataError, match="damaged or of another version"):
        sweep(MODEL, QUESTION, str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, "count = 0"),
        ({"count": 2**33}, "count = "),
        ({"design": "grid"}, "design = 'grid'"),
        ({"shard_size": 1000}, "shard_size = 1000"),
        ({"shard_size": PART + 1}, f"not a multiple of {PART}"),
        ({"quantities": ()}, "quantities are empty"),
        ({"quantities": ("symmetry", "symmetry")}, "symmetry would be the name of two columns"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_bad_questions_are_one_sentence(change, words):
    with pytest.raises(InvalidValue, match=words):
        dataclasses.replace(QUESTION, **change)
