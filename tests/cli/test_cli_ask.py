"""`memflux ask`: a file of questions, the same answers as the commands give, and mistakes in one sentence."""

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from memflux.cli import ask as command
from memflux.cli import predictor as predictor_options
from memflux.cli.main import app
from memflux.errors import InvalidValue
from memflux.platform.asking.file import ANALYSES, Questions
from memflux.platform.serving.client import Client
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.surrogate import Surrogate

OF_THE_COMMAND = {"model", "url", "name", "token_file", "out", "figure", "json"}


class Stand(StandIn):
    """A compact model with what a surrogate says of itself."""

    space = Space.preset("5d-parametric")
    cycles = 2


@pytest.fixture(autouse=True)
def _stand(monkeypatch):
    monkeypatch.setattr(predictor_options, "predictor", lambda *_: Stand(samples=16))


def run(*words):
    return CliRunner().invoke(app, ["ask", *map(str, words)], env={"COLUMNS": "200"})


def write(folder, *analyses):
    (folder / "q.yaml").write_text(yaml.safe_dump({"analyses": list(analyses)}))
    return folder / "q.yaml"


@pytest.mark.parametrize("kind", list(ANALYSES))
def test_lines_are_the_options_of_the_command(kind):
    apart = typer.Typer()
    for module in command.COMMANDS:
        module.register(apart)
    options = {p.opts[-1].lstrip("-").replace("-", "_"): p for p in typer.main.get_command(apart).commands[kind].params}
    fields = ANALYSES[kind].model_fields
    assert set(options) - OF_THE_COMMAND == set(fields) - {"name"}
    for name, option in options.items():
        if name not in OF_THE_COMMAND and option.default is not None:  # None: as published
            assert option.default == fields[name].default


def test_the_same_documents_as_the_commands(tmp_path):
    file = write(
        tmp_path,
        {"name": "s", "analysis": "sobol", "base-samples": 16, "second-order": True},
        {"name": "p", "analysis": "pareto", "population": 12, "generations": 3, "at-most": {"symmetry": 0.9}},
    )
    words = ("--model", "m", "--out", tmp_path / "o", "--executor", "serial")
    first = run(file, *words, "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["answered"], told["failed"]) == (2, 0)
    assert [row["state"] for row in told["analyses"]] == ["answered", "answered"]
    for alone in (
        ("sobol", "--base-samples", 16, "--second-order", "--out", tmp_path / "s.json"),
        ("pareto", "--population", 12, "--generations", 3, "--at-most", "symmetry=0.9", "--out", tmp_path / "p.json"),
    ):
        CliRunner().invoke(app, [*map(str, alone), "--model", "m"])
    for name in ("s.json", "p.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "o" / name).read_bytes()
    people = run("run", file, *words)
    assert people.exit_code == 0
    assert people.stdout.count("kept") == 2


def test_a_failure_has_an_exit_code_and_a_sentence(tmp_path):
    file = write(
        tmp_path,
        {"name": "s", "analysis": "sobol", "base_samples": 100},
        {"name": "m", "analysis": "morris", "trajectories": 2},
    )
    result = run(file, "--model", "m", "--out", tmp_path / "o", "--executor", "serial")
    assert result.exit_code == 1
    assert "not a power of two" in " ".join(result.stdout.replace("┃", " ").replace("│", " ").split())
    assert (tmp_path / "o" / "m.json").is_file()


def test_a_new_file_can_be_asked_as_it_is(tmp_path):
    text = run("new").stdout
    (tmp_path / "q.yaml").write_text(text)
    found = Questions.from_yaml(tmp_path / "q.yaml").analyses
    assert [type(f) for f in found] == [kind for name, kind in ANALYSES.items() if name != "fit"]
    assert all(f == type(f)(name=f.name) for f in found)
    assert "# Rows of the design, a power of two." in text
    fit = json.loads(run("new", "--analysis", "fit", "--json").stdout)["analyses"]
    assert fit[0]["curve"] == "measured.csv"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.yaml",), "none.yaml cannot be read"),
        (("q.yaml", "--executor", "slurm"), "executor = 'slurm' is not known"),
        (("q.yaml", "--executor", "serial", "--actors", 2), "are for --executor ray"),
        (("new", "--analysis", "sobel"), "Did you mean 'sobol'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"name": "s", "analysis": "sobol"})
    result = run(*words, *(() if words[0] == "new" else ("--model", "m", "--out", "o")))
    assert isinstance(result.exception, InvalidValue)
    assert message in str(result.exception)
    assert "Example: memflux ask" in run("run", "--help").output


def test_actors_open_the_model_themselves(tmp_path):
    (tmp_path / "token").write_text("x" * 32)
    (tmp_path / "token").chmod(0o600)
    opened = predictor_options.opener(None, "http://127.0.0.1:1", "m", tmp_path / "token")
    (tmp_path / "token").unlink()  # another machine has no such file
    assert isinstance(opened(), Client)
    assert predictor_options.opener("folder", None, None, None).func == Surrogate.load
