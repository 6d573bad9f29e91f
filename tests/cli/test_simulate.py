import json

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.errors import MemfluxError

COARSE = ["--control", "fast", "--engine", "compiled", "--samples", "16", "--cycles", "1"]


def call(*arguments):
    return CliRunner().invoke(app, ["simulate", *arguments])


def test_json_has_the_curve_the_device_and_the_status():
    done = call("--preset", "S2", "--set", "barrier_left=0.12", "--json", *COARSE)
    assert done.exit_code == 0
    answer = json.loads(done.stdout)
    assert answer["status"] == "solved"
    assert answer["device"]["barrier_left"] == 0.12
    assert len(answer["current"]) == len(answer["time"]) == 17


def test_csv_and_plot_are_written(tmp_path):
    done = call("--out", str(tmp_path / "iv.csv"), "--plot", str(tmp_path / "iv.png"), *COARSE)
    assert done.exit_code == 0
    table = np.loadtxt(tmp_path / "iv.csv", delimiter=",", skiprows=1)
    assert table.shape == (17, 3)
    assert (tmp_path / "iv.png").read_bytes().startswith(b"\x89PNG")


def test_a_drive_from_a_file(tmp_path):
    (tmp_path / "drive.csv").write_text("0,0\n1,2\n2,0\n")
    done = call("--drive", str(tmp_path / "drive.csv"), "--json", *COARSE)
    assert max(json.loads(done.stdout)["voltage"]) == 2.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "S3"], "preset = 'S3' is not known"),
        (["--set", "barrier_left"], "--set 'barrier_left' is not FIELD=VALUE"),
        (["--set", "barier_left=1"], "'barier_left' is not a device field; did you mean 'barrier_left'?"),
        (["--set", "length=-1"], "length = -1 m is out of range"),
        (["--amplitude", "nan"], "amplitude = nan V is not finite"),
        (["--drive", "x.csv", "--amplitude", "3"], "--drive x.csv says all about the voltage"),
        (["--control", "exact"], "control = 'exact' is not known"),
        (["--out", "/nowhere/at/all.csv"], "is not in an existing folder"),
    ],
)
def test_mistakes_get_a_sentence(arguments, sentence):
    done = call(*arguments)
    assert done.exit_code != 0
    assert isinstance(done.exception, MemfluxError)
    assert sentence in str(done.exception)


def test_a_vacancy_density_is_set_like_any_field():
    done = call("--preset", "S2", "--set", "mean_vacancy_density=5e23", "--json", *COARSE)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["device"]["mean_vacancy_density"] == 5e23
