import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.analysis.inverse import FitResult
from memflux.analysis.pareto import ParetoResult
from memflux.analysis.sensitivity import SobolResult
from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.cli.predictor import predictor, space_of
from memflux.errors import DataError, InvalidValue, MemfluxError
from memflux.space import Space
from memflux.stand_in import StandIn

RUNNER = CliRunner()


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2


def run(*words):
    return RUNNER.invoke(app, [str(w) for w in words])


def sentence(*words):
    """The error of a command that must fail with one."""
    result = run(*words)
    assert result.exit_code != 0
    assert isinstance(result.exception, MemfluxError), result.output
    return str(result.exception)


@pytest.fixture
def stand(monkeypatch):
    model = Stand(samples=40)
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: model)
    return model


@pytest.fixture
def curve(tmp_path):
    traces = Stand(samples=80)(*Stand.space.sample(1, seed=4))
    np.savetxt(tmp_path / "c.csv", np.stack([traces.voltage[0], traces.current[0]], axis=1), delimiter=",")
    return tmp_path / "c.csv"


@pytest.mark.parametrize("command", ["sobol", "pareto", "fit"])
def test_help_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example: memflux" in result.output


def test_sobol(stand, tmp_path):
    result = run("sobol", "--model", "m", "--base-samples", 32, "--voltage", 3, "--out", tmp_path / "s.json", "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["quantities"] == ["symmetry", "on_off_ratio(voltage=3)"]
    assert SobolResult.from_json(tmp_path / "s.json").to_dict() == fields
    people = run("sobol", "--model", "m", "--base-samples", 16, "--quantity", "symmetry")
    assert people.exit_code == 0
    assert "symmetry, total order" in people.stdout
    assert "barrier_left: " in people.stdout


def test_a_function_of_ones_own_and_parameters_are_quantities(stand, tmp_path):
    (tmp_path / "own.py").write_text("def peak(traces):\n    return abs(traces.current).max(axis=1)\n")
    words = ("--quantity", f"{tmp_path}/own.py:peak", "--quantity", "symmetry(cycle=0, signed=1)")
    result = run("sobol", "--model", "m", "--base-samples", 16, *words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["quantities"] == ["peak", "symmetry(cycle=0, signed=1)"]


def test_pareto(stand, tmp_path):
    small = ("--population", 12, "--generations", 3, "--seed", 2)
    result = run("pareto", "--model", "m", *small, "--out", tmp_path / "p.json", "--json")
    assert result.exit_code == 0, result.output
    assert ParetoResult.from_json(tmp_path / "p.json").to_dict() == json.loads(result.stdout)
    people = run("pareto", "--model", "m", *small, "--objective", "symmetry:max", "--objective", "on_off_ratio:min")
    assert people.exit_code == 0
    assert "devices on the front" in people.stdout


def test_fit(stand, curve, tmp_path):
    small = ("--starts", 4, "--iterations", 15, "--polish", 10)
    result = run("fit", curve, "--model", "m", *small, "--cost", "curve", "--out", tmp_path / "f.json", "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["nmae"] < 0.05
    assert FitResult.from_json(tmp_path / "f.json").to_dict() == fields
    people = run("fit", curve, "--model", "m", *small, "--fix", "vacancy_offset=0.3", "--fix", "period=8")
    assert people.exit_code == 0, people.output
    assert "0.3 (given)" in people.stdout


def test_a_space_that_varies_the_drive_needs_the_drive(stand, curve):
    sentence_ = sentence("fit", curve, "--model", "m", "--space", "9d", "--fix", "period=8")
    assert "--fix amplitude=VALUE" in sentence_
    assert "period=VALUE" not in sentence_


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sobol", "--base-samples", 100), "not a power of two"),
        (("sobol", "--quantity", "symetry"), "Did you mean 'symmetry'"),
        (("sobol", "--quantity", "symmetry(cicle=0)"), "did you mean 'cycle'"),
        (("sobol", "--quantity", "symmetry(cycle=0"), "no closing bracket"),
        (("sobol", "--quantity", "symmetry(cycle=inf)"), "cycle = 'inf' is not a whole number"),
        (("sobol", "--quantity", "none.py:peak"), "none.py is no file"),
        (("sobol", "--quantity", f"{__file__}:peek"), "has no function 'peek'"),
        (("sobol", "--space", "6d"), "preset = '6d' is not known"),
        (("sobol", "--space", "16d"), "not independent"),
        (("sobol", "--seed", -1), "seed = -1"),
        (("sobol", "--voltage", -5), "voltage = -5"),
        (("sobol", "--out", "/nowhere/x.json"), "not a file in an existing folder"),
        (("pareto", "--objective", "symmetry"), "has no sense; give symmetry:min"),
        (("pareto", "--objective", "symmetry:min"), "two or more pairs"),
        (("pareto", "--objective", "symmetry:low", "--objective", "on_off_ratio:max"), "sense of symmetry"),
        (("pareto", "--population", 1), "population = 1"),
        (("fit", "none.csv"), "none.csv cannot be read"),
        (("fit", "CURVE", "--fix", "period"), "--fix period does not end in =NUMBER"),
        (("fit", "CURVE", "--fix", "period=4"), "period = 4 is not what space '5d-parametric' is for (8)"),
        (("fit", "CURVE", "--fix", "lenght=4"), "'lenght' is not a parameter of the space"),
        (("fit", "CURVE", "--fix", "vacancy_offset=4"), "vacancy_offset = 4 eV is out of range"),
        (("fit", "CURVE", "--cost", "l2"), "kind = 'l2' is not known"),
        (("fit", "CURVE", "--floor", "1"), "lower the floor"),
    ],
)
def test_bad_input_is_one_sentence(stand, curve, words, message):
    words = [curve if word == "CURVE" else word for word in words]
    assert message in sentence(*words, "--model", "m")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ((None, None, None, None), InvalidValue, "no model to ask"),
        (("m", "http://127.0.0.1:1", None, None), InvalidValue, "both given"),
        (("m", None, "x", None), InvalidValue, "belong to --url"),
        (("/nowhere/surrogate", None, None, None), DataError, "nowhere"),
    ],
)
def test_one_model_must_be_named(options, kind, message):
    with pytest.raises(kind, match=message):
        predictor(*options)


def test_an_endpoint_needs_a_token(tmp_path, monkeypatch):
    monkeypatch.delenv("MEMFLUX_TOKEN", raising=False)
    with pytest.raises(InvalidValue, match="no token"):
        predictor(None, "http://127.0.0.1:1", "m", None)
    with pytest.raises(DataError, match="cannot be read"):
        predictor(None, "http://127.0.0.1:1", "m", tmp_path / "none")


def test_another_space_is_remarked_upon(capsys):
    model = Stand(samples=40)
    assert space_of(model, None) is model.space
    assert capsys.readouterr().err == ""
    assert space_of(model, "5d").name == "5d"
    assert "extrapolated" in " ".join(capsys.readouterr().err.split())
    assert dataclasses.is_dataclass(model)


def test_random_drives_are_no_question():
    class AnyDrive(Stand):
        space = Space.preset("5d-any-drive")

    model = AnyDrive(samples=40)
    with pytest.raises(InvalidValue, match=r"answers for any drive.* name the space of your drive with --space"):
        space_of(model, None)
    assert space_of(model, "5d-parametric").name == "5d-parametric"
