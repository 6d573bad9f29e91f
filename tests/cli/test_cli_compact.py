"""`memflux compact`: loops or a predictor to a compact model to a file for a circuit simulator."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.analysis.memristor_march import periodic
from memflux.cli import compact as command
from memflux.cli.main import app
from memflux.errors import DataError, InvalidValue
from memflux.stand_in import StandIn
from memristors import EXAMPLES

RUNNER = CliRunner()
RESISTANCE = 1000.0
QUICK = ("--generations", 3)


def run(*words):
    return RUNNER.invoke(app, [str(word) for word in words])


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for frequency in (2.0, 5.0, 20.0):
        source = np.sin(2 * np.pi * np.arange(100) / 100)
        found = periodic(EXAMPLES[0], source[None], np.array([frequency]), RESISTANCE)
        columns = [np.arange(100) / (100 * frequency), source, found.voltage[0], found.current[0]]
        header = "time_s,source_V,voltage_V,current_A"
        np.savetxt(folder / f"at{frequency:g}.csv", np.stack(columns, 1), "%.12g", ",", header=header, comments="")
    return folder


def test_loops_to_spice_and_verilog_a(records, tmp_path):
    words = ("--model", "mms", "--fix", "beta=15", "--validate", "at20", "--out", tmp_path / "fit.json", *QUICK)
    done = run("compact", "fit", records, *words, "--restarts", 1, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["validation"], result["model"]["beta"], result["kind"]) == (["at20"], 15.0, "loop-fit")
    for target, mark in (("model.sp", ".subckt memristor_mms"), ("model.va", "module memristor_mms")):
        assert run("compact", "export", tmp_path / "fit.json", tmp_path / target).exit_code == 0
        text = (tmp_path / target).read_text()
        assert mark in text
        assert "2 to 5 Hz" in text


def test_the_table_is_for_people(records):
    done = run("compact", "fit", records, "--model", "gmms", "--free", "phi", *QUICK, "--restarts", 1)
    assert done.exit_code == 0, done.output
    assert "(held)" in done.stdout  # beta
    assert "L_b of records" in done.stdout


def test_a_device_to_spice(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "predictor", lambda *_: StandIn(samples=40))
    words = ("--amplitude", 5, 10, "--period", 4, 8, "--points", 2, "--compact", "ion-drift", *QUICK)
    done = run("compact", "device", "--model", "m", "--set", "barrier_left=0.2", *words, "--out", tmp_path / "d.json")
    assert done.exit_code == 0, done.output
    assert "held-out L_b" in done.stdout
    assert run("compact", "export", tmp_path / "d.json", tmp_path / "d.sp").exit_code == 0
    text = (tmp_path / "d.sp").read_text()
    assert "the device seed with barrier_left=0.2" in text
    start = json.loads((tmp_path / "d.json").read_text())["best"]["start"]
    assert f"start={start!r}" in text


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("fit", "{records}", "--model", "mns"), InvalidValue, "Did you mean 'mms'"),
        (("fit", "{records}", "--validate", "at7"), InvalidValue, "at7"),
        (("fit", "{records}", "--fix", "beta"), InvalidValue, "PARAMETER=VALUE"),
        (("fit", "{records}", "--fix", "beta=x"), InvalidValue, "PARAMETER=VALUE"),
        (("fit", "{records}", "--fix", "b=1"), InvalidValue, "not a parameter"),
        (("fit", "{records}", "--free", "tau"), InvalidValue, "fitted anyway"),
        (("fit", "{records}/none"), InvalidValue, "records"),
        (("fit", "{records}", "--out", "{records}"), DataError, "--out"),
        (("device", "--amplitude", 1, 2, "--period", 1, 2, "--name", "n"), InvalidValue, "--url"),
        (("device", "--amplitude", 2, 1, "--period", 1, 2), InvalidValue, "run downwards"),
        (("export", "{records}/none.json", "m.sp"), DataError, "cannot be read"),
        (("export", "{records}/at2.csv", "m.sp"), DataError, "not JSON"),
    ],
)
def test_a_mistake_is_one_sentence(words, error, message, records):
    done = run("compact", *(str(word).replace("{records}", str(records)) for word in words))
    assert isinstance(done.exception, error)
    assert message in str(done.exception)


def test_the_suffix_chooses_the_language(records, tmp_path):
    run("compact", "fit", records, "--model", "ion-drift", *QUICK, "--restarts", 1, "--out", tmp_path / "fit.json")
    done = run("compact", "export", tmp_path / "fit.json", tmp_path / "model.cir")
    assert isinstance(done.exception, InvalidValue)
    assert ".sp, .va" in str(done.exception)
    done = run("compact", "export", tmp_path / "fit.json", tmp_path / "none" / "model.sp")
    assert isinstance(done.exception, DataError)


@pytest.mark.parametrize("name", ["fit", "device", "export"])
def test_help_has_an_example(name):
    assert f"memflux compact {name}" in run("compact", name, "--help").output
