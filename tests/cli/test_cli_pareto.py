import json

import pytest
from typer.testing import CliRunner

from memflux.analysis.confirmed_front import ConfirmedFront
from memflux.analysis.pareto import ParetoResult
from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.errors import MemfluxError
from memflux.solvers import solver
from memflux.space import Space
from memflux.stand_in import StandIn

RUNNER = CliRunner()
SMALL = ("pareto", "--model", "m", "--population", 12, "--generations", 4)


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2


@pytest.fixture(autouse=True)
def stand(monkeypatch):
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: Stand(samples=40))
    monkeypatch.setattr(solver, "Solver", lambda samples: StandIn(samples=2 * samples))


def run(*words):
    return RUNNER.invoke(app, [str(w) for w in words])


def fields(*words):
    result = run(*SMALL, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_front_is_confirmed_drawn_and_written(tmp_path):
    found = fields("--verify", 5, "--out", tmp_path / "f.json", "--figure", tmp_path / "f.png", "--weights", "1,2")
    result = ParetoResult.from_json(tmp_path / "f.json")
    assert result.to_dict() == found
    check = ConfirmedFront.from_dict(result.confirmation)
    assert len(check.rows) == min(5, len(result.objectives))
    assert check.share == pytest.approx(1.0, abs=0.1)
    assert result.selected == result.select(weights=(1.0, 2.0))
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_people_see_knee_choice_limits_and_confirmation():
    shown = run(*SMALL, "--verify", 3, "--targets", "0.5,0.5", "--at-least", "on_off_ratio=0.1")
    assert shown.exit_code == 0, shown.output
    for words in ("your choice: symmetry", "hypervolume from (", "beyond a limit", "checked with the FV model"):
        assert words in shown.stdout


def test_options_reach_the_search():
    found = fields(
        *("--method", "nsga3", "--objective", "symmetry:min", "--objective", "on_off_ratio:max"),
        *(
            "--objective",
            "symmetry(cycle=0):max",
            "--reference",
            "1.5,0,0",
            "--at-least",
            "symmetry=0.1",
            "--at-most",
            "symmetry=1",
        ),
        *("--spread", "barrier_left=0.05", "--spread", "barrier_right=0.02", "--copies", 4, "--quantile", 0.8),
    )
    assert found["method"] == "nsga3"
    assert found["reference"] == [1.5, 0.0, 0.0]
    assert found["constraints"] == ["0.1 <= symmetry <= 1"]
    assert found["variability"] == {
        "spread": {"barrier_left": 0.05, "barrier_right": 0.02},
        "devices": 4,
        "statistic": "quantile",
        "quantile": 0.8,
    }
    assert found["evaluations"] == 4 * 4 * 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--at-least", "symmetry"), "--at-least symmetry"),
        (("--at-least", "symmetry=2", "--at-most", "symmetry=1"), "is above high"),
        (("--spread", "barrier_left"), "does not end in =NUMBER"),
        (("--spread", "barier_left=0.1"), "did you mean 'barrier_left'"),
        (("--quantile", 0.9), "give their --spread"),
        (("--reference", "a,b"), "is not a list of numbers"),
        (("--weights", "1,2,3"), "weights has 3 numbers"),
        (("--figure", "front.docx"), "is no picture that can be written"),
        (("--figure", "/nowhere/front.png"), "in an existing folder"),
        (("--method", "spea"), "method = 'spea'"),
    ],
)
def test_bad_input_is_one_sentence(words, message):
    result = run(*SMALL, *words)
    assert isinstance(result.exception, MemfluxError), result.output
    assert message in str(result.exception)
