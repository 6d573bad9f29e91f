"""`memflux export` on a small surrogate of the compact model."""

import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from memflux.cli import export as commands
from memflux.cli.main import app as whole
from memflux.errors import DataError, InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from memflux.training.loop import fit
    from memflux.training.schedule import Schedule
    from memflux.training.spectral import SpectralConfig

    space = Space.preset("5d-parametric")
    devices, drive = space.sample(100, seed=0)
    config = SpectralConfig(components=4, members=2, width=8, layers=2)
    traces = StandIn(samples=16)(devices, drive)
    path = tmp_path_factory.mktemp("cli_export") / "surrogate"
    fit(devices, drive, traces, space, config, Schedule(epochs=2)).save(path)
    return path


def run(*words):
    app = Typer()
    commands.register(app)
    app.callback()(lambda: None)  # a second level, as in memflux itself
    return CliRunner().invoke(app, ["export", *map(str, words)])


def test_torch_file_for_machines(folder, tmp_path):
    path = tmp_path / "s.pt2"
    result = run(folder, path, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["form"] == "torch"
    assert told["file"] == str(path)
    assert told["inputs"] == ["parameters"]
    assert told["parameters"] == list(Space.preset("5d-parametric").names)
    assert told["difference"] < 1e-12
    assert path.stat().st_size / 1e6 == told["mb"]
    again = run(folder, path)
    assert isinstance(again.exception, InvalidValue)
    assert "there already" in str(again.exception)


def test_onnx_file_for_people(folder, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    (tmp_path / "s.onnx").write_text("older")
    result = run(folder, tmp_path / "s.onnx", "--overwrite")
    assert result.exit_code == 0, result.output
    assert "difference" in result.stdout


def test_mistakes_are_one_sentence(folder, tmp_path):
    assert isinstance(run(folder, tmp_path / "s.h5").exception, InvalidValue)
    assert isinstance(run(tmp_path / "none", tmp_path / "s.pt2").exception, DataError)


def test_help_has_an_example():
    result = CliRunner().invoke(whole, ["export", "--help"])
    assert result.exit_code == 0, result.output
    assert "memflux export runs/surrogate surrogate.onnx" in result.output
