"""`memflux train` and `memflux evaluate` on a small data set of the compact model."""

import json

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from memflux.cli import train as commands
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue
from memflux.platform.evaluation_figures import FILES
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli_train")
    devices, drive = SPACE.sample(100, seed=0)
    traces = StandIn(samples=16)(devices, drive)
    for name, space in (("data", SPACE), ("nameless", None)):
        Dataset.write(root / name, devices=devices, drive=drive, traces=traces, space=space)
    few, wave = SPACE.sample(12, seed=1)
    wide = StandIn(samples=160)(few, wave)  # on the grid of the pretrained surrogates
    Dataset.write(root / "wide", devices=few, drive=wave, traces=wide, space=SPACE)
    return root


def run(*words):
    app = Typer()
    commands.register(app)
    return CliRunner().invoke(app, [str(w) for w in words])


def test_train_then_evaluate(folders):
    result = run(
        "train",
        folders / "data",
        "--out",
        folders / "model",
        "--epochs",
        20,
        "--tensorboard",
        folders / "events",
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert list((folders / "events").iterdir())
    summary = json.loads(result.stdout)
    assert sum(summary["split"].values()) == 100
    assert (folders / "model" / "weights.safetensors").is_file()
    document = json.loads((folders / "model" / "surrogate.json").read_text())
    assert document["record"]["dataset_hash"] == Dataset.open(folders / "data").content_hash
    errors = json.loads(run("evaluate", folders / "model", folders / "data", "--json").stdout)
    assert errors["count"] == summary["split"]["test"]
    assert errors["outside"] == 0
    assert errors["nmae"] == pytest.approx(summary["test_errors"]["nmae"])
    every = json.loads(run("evaluate", folders / "model", folders / "data", "--part", "all", "--json").stdout)
    assert every["count"] == 100


def test_further_data_sets_are_learned_and_named(folders):
    kept = folders / "kept"
    devices, drive = SPACE.sample(30, seed=2)
    devices = devices.replace(barrier_left=np.where(np.arange(30) < 3, 0.5, devices.barrier_left))
    Dataset.write(kept, devices=devices, drive=drive, traces=StandIn(samples=16)(devices, drive), space=SPACE)
    words = ("train", folders / "data", "--out", folders / "more", "--epochs", 5, "--json")
    alone = json.loads(run(*words).stdout)
    summary = json.loads(run(*words, "--also", kept, "--also", kept).stdout)
    counts = summary["also"]
    assert sum(counts.values()) == 30  # a folder that is named twice is read once
    assert (counts["outside"], counts["known"], counts["failed"]) == (3, 0, 0)
    assert "also" not in alone
    assert summary["split"] == {**alone["split"], "train": alone["split"]["train"] + counts["added"]}
    assert summary["test_errors"]["count"] == alone["test_errors"]["count"]
    record = json.loads((folders / "more" / "surrogate.json").read_text())["record"]
    hashes = [Dataset.open(folders / name).content_hash for name in ("data", "kept")]
    assert record["dataset_hash"] == hashes
    errors = json.loads(run("evaluate", folders / "more", folders / "data", "--json").stdout)
    assert errors["nmae"] == pytest.approx(summary["test_errors"]["nmae"])
    refused = run(*words, "--also", folders / "wide").exception
    assert isinstance(refused, InvalidValue)
    assert "samples a cycle = 160 and the first data set 16" in str(refused)
    assert "--also is for a training of its own" in str(run(*words, "--also", kept, "--active").exception)


def test_fewer_samples_are_learned_and_compared(folders):
    words = ("train", folders / "data", "--out", folders / "thin", "--epochs", 5, "--samples", 8, "--json")
    summary = json.loads(run(*words).stdout)
    document = json.loads((folders / "thin" / "surrogate.json").read_text())
    assert document["samples"] == 8
    errors = json.loads(run("evaluate", folders / "thin", folders / "data", "--json").stdout)
    assert errors["nmae"] == pytest.approx(summary["test_errors"]["nmae"])
    refused = run(*words[:-2], 5, "--out", folders / "other")
    assert isinstance(refused.exception, InvalidValue)
    assert "samples = 5 is no even share of the 32 steps" in str(refused.exception)


def test_a_step_is_a_number_of_samples(folders):
    words = ("train", folders / "data", "--out", folders / "stepped", "--epochs", 5, "--json")
    assert run(*words, "--step", SPACE.period / 8).exit_code == 0
    assert json.loads((folders / "stepped" / "surrogate.json").read_text())["samples"] == 8
    for given, sentence in (
        (("--step", SPACE.period / 5), "is no whole number of samples; give one of 0.5, 1, 2, 4, 8."),
        (("--step", 0), "step = 0 s is out of range"),
        (("--step", 1, "--samples", 8), "give one of them"),
        (("--step", 1, "--active"), "--step is for a training of its own"),
    ):
        refused = run(*words[:3], folders / "other", *given).exception
        assert isinstance(refused, InvalidValue)
        assert sentence in str(refused)


def test_a_step_needs_one_period(tmp_path):
    space = Space.preset("2d")
    devices, drive = space.sample(5, seed=0)
    data = Dataset.write(
        tmp_path, devices=devices, drive=drive, traces=StandIn(samples=16)(devices, drive), space=space
    )
    with pytest.raises(InvalidValue, match=r"step = 0\.1 s needs one period for all drives, and theirs go from"):
        data.samples_for(0.1)


def test_an_evaluation_is_a_folder_of_figures_and_numbers(folders):
    words = ("evaluate", "5d-parametric", folders / "wide", "--part", "all")
    out = folders / "evaluation"
    out.mkdir()
    for name in ("evaluation.json", "cycles.png"):
        (out / name).write_text("of an earlier evaluation")
    result = run(*words, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} == {"evaluation.json", *FILES}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in FILES)
    document = json.loads((out / "evaluation.json").read_text())
    assert json.loads(result.stdout) == {**document, "folder": str(out)}
    plain = json.loads(run(*words, "--json").stdout)
    assert plain.items() <= document.items()
    assert set(document) - set(plain) == {"surrogate", "dataset", "felt", "worst_devices"}
    assert set(document["felt"]) == {"on_off_ratio", "symmetry", "log10_peak"}
    worst = document["worst_devices"]
    assert len(worst) == 10
    assert (worst[0]["row"], worst[0]["nmae"]) == (plain["worst"], plain["nmae"]["max"])
    assert set(worst[0]["parameters"]) == set(SPACE.names)


