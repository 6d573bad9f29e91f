"""What `memflux fit` says beyond the fit: confirmation, profiles, posterior, figures."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.analysis.confirmed_fit import Confirmation
from memflux.analysis.identifiability import Identifiability
from memflux.analysis.inverse import FitResult
from memflux.analysis.posterior import Posterior
from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.errors import InvalidValue
from memflux.solvers import solver
from memflux.space import Space
from memflux.stand_in import StandIn

RUNNER = CliRunner()
SMALL = ("--model", "m", "--starts", 4, "--iterations", 5, "--polish", 5)


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2


def run(*words):
    return RUNNER.invoke(app, [str(w) for w in words])


@pytest.fixture
def curve(monkeypatch, tmp_path):
    model = Stand(samples=20)
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: model)
    monkeypatch.setattr(solver, "Solver", lambda samples: StandIn(samples=samples))
    traces = Stand(samples=80)(*Stand.space.sample(1, seed=4))
    np.savetxt(tmp_path / "c.csv", np.stack([traces.voltage[0], traces.current[0]], axis=1), delimiter=",")
    return tmp_path / "c.csv"


def test_everything_at_once(curve, tmp_path):
    words = (
        "--verify",
        2,
        "--profile",
        "--posterior",
        "--steps",
        20,
        "--fix",
        "vacancy_offset=0.3",
        "--fix",
        "barrier_left=0.1",
    )
    files = ("--out", tmp_path / "f.json", "--figure", tmp_path / "f.png")
    result = run("fit", curve, *SMALL, *words, *files, "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["kind"] == "fit"
    assert FitResult.from_json(tmp_path / "f.json").cost == fields["cost"]
    for name, kind in (("confirmation", Confirmation), ("identifiability", Identifiability), ("posterior", Posterior)):
        assert kind.from_json(tmp_path / f"f.{name}.json").to_dict() == fields[name]
    assert fields["confirmation"]["predicted_to_exact"][0] == pytest.approx(0.0, abs=1e-12)
    for name in ("f.png", "f-profile.png", "f-posterior.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_people_read_a_verdict(curve):
    result = run("fit", curve, *SMALL, "--profile", "--verify", 1)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.replace("│", " ").split())
    assert "The sweep " in said
    assert "one drive alone" in said
    assert "solved again, device 1" in said


def test_a_curve_sorted_by_voltage_is_fitted_in_every_order(curve, tmp_path):
    table = np.loadtxt(curve, delimiter=",")[-81:]
    order = np.argsort(table[:, 0], kind="stable")
    np.savetxt(tmp_path / "s.dat", np.stack([table[order, 0], np.abs(table[order, 1])], axis=1))
    result = run("fit", tmp_path / "s.dat", *SMALL, "--json")
    assert result.exit_code == 0, result.output
    assert "all 4 ways" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--figure", "f.txt"), "is no picture"),
        (("--verify", -1), "verify = -1"),
        (("--noise", -1), "relative = -1"),
        (("--steps", 1), "steps = 1"),
    ],
)
def test_bad_options_are_one_sentence(curve, words, message):
    result = run("fit", curve, *SMALL, *words)
    assert isinstance(result.exception, InvalidValue)
    assert message in str(result.exception)
