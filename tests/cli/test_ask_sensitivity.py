"""`memflux sobol` and `memflux morris`: options, files, pictures, and mistakes in one sentence."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.analysis.curve_sensitivity import CurveSobolResult
from memflux.analysis.screening import MorrisResult
from memflux.analysis.sensitivity import SobolResult
from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.errors import MemfluxError
from memflux.space import Space
from memflux.stand_in import StandIn


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2

    def quantity_errors(self, quantities):
        return np.random.default_rng(0).normal(0.0, 0.01, (50, len(quantities)))


@pytest.fixture(autouse=True)
def _stand(monkeypatch):
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: Stand(samples=16))


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "200"})


def test_sobol_with_pairs_a_tolerance_and_a_picture(tmp_path):
    words = ("--base-samples", 32, "--second-order", "--tolerance", 0.3, "--largest", 256)
    files = ("--out", tmp_path / "s.json", "--figure", tmp_path / "s.png")
    people = run("sobol", "--model", "m", *words, *files)
    assert people.exit_code == 0, people.output
    assert "barrier_left and barrier_right: " in people.stdout
    assert "with the error of the model" in people.stdout
    result = SobolResult.from_json(tmp_path / "s.json")
    assert result.base_samples > 32
    np.testing.assert_allclose(result.quantity_error, 0.01, rtol=0.3)
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"


def test_indices_along_the_curve(tmp_path):
    files = ("--out", tmp_path / "c.json", "--figure", tmp_path / "c.svg")
    result = run("sobol", "--model", "m", "--base-samples", 16, "--along-curve", *files, "--json")
    assert result.exit_code == 0, result.output
    assert CurveSobolResult.from_json(tmp_path / "c.json").to_dict() == json.loads(result.stdout)
    assert "<svg" in (tmp_path / "c.svg").read_text()
    people = run("sobol", "--model", "m", "--base-samples", 16, "--along-curve")
    assert "whole cycle, total order" in people.stdout


def test_morris(tmp_path):
    files = ("--out", tmp_path / "m.json", "--figure", tmp_path / "m.pdf")
    result = run("morris", "--model", "m", "--trajectories", 8, *files, "--json")
    assert result.exit_code == 0, result.output
    assert MorrisResult.from_json(tmp_path / "m.json").to_dict() == json.loads(result.stdout)
    assert (tmp_path / "m.pdf").read_bytes()[:4] == b"%PDF"
    people = run("morris", "--model", "m", "--trajectories", 8, "--quantity", "symmetry")
    lines = people.stdout[people.stdout.index("symmetry") :].splitlines()
    assert "barrier" in lines[0]  # the most important first
    assert "Example: memflux" in run("morris", "--help").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sobol", "--figure", "s.jpeg"), "end it in .png, .svg or .pdf"),
        (("sobol", "--figure", "/nowhere/s.png"), "not a file in an existing folder"),
        (("sobol", "--tolerance", 0), "tolerance = 0"),
        (("sobol", "--tolerance", 0.1, "--largest", 8), "largest = 8"),
        (("sobol", "--along-curve", "--second-order"), "leave out --quantity, --second-order and --tolerance"),
        (("morris", "--trajectories", 1), "trajectories = 1"),
        (("morris", "--space", "16d"), "not independent"),
        (("morris", "--figure", "m"), "end it in .png, .svg or .pdf"),
    ],
)
def test_bad_input_is_one_sentence(words, message):
    result = run(*words, "--model", "m")
    assert result.exit_code != 0
    assert isinstance(result.exception, MemfluxError), result.output
    assert message in str(result.exception)
