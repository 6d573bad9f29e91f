"""`memflux tune` on measured loops: a study from its file to a neural ODE, and what a person does wrong on the way."""

import json

import pytest
import yaml

from looped_records import write_records
from memflux.errors import DataError, InvalidValue
from memflux.training.memode.model import MemOde
from tune_command import run

FIELDS = {
    "model": "memode", "dataset": "records", "validation": ["1.0V"],
    "search": {
        "width": {"low": 2, "high": 4}, "ridge": {"low": 1e-6, "high": 1e-2, "log": True}, "balanced": [True, False],
    },
    "fixed": {"states": 1, "memductance_width": 2, "starts": 1, "iterations": 5, "steps": 32, "folds": 2},
    "trials": 13,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tune_loops")
    write_records(root / "records")
    write(root / "s.yaml")
    return root


def write(path, **changes):
    path.write_text(yaml.safe_dump({**FIELDS, **changes}))
    return path


def test_from_a_file_to_a_neural_ode(root):
    study = root / "study"
    first = run(root / "s.yaml", "--out", study, "--executor", "serial", "--minutes", 0, "--json")
    assert first.exit_code == 75, first.output
    whole = run("run", root / "s.yaml", "--out", study, "--executor", "serial", "--json")
    assert whole.exit_code == 0, whole.output
    state = json.loads(whole.stdout)
    assert state["complete"] + state["pruned"] == 13
    assert json.loads(run("status", study, "--json").stdout)["best_number"] == state["best_number"]
    assert not list((study / "trials").iterdir())

    document = json.loads(run("report", study, "--json").stdout)
    assert document["best"][0]["loop_error"] == state["best"]
    assert {row["setting"] for row in document["importances"]["settings"]} == set(FIELDS["search"])
    page = (study / "report.html").read_text()
    assert "best cross-validated L_b" in page
    assert "iterations of all trials" in page
    assert "nMAE" not in page

    found = json.loads(run("winner", study, "--out", root / "best", "--starts", 2, "--json").stdout)
    assert found["trial"] == state["best_number"]
    assert (found["settings"]["starts"], found["settings"]["iterations"]) == (2, 5)
    assert found["L_b, validation"] == found["records"]["1.0V"]
    assert len(found["records"]) == 5
    assert MemOde.load(root / "best").config.rate_widths == (found["settings"]["width"],)
    notes = json.loads((root / "best" / "memode.json").read_text())["notes"]
    assert notes["records"] == ["0.5V", "0.75V", "1.25V", "1.5V"]
    assert notes["errors"] == found["records"]
    assert notes["tuned by"] == f"trial {found['trial']} of {study}"

    for words, kind, sentence in (
        (("winner", study, "--out", root / "best"), DataError, "is there already"),
        (("winner", study, "--out", root / "b", "--minutes", 1), InvalidValue, "--minutes is for surrogates"),
        (("winner", study, "--out", root / "b", "--starts", 0), InvalidValue, "starts = 0 is out of range"),
    ):
        error = run(*words).exception
        assert isinstance(error, kind)
        assert sentence in str(error)
    assert not (root / "b").exists()


def test_two_objectives_make_a_front(root):
    file = write(root / "two.yaml", objectives=["loop_error", "parameters"], pruner="none", sampler="nsga2", trials=3)
    assert run(file, "--out", root / "two", "--executor", "serial").exit_code == 0
    document = json.loads(run("report", root / "two", "--json").stdout)
    assert all(entry["parameters"] > 10 and entry["loop_error"] > 0 for entry in document["best"])


def test_a_new_file_reads_as_it_was_written(root):
    words = ("new", "--model", "memode", "--dataset", "records", "--validate", "1.0V", "--validate", "0.5V")
    text = run(*words, "--search", "memode-published").stdout
    assert yaml.safe_load(text)["validation"] == ["0.5V", "1.0V"]
    assert yaml.safe_load(text)["objectives"] == ["loop_error"]
    assert set(json.loads(run(*words, "--json").stdout)) == set(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"validation": ["9V"]}, "'9V' is no record; choose among 0.5V, 0.75V"),
        ({"objectives": ["nmae"]}, "objective = 'nmae' is not known; choose one of loop_error"),
        ({"search": "lstm"}, "search = 'lstm' is for lstm, not for memode"),
        ({"fixed": {"folds": 9}}, "folds = 9 is out of range; give a whole number from 2 to 4"),
        ({"dataset": "empty"}, "0 records NAME.csv"),
        ({"gpus": 1}, "gpus = 1.0 means nothing to a study of memode"),
    ],
)
def test_mistakes_are_one_sentence(root, changes, sentence):
    (root / "empty").mkdir(exist_ok=True)
    error = run(write(root / "bad.yaml", **changes), "--out", root / "x", "--executor", "serial").exception
    assert isinstance(error, InvalidValue)
    assert sentence in str(error)
    assert not (root / "x").exists()
