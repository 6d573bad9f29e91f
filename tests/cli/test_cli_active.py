"""`memflux train --active` on the compact model: to its end, interrupted, and what it refuses."""

import json

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from memflux.cli import train as commands
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue
from memflux.platform.campaigns import runner
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.surrogate import Surrogate

CAMPAIGN = Campaign(space="5d-parametric", count=120, seed=2, samples=8, engine="compact", shard_size=16)


def begin(folder):
    runner.run(CAMPAIGN, str(folder), SerialExecutor())
    return folder


def run(data, out, *words):
    app = Typer()
    commands.register(app)
    few = ("--limit", 170, "--round", 30, "--epochs", 15, "--executor", "serial", "--json")
    words = ("train", data, "--out", out, "--active", *few, *words)
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder and the answer of an undisturbed run."""
    root = tmp_path_factory.mktemp("active")
    result = run(begin(root / "data"), root / "out", "--target", 1e-3)
    assert result.exit_code == 0, result.output
    return root, json.loads(result.stdout), result.stderr


def test_it_grows_the_data_set_and_saves_the_surrogate(done):
    root, answer, remarks = done
    data = Dataset.open(root / "data")
    assert (answer["devices"], answer["chosen"], answer["reached"], answer["rounds"]) == (170, 50, False, 3)
    assert answer["status"].startswith("target not reached, limit of 170 devices met")
    assert (len(data), len(np.unique(data.index)), data.manifest.count) == (170, 170, 120)
    record = Surrogate.load(root / "out").record
    assert record["dataset_hash"] == data.content_hash
    assert record["about"] == {"active learning": answer["status"]}
    assert not (root / "out.training").exists()
    history = json.loads((root / "out.rounds.json").read_text())
    assert [r["devices"] for r in history["rounds"]] == [120, 150, 170]
    assert history["rounds"][-1]["error"] == answer["error"]
    assert "120 devices (0 chosen): nMAE" in remarks
    assert "; next 30, guessed at" in remarks


def test_interrupted_it_goes_on_to_the_same_choices(done, tmp_path):
    root, answer, _ = done
    data = begin(tmp_path / "data")
    stops, solve, pieces = [75, 75, 0], runner._make, []
    for expected in stops:
        with pytest.MonkeyPatch.context() as patch:
            if expected:  # dies before anything of its first choice is solved, then with half of it
                patch.setattr(runner, "_make", lambda *a: _part(solve, a, len(pieces)))
            result = run(data, tmp_path / "out", "--target", 1e-3)
        pieces.append(result.exit_code)
    assert pieces == stops
    assert Dataset.open(data).content_hash == Dataset.open(root / "data").content_hash
    again = json.loads(result.stdout)
    assert (again["error"], again["rounds"]) == (answer["error"], answer["rounds"])


def _part(make, arguments, half):
    """`runner._make` that makes a part of what it is asked for, as if it were stopped."""
    executor, job, shards, *rest = arguments
    return make(executor, job, shards[: len(shards) // 2 if half else 0], *rest)


def test_time_is_up_in_training(tmp_path):
    result = run(begin(tmp_path / "data"), tmp_path / "out", "--target", 1e-3, "--minutes", 1e-6)
    assert result.exit_code == 75, result.output
    assert (tmp_path / "out.training").exists()


def test_it_begins_a_data_set_of_a_preset(tmp_path):
    words = ("--space", "5d-parametric", "--engine", "compact", "--target", 99)
    result = run(tmp_path / "data", tmp_path / "out", *words)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["devices"], answer["chosen"], answer["reached"]) == (60, 0, True)
    assert Dataset.open(tmp_path / "data").manifest.method.engine == "compact"


def test_it_refuses(done, tmp_path):
    root, _, _ = done
    data, out = root / "data", root / "out"
    for error, match, *words in (
        (InvalidValue, "--active needs --target; give --target 0.2"),
        (InvalidValue, r"target = 200 % is out of range", "--target", 200),
        (InvalidValue, "limit = 100 is below the 120 devices", "--target", 1, "--limit", 100),
        (InvalidValue, "round = 0 is out of range", "--target", 1, "--round", 0),
        (InvalidValue, "model of --active = 'lstm' is not known", "--target", 1, "--model", "lstm"),
        (InvalidValue, "executor = 'mpi' is not known; choose one of ray, serial", "--target", 1, "--executor", "mpi"),
        (InvalidValue, "engine = 'fast' is not known", "--target", 1, "--engine", "fast"),
        (InvalidValue, "'petsc' differs from the 'compact'", "--target", 1, "--engine", "petsc"),
        (DataError, "out.rounds.json is the history of another data set or seed", "--target", 1, "--seed", 9),
    ):
        result = run(data, out, *words)
        assert isinstance(result.exception, error), (words, result.output, result.exception)
        assert match in str(result.exception)
    result = run(data, out, "--target", 1, "--tensorboard", tmp_path / "events")
    assert "--tensorboard is for a training of its own; leave it out" in str(result.exception)
    result = run(tmp_path / "none", tmp_path / "out", "--target", 1, "--space", "5d-any-drive")
    assert "has random drives, which a spectral model cannot follow" in str(result.exception)
    result = run(tmp_path / "none", tmp_path / "out", "--target", 1)
    assert "holds no data set; give --space with a preset to begin one" in str(result.exception)
    devices, drive = Space.preset("5d-parametric").sample(50, seed=0)
    Dataset.write(tmp_path / "own", devices=devices, drive=drive, traces=StandIn(samples=8)(devices, drive))
    assert "has no recipe" in str(run(tmp_path / "own", tmp_path / "out", "--target", 1).exception)


def test_its_options_are_for_it_alone(done):
    app = Typer()
    commands.register(app)
    root, _, _ = done
    for option, value in (("--target", 1), ("--limit", 10), ("--round", 10), ("--engine", "compact")):
        words = ("train", root / "data", "--out", root / "plain", option, value)
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert isinstance(result.exception, InvalidValue)
        assert f"is for --active; add that, or leave {option} out" in str(result.exception)
