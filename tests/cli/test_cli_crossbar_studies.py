import json

import pytest
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.errors import InvalidValue


def run(*words):
    return CliRunner().invoke(app, ["crossbar", *map(str, words)])


def test_help_has_an_example():
    for name in ("faults", "analogue", "lines"):
        assert f"Example: memflux crossbar {name}" in run(name, "--help").output.replace("\n", " ")


def test_faults_and_analogue():
    short = ("--epochs", 10, "--hidden", 16, "--arrays", 1)
    fields = json.loads(run("faults", *short, "--bits", 5, "--json").stdout)
    assert fields["bits"] == 5
    assert "cells that work" in run("faults", *short).stdout
    assert json.loads(run("analogue", *short, "--json").stdout)["kind"] == "crossbar-analogue"
    assert "ohm a segment" in run("analogue", *short, "--levels", 16).stdout


def test_lines():
    fields = json.loads(run("lines", "--rows", 16, "--columns", 8, "--json").stdout)
    assert fields["unknowns"] == 256
    assert fields["error_bound"] < 1e-12
    assert abs(fields["imbalance"]) < 1e-12
    assert 0 < fields["kept_least"] <= fields["kept_most"] < 1
    assert "kept_least" in run("lines", "--rows", 4, "--columns", 4).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("faults", "--bits", 99), "bits = 99"),
        (("analogue", "--levels", 1), "count = 1"),
        (("lines", "--rows", 0), "rows = 0"),
        (("lines", "--rows", 2000, "--columns", 2000), "columns = 2000"),
        (("lines", "--ohms", 0), "leave the lines out"),
        (("lines", "--share", 2), "share = 2"),
        (("lines", "--seed", -1), "seed = -1"),
    ],
)
def test_a_mistake_is_one_sentence(words, said):
    with pytest.raises(InvalidValue) as error:
        raise run(*words).exception
    assert said in str(error.value)
