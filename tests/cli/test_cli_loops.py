"""`memflux loops`: records to a neural ODE to predicted loops, and what is refused."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.cli.loops import train
from memflux.cli.main import app
from memflux.training.memode.search import DEFAULTS

SMALL = ("--starts", "1", "--iterations", "8", "--width", "3", "--states", "1")


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["loops", *map(str, arguments)])
    assert (result.exit_code == code) or (code and result.exception is not None), result.output
    return result.stdout if not code else str(result.exception)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    for amplitude in (0.5, 1.0, 1.5):
        phase = 2.0 * np.pi * np.arange(200) / 200
        source = amplitude * np.sin(phase)
        voltage = source / (1.0 + 5.0 * (0.3 + 0.1 * np.cos(phase)))
        rows = np.stack([phase / (2.0 * np.pi * 4.0), source, voltage, (source - voltage) / 5e3], 1)
        header = "time_s,source_V,voltage_V,current_A"
        np.savetxt(folder / f"{amplitude}V.csv", rows, delimiter=",", header=header, comments="")
    return folder


def test_records_to_a_model_to_loops(records: Path, tmp_path: Path) -> None:
    model, table = tmp_path / "device", tmp_path / "loops.csv"
    trained = json.loads(run("train", records, "--out", model, "--validate", "1.0V", *SMALL, "--folds", 2, "--json"))
    assert trained["L_b, validation"] == trained["records"]["1.0V"]
    assert trained["L_b, cross-validated"] > 0.0
    again = json.loads(run("evaluate", model, records, "--out", table, "--json"))
    assert again["records"] == pytest.approx(trained["records"])
    lines = table.read_text().splitlines()
    assert len(lines) == 1 + 3 * 1000
    assert lines[0].startswith("record,phase,source_V")
    assert "L_b, all records" in run("evaluate", model, records)


def test_what_cannot_be_done_is_said(records: Path, tmp_path: Path) -> None:
    assert "is no record" in run("train", records, "--out", tmp_path / "a", "--validate", "2.0V", code=1)
    assert "is there already" in run("train", records, "--out", records, code=1)
    assert "0 records" in run("train", tmp_path / "nowhere", "--out", tmp_path / "a", code=1)
    assert "no neural ODE" in run("evaluate", records, records, code=1)
    assert "series_resistance = -1" in run(
        "train", records, "--out", tmp_path / "a", "--series-resistance", "-1", code=1
    )
    assert not (tmp_path / "a").exists()


def test_options_have_the_defaults_of_studies() -> None:
    options = {name: p.default for name, p in inspect.signature(train).parameters.items() if name in DEFAULTS}
    del options["folds"]  # of a study; alone, a training has none
    assert options == {name: DEFAULTS[name] for name in options}
    assert len(options) == 11
