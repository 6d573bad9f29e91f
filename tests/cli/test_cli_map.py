import json

import pytest
from typer.testing import CliRunner

from memflux.analysis.maps import MapResult
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
    return CliRunner().invoke(app, ["map", "--model", "m", *map(str, words)])


SMALL = ("--axis", "barrier_left=4", "--axis", "mobility_vacancy=3")


def test_help_has_an_example():
    assert "Example: memflux map" in run("--help").output


def test_map(tmp_path):
    figure = tmp_path / "m.png"
    result = run(*SMALL, "--fix", "barrier_right=0.1", "--out", tmp_path / "m.json", "--figure", figure, "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert MapResult.from_json(tmp_path / "m.json").to_dict() == fields
    assert fields["held"]["barrier_right"] == 0.1
    assert [len(fields["x"]), len(fields["y"]), fields["z"]] == [4, 3, None]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_map_for_people():
    result = run(*SMALL, "--quantity", "energy", "--statistic", "mean", "--draws", 8)
    assert result.exit_code == 0, result.output
    assert "energy, largest" in result.stdout
    assert "0 of 96 devices" in result.stdout


def test_axes_without_numbers_have_the_usual_ones():
    result = run("--axis", "barrier_left", "--axis", "barrier_right", "--json")
    assert len(json.loads(result.stdout)["x"]) == 64


def test_undefined_everywhere_is_said():
    result = run(*SMALL, "--voltage", 20)
    assert result.exit_code == 0, result.output
    assert "undefined everywhere" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--axis", "barrier_left=4", "--axis", "barrier_right"), "--axis barrier_right has no number of points"),
        (("--axis", "barrier_left=4.5", "--axis", "barrier_right=4"), "--axis barrier_left=4.5 has no number"),
        (("--axis", "barrier_left=4"), "not two or three different parameters"),
        ((*SMALL, "--fix", "barrier_right"), "--fix barrier_right does not end in =NUMBER"),
        ((*SMALL, "--fix", "barrier_right=9"), "barrier_right = 9 eV is out of range"),
        ((*SMALL, "--statistic", "mode"), "statistic = 'mode'"),
        ((*SMALL, "--figure", "map.txt"), "--figure map.txt is no picture"),
        ((*SMALL, "--figure", "/nowhere/map.png"), "not a file in an existing folder"),
        ((*SMALL, "--out", "/nowhere/map.json"), "not a file in an existing folder"),
    ],
)
def test_bad_input_is_one_sentence(words, message):
    result = run(*words)
    assert result.exit_code != 0
    assert isinstance(result.exception, MemfluxError), result.output
    assert message in str(result.exception)
