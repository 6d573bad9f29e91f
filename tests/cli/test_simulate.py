import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.errors import MemfluxError
from memflux.solvers.control import SolverControl
from memflux.solvers.solver import Solver

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


def test_the_energy_of_the_last_cycle_is_told():
    answer = json.loads(call("--preset", "S2", "--json", *COARSE).stdout)
    power = np.array(answer["voltage"]) * np.array(answer["current"])
    assert answer["energy of the last cycle [J]"] == pytest.approx(np.trapezoid(power, answer["time"]))
    assert "profiles" not in answer


def test_the_inside_is_drawn_filmed_and_listed(tmp_path):
    picture, film = tmp_path / "inside.png", tmp_path / "sweep.gif"
    looks = ("--profiles", "2.5,1", "--inside", str(picture))
    done = call("--preset", "S2", *looks, "--animate", str(film), "--frames", "3", "--json", *COARSE)
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert film.read_bytes().startswith(b"GIF89a")
    inside = json.loads(done.stdout)["profiles"]
    assert inside["time"] == [1.0, 2.5]  # those of the film are not listed
    assert np.shape(inside["j_x"]) == np.shape(inside["dissipation"]) == (2, len(inside["edges"]))
    assert np.shape(inside["vacancy"]) == (2, len(inside["x"]))


def test_the_inside_has_looks_of_its_own(tmp_path):
    assert call("--inside", str(tmp_path / "inside.svg"), *COARSE).exit_code == 0
    drawn = (tmp_path / "inside.svg").read_text()
    assert "<svg" in drawn


def test_a_sine_is_a_drive():
    answer = json.loads(call("--waveform", "sine", "--amplitude", "2", "--json", *COARSE).stdout)
    np.testing.assert_allclose(answer["voltage"][2], 2.0 * np.sin(np.pi / 4.0))


def test_a_solve_that_fails_before_the_first_look_draws_none(tmp_path, monkeypatch):
    import memflux.solvers.solver as solving

    def poor(name):
        return dataclasses.replace(preset(name), newton_budget=100, newton_per_level=0)

    preset = SolverControl.preset
    monkeypatch.setattr(solving.SolverControl, "preset", staticmethod(poor))
    picture, film = tmp_path / "inside.png", tmp_path / "sweep.gif"
    asked = ("--inside", str(picture), "--profiles", "7.9", "--animate", str(film), "--frames", "4", "--json")
    done = call("--preset", "S2", *asked, *COARSE)
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert "the budget of Newton steps or seconds was spent" in answer["status"]
    assert answer["energy of the last cycle [J]"] is None
    assert set(answer["profiles"]["n"][0]) == {None}
    assert not picture.exists()
    assert film.exists()  # of what was seen


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
        (["--drive", "x.csv", "--waveform", "sine"], "leave out --waveform, --amplitude and --period"),
        (["--waveform", "square"], "waveform = 'square' is not known"),
        (["--out", "/nowhere/at/all.csv"], "is not in an existing folder"),
        (["--inside", "/nowhere/at/all.png"], "is not in an existing folder"),
        (["--animate", "/nowhere/at/all.gif"], "is not in an existing folder"),
        (["--plot", "iv.jpeg2"], "iv.jpeg2 is no picture that can be written; give a name that ends in .png"),
        (["--inside", "inside"], "inside is no picture that can be written"),
        (["--animate", "sweep.png"], "sweep.png is no animation that can be written"),
        (["--animate", "sweep.gif", "--frames", "1"], "frames = 1 is out of range"),
        (["--profiles", "1"], "--profiles 1 would not be shown; add --inside FILE.png or --json"),
        (["--profiles", "1;2", "--json"], "--profiles '1;2' is no list of times in s"),
        (["--source", "charge"], "source = 'charge' is not known"),
        (["--compliance", "0"], "compliance = 0 A is out of range"),
        (["--source", "current"], "--source current needs an --amplitude in A"),
        (["--engine", "cuda", "--save-state", "s.npz"], "engine = 'cuda' leaves no state"),
        (["--save-state", "."], ". is a folder"),
        (["--from-state", "nothing.npz"], "nothing.npz cannot be read"),
        (
            ["--control", "reference", "--save-state", "s.npz"],
            "control = 'reference' with engine = 'auto' leaves no state",
        ),
        (["--save-state", "/nowhere/at/all.npz"], "is not in an existing folder"),
        (["--profiles", "1,99", "--json"], "profiles[1] = 99 s is out of range"),
    ],
)
def test_mistakes_get_a_sentence(arguments, sentence, monkeypatch):
    monkeypatch.setattr(Solver, "traces", None)  # nothing is solved before
    done = call(*arguments)
    assert done.exit_code != 0
    assert isinstance(done.exception, MemfluxError)
    assert sentence in str(done.exception)


def test_a_vacancy_density_is_set_like_any_field():
    done = call("--preset", "S2", "--set", "mean_vacancy_density=5e23", "--json", *COARSE)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["device"]["mean_vacancy_density"] == 5e23


def test_a_circuit_and_a_state_to_go_on_from(tmp_path):
    saved = str(tmp_path / "s.npz")
    circuit = ["--series-resistance", "1e4", "--compliance", "5e-5"]
    first = json.loads(call("--preset", "S2", *circuit, "--save-state", saved, "--json", *COARSE).stdout)
    assert first["peak current [A]"] == pytest.approx(5e-5, rel=1e-9)
    again = json.loads(call("--from-state", saved, "--json", *COARSE).stdout)
    assert again["device"] == first["device"]
    assert again["current"][0] == first["current"][-1]


def test_a_current_source():
    done = call("--preset", "S2", "--source", "current", "--amplitude", "3e-5", "--json", *COARSE)
    assert json.loads(done.stdout)["peak current [A]"] == pytest.approx(3e-5, rel=1e-9)
