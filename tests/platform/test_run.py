import pytest

from memflux.errors import DataError
from memflux.platform.run import RunFolder


def test_steps_are_timed_and_a_step_done_again_replaces_its_record(tmp_path):
    run = RunFolder.at(tmp_path)
    for amount in (3, 5):
        with run.timed("training", amount, "curves"):
            pass
    run.record("campaign", 2.0, 7, "curves")
    rows = run.read(run.timings)
    assert [(r["what"], r["amount"]) for r in rows] == [("training", 5), ("campaign", 7)]
    assert rows[1]["seconds"] == 2.0


def test_a_failed_step_leaves_no_record(tmp_path):
    run = RunFolder.at(tmp_path)
    with pytest.raises(RuntimeError, match="no"), run.timed("training", 1, "curves"):
        raise RuntimeError("no")
    assert run.read(run.timings) is None


def test_what_is_absent_or_damaged(tmp_path):
    with pytest.raises(DataError, match="is not a folder; give the folder of a run"):
        RunFolder.at(tmp_path / "none")
    run = RunFolder.at(tmp_path)
    assert run.read(run.checks) is None
    run.checks.write_text("{")
    with pytest.raises(DataError, match=r"checks\.json cannot be read"):
        run.read(run.checks)


def test_what_is_not_finite_becomes_null(tmp_path):
    run = RunFolder.at(tmp_path)
    run.write(run.checks, {"a": [1.0, float("nan")], "b": float("inf")})
    assert run.read(run.checks) == {"a": [1.0, None], "b": None}