def test_an_evaluation_overwrites_nothing_else(folders):
    for out in (folders / "wide", folders / "wide" / "manifest.json"):
        result = run("evaluate", "5d-parametric", folders / "wide", "--part", "all", "--out", out)
        assert isinstance(result.exception, InvalidValue)
        assert str(result.exception) == f"{out} exists and holds no evaluation; give a new or empty folder."
    below = folders / "wide" / "manifest.json" / "evaluation"
    result = run("evaluate", "5d-parametric", folders / "wide", "--part", "all", "--out", below)
    assert isinstance(result.exception, DataError)
    assert "cannot be written" in str(result.exception)


def test_people_get_a_table(folders):
    result = run("train", folders / "data", "--out", folders / "table", "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert "test_errors" in result.stdout


def test_a_data_set_without_a_space_needs_one(folders):
    result = run("train", folders / "nameless", "--out", folders / "other", "--epochs", 2, "--json")
    assert isinstance(result.exception, InvalidValue)
    assert "--space" in str(result.exception)
    words = ("--epochs", 2, "--space", "5d-parametric", "--json")
    assert run("train", folders / "nameless", "--out", folders / "other", *words).exit_code == 0


@pytest.mark.parametrize("words", [("--model", "forest"), ("--epochs", "0")])
def test_bad_options_are_one_sentence(folders, words):
    result = run("train", folders / "data", "--out", folders / "bad", *words)
    assert isinstance(result.exception, InvalidValue)
