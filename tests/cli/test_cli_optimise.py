import json

import pytest
from typer.testing import CliRunner

from memflux.analysis.optimise import OptimiseResult
from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.errors import MemfluxError
from memflux.space import Space
from memflux.stand_in import StandIn


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2


@pytest.fixture(autouse=True)
def stand(monkeypatch):
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: Stand(samples=40))


def run(*words):
    small = ("--population", 16, "--generations", 10)
    return CliRunner().invoke(app, ["optimise", "--model", "m", *map(str, (*small, *words))])


def test_help_has_an_example():
    assert "Example: memflux optimise" in run("--help").output


def test_the_published_targets(tmp_path):
    result = run("--out", tmp_path / "o.json", "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["quantities"] == ["symmetry", "on_off_ratio"]
    assert fields["targets"] == [0.0, 1.0]
    assert OptimiseResult.from_json(tmp_path / "o.json").to_dict() == fields


def test_targets_of_ones_own_with_scales_constraints_and_fixed_parameters(tmp_path):
    (tmp_path / "own.py").write_text("def peak(traces):\n    return abs(traces.current).max(axis=1)\n")
    result = run(
        "--target", "on_off_ratio(voltage=3)=0.8/0.1", "--target", f"{tmp_path}/own.py:peak=1e-4/1e-5",
        "--at-least", "symmetry=0.2", "--at-most", "symmetry=0.9", "--fix", "barrier_left=0.1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["quantities"] == ["on_off_ratio(voltage=3)", "peak", "symmetry"]
    assert fields["scales"] == [0.1, 1e-5, None]
    assert (fields["low"][2], fields["high"][2]) == (0.2, 0.9)
    assert 0.2 <= fields["values"][2] <= 0.9
    assert fields["parameters"]["barrier_left"] == 0.1


def test_for_people():
    result = run("--at-most", "energy=1")
    assert result.exit_code == 0, result.output
    assert "(target 1)" in result.stdout
    assert "(at most 1)" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "symmetry"), "--target symmetry does not end in =NUMBER; write for example --target symmetry=0"),
        (("--target", "symmetry=0/x"), "--target symmetry=0/x does not end in =NUMBER"),
        (("--target", "symmetry=0/0"), "scale of symmetry"),
        (("--target", "symetry=0"), "Did you mean 'symmetry'"),
        (("--at-least", "symmetry"), "--at-least symmetry does not end in =NUMBER"),
        (("--at-least", "symmetry=0.5", "--at-most", "symmetry=0.4"), "low of symmetry = 0.5 is above high = 0.4"),
        (("--at-least", "symmetry=2"), "keeps all constraints, the nearest has symmetry = "),
        (("--fix", "lenght=4"), "'lenght' is not a parameter of the space"),
        (("--out", "/nowhere/x.json"), "not a file in an existing folder"),
    ],
)
def test_bad_input_is_one_sentence(words, message):
    result = run(*words)
    assert result.exit_code != 0
    assert isinstance(result.exception, MemfluxError), result.output
    assert message in str(result.exception)
