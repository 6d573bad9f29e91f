"""`memflux tune`: a study from its file to a surrogate, and what a person does wrong on the way."""

import json

import pytest
import yaml

from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from tune_command import run

SEARCH = {
    "width": {"low": 8, "high": 24},
    "learning_rate": {"low": 1e-3, "high": 0.1, "log": True},
    "optimiser": ["muon", "adamw"],
}
FIXED = {"epochs": 6, "layers": 2, "members": 1, "components": 6}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli_tune")
    space = Space.preset("5d-parametric")
    devices, drive = space.sample(120, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    for name, known in (("data", space), ("nameless", None)):
        Dataset.write(root / name, devices=devices, drive=drive, traces=traces, space=known)
    write(root / "s.yaml")
    return root


def write(path, **changes):
    fields = {"model": "spectral", "dataset": "data", "curves": 100, "samples": 8, "search": SEARCH, "fixed": FIXED}
    path.write_text(yaml.safe_dump({**fields, "trials": 14, **changes}))
    return path


def test_from_a_file_to_a_surrogate(root):
    study = root / "study"
    first = run(root / "s.yaml", "--out", study, "--executor", "serial", "--minutes", 0, "--json")
    assert first.exit_code == 75, first.output
    assert json.loads(first.stdout)["stopped"]
    whole = run("run", root / "s.yaml", "--out", study, "--executor", "serial", "--json")
    assert whole.exit_code == 0, whole.output
    state = json.loads(whole.stdout)
    assert state["complete"] + state["pruned"] == 14
    assert json.loads(run("status", study, "--json").stdout)["best_number"] == state["best_number"]

    document = json.loads(run("report", study, "--json").stdout)
    assert document == json.loads((study / "report.json").read_text())
    assert document["best"][0]["nmae"] == state["best"]
    assert {row["setting"] for row in document["importances"]["settings"]} == set(SEARCH)
    page = (study / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 4
    assert "ended early" in page
    assert "best trial" in run("report", study).stdout

    assert "--starts is for neural ODEs" in str(run("winner", study, "--out", root / "b", "--starts", 2).exception)
    found = json.loads(run("winner", study, "--out", root / "best", "--json").stdout)
    assert found["trial"] == state["best_number"]
    assert sum(found["split"].values()) == 120  # all curves, not those of the trials
    assert found["test_errors"]["count"] == found["split"]["test"]
    record = json.loads((root / "best" / "surrogate.json").read_text())
    assert record["config"]["width"] == found["settings"]["width"]
    assert record["samples"] == 8
    assert f"trial {found['trial']}" in record["record"]["about"]["tuned by"]


def test_several_objectives_and_failures_have_a_report_too(root):
    search = {"width": {"low": 8, "high": 24}, "batch_size": [16, 512]}
    file = write(
        root / "two.yaml", search=search, objectives=["nmae", "parameters"], pruner="none", sampler="nsga2", trials=4
    )
    assert run(file, "--out", root / "two", "--executor", "serial").exit_code == 0
    document = json.loads(run("report", root / "two", "--json").stdout)
    assert document["importances"] is None
    assert all(entry["parameters"] > 100 for entry in document["best"])


def test_a_new_file_reads_as_it_was_written(root):
    text = run("new", "--model", "lstm", "--dataset", "data", "--search", "lstm-published", "--trials", 7).stdout
    assert yaml.safe_load(text)["search"] == "lstm-published"
    assert "Table 3" not in text
    assert json.loads(run("new", "--model", "hybrid", "--dataset", "d", "--json").stdout)["search"] == "hybrid"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("none.yaml", "--out", "x"), "none.yaml cannot be read"),
        (("{root}/s.yaml", "--out", "{root}/data", "--executor", "serial"), "exists and holds no study"),
        (("{root}/s.yaml", "--out", "{root}/x", "--executor", "slurm"), "executor = 'slurm' is not known"),
        (("{root}/s.yaml", "--out", "{root}/x", "--executor", "serial", "--workers", 2), "are for --executor ray"),
        (("new", "--model", "lstn", "--dataset", "d"), "Did you mean 'lstm'"),
        (("new", "--model", "lstm", "--dataset", "d", "--search", "hybrid"), "is for hybrid, not for lstm"),
    ],
)
def test_mistakes_are_one_sentence(root, words, sentence):
    error = run(*(str(word).format(root=root) for word in words)).exception
    assert isinstance(error, InvalidValue)
    assert sentence in str(error)


def test_data_that_do_not_fit(root):
    for changes, sentence in (
        ({"dataset": "nameless"}, "'space' of a study file"),
        ({"curves": 200}, "curves = 200 is more than the 120"),
        ({"samples": 7}, "7"),
        ({"fixed": {"epochs": 6, "members": 65}}, "members = 65 is out of range"),
    ):
        file = write(root / "bad.yaml", **changes)
        error = run(file, "--out", root / "x", "--executor", "serial").exception
        assert isinstance(error, InvalidValue)
        assert sentence in str(error)
    assert not (root / "x").exists()
    file = write(root / "named.yaml", dataset="nameless", space="5d-parametric", trials=1)
    assert run(file, "--out", root / "named", "--executor", "serial").exit_code == 0


def test_a_study_without_a_complete_trial_says_why(root, monkeypatch):
    def full(*_):
        raise RuntimeError("not enough memory for anything")

    monkeypatch.setattr("memflux.training.spectral.Spectral.loss", full)
    file = write(root / "full.yaml", trials=2)
    result = run(file, "--out", root / "full", "--executor", "serial")
    assert result.exit_code == 1
    assert "not enough memory for anything" in result.output


def test_studies_that_are_none(root):
    for words in (("report", root / "data"), ("status", root), ("winner", root, "--out", root / "y")):
        assert isinstance(run(*words).exception, DataError)
    file = write(root / "hours.yaml", hours=0.0)
    run(file, "--out", root / "empty", "--executor", "serial")
    for words in (("report", root / "empty"), ("winner", root / "empty", "--out", root / "y")):
        error = run(*words).exception
        assert isinstance(error, InvalidValue)
        assert "complete" in str(error)
