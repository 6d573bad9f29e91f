import json

import polars
import pytest
from typer.testing import CliRunner

from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.errors import MemfluxError
from memflux.space import Space
from memflux.stand_in import StandIn

RUNNER = CliRunner()


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2


@pytest.fixture(autouse=True)
def stand(monkeypatch):
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: Stand(samples=16))


def run(*words):
    return RUNNER.invoke(app, ["sweep", "--model", "m", *map(str, words)])


def test_help_has_an_example():
    assert "Example: memflux sweep" in RUNNER.invoke(app, ["sweep", "--help"]).output


def test_a_sweep_is_written_resumed_and_grows(tmp_path):
    words = ("--out", tmp_path, "--quantity", "symmetry", "--quantity", "on_off_ratio(voltage=3)", "--seed", 4)
    first = run(*words, "--count", 100, "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["devices"], told["made"], told["failed"], told["stopped"]) == (100, 100, 0, False)
    assert json.loads(run(*words, "--count", 100, "--json").stdout)["made"] == 0
    assert run(*words, "--count", 200).exit_code == 0
    table = polars.read_parquet(f"{tmp_path}/shard-*.parquet")
    assert len(table) == 200
    assert "on_off_ratio(voltage=3)" in table.columns


def test_curves(tmp_path):
    assert run("--out", tmp_path, "--count", 10, "--curves").exit_code == 0
    assert polars.read_parquet(f"{tmp_path}/shard-*.parquet")["current"].list.len().to_list() == [33] * 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--count", 0), "count = 0"),
        (("--count", 10, "--quantity", "symetry"), "Did you mean 'symmetry'"),
        (("--count", 10, "--design", "grid"), "design = 'grid'"),
        (("--count", 10, "--shard-size", 5), "shard_size = 5"),
        (("--count", 10, "--url", "http://x", "--device", "cuda"), "belong to --model"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, words, message):
    result = run("--out", tmp_path, *words)
    assert isinstance(result.exception, MemfluxError), result.output
    assert message in str(result.exception)
