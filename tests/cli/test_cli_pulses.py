"""`memflux pulses`, from a folder of measured trains to programmed devices."""

import json

import pytest
from typer.testing import CliRunner

from measured_trains import made_up, write
from memflux.analysis.programming import Programmed
from memflux.cli.main import app
from memflux.errors import MemfluxError

RUNNER = CliRunner()


def run(*words):
    return RUNNER.invoke(app, ["pulses", *(str(w) for w in words)])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return write(made_up(replicates=8, pulses=40), tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def model(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "m"
    result = run("train", measured, "--out", folder, "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["parameters"] == 513
    assert fields["mse"]["test"] < 0.02
    return folder


def test_predict(model):
    fields = json.loads(run("predict", model, "--set-duration", 0.15, "--json").stdout)
    assert fields["inside"]
    assert len(fields["scaled"]) == len(fields["current"]) == len(fields["low"]) == 40
    shown = run("predict", model, "--set-voltage", 9)
    assert "outside those of training" in " ".join(shown.stderr.split())
    assert "current" in shown.stdout
    fields = json.loads(run("predict", model, "--first", 1e-6, "--json").stdout)
    assert fields["current"][0] == pytest.approx(1e-6)


def test_export(model, tmp_path):
    result = run("export", model, tmp_path / "p.h", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["bytes_of_weights"] == 448
    assert "static float pulse_increment(" in (tmp_path / "p.h").read_text()


def test_program(model, measured, tmp_path):
    words = ("program", model, measured, "--devices", 50, "--tolerance", 0.05, "--out", tmp_path / "r.json", "--json")
    result = run(*words)
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["write-verify"]["reached"] > 0.5
    assert len(Programmed.from_json(tmp_path / "r.json").target) == 50


def test_a_row_split_is_labelled(measured, tmp_path):
    result = run("train", measured, "--out", tmp_path / "m", "--split", "rows", "--recipe", "summed", "--json")
    assert "leaks" in json.loads(result.stdout)["remark"]
    refused = run("program", tmp_path / "m", measured)
    assert "none of the curves is a test curve" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "{d}", "--out", "{t}/m", "--architecture", "A4"), "architecture = 'A4'"),
        (("train", "{d}", "--out", "{t}/m", "--split", "devices"), "split = 'devices'"),
        (("train", "{d}", "--out", "{t}/m", "--recipe", "mine"), "recipe = 'mine'"),
        (("train", "{t}/none", "--out", "{t}/m"), "is not a folder"),
        (("train", "{d}", "--out", "{d}"), "holds no pulse model"),
        (("predict", "{t}"), "holds no pulse_model.json"),
        (("predict", "{m}", "--set-duration", -1), "set_duration"),
        (("predict", "{m}", "--first", 0), "first"),
        (("export", "{m}", "{t}/p.c"), "ends with .h"),
        (("program", "{m}", "{d}", "--target", 2), "out of range"),
        (("program", "{m}", "{d}", "--devices", 0), "count = 0"),
        (("program", "{m}", "{d}", "--out", "{t}/none/r.json"), "existing folder"),
    ],
)
def test_bad_options_are_one_sentence(words, message, measured, model, tmp_path):
    result = run(*(str(w).format(d=measured, m=model, t=tmp_path) for w in words))
    assert isinstance(result.exception, MemfluxError)
    assert message in str(result.exception)
