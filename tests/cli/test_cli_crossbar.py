import gzip
import json
import struct

import numpy as np
import pytest
from typer.testing import CliRunner

from memflux.analysis.crossbar.arrays import ArraysResult
from memflux.analysis.crossbar.bitmaps import digits_8x8
from memflux.cli.main import app
from memflux.errors import DataError, InvalidValue
from own_digits import own_csv

FEW = ("--arrays", 3, "--starts", 2)


def run(*words):
    return CliRunner().invoke(app, ["crossbar", *map(str, words)])


@pytest.fixture
def bitmaps(tmp_path):
    path = tmp_path / "digits.csv"
    path.write_text(own_csv())
    return path


def test_help_has_an_example():
    for name in ("digits", "mnist"):
        assert f"Example: memflux crossbar {name}" in run(name, "--help").output.replace("\n", " ")


def test_digits_for_machines(bitmaps, tmp_path):
    out = tmp_path / "r.json"
    result = run("digits", "--bitmaps", bitmaps, "--arm", "spares", *FEW, "--json", "--out", out)
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert ArraysResult.from_json(out).to_dict() == fields
    assert fields["accuracy"] == [1.0, 1.0, 1.0]
    assert np.shape(fields["flip_map"]) == (10, 20)


def test_digits_for_people(bitmaps):
    result = run("digits", "--bitmaps", bitmaps, *FEW)
    assert result.exit_code == 0, result.output
    assert "imply" in result.stdout
    assert "3.7032%" in result.stdout


def test_options_reach_the_cells(bitmaps, tmp_path):
    words = ("digits", "--bitmaps", bitmaps, *FEW, "--json")
    strong = json.loads(run(*words, "--voltage", 1000, "--distributions", "script").stdout)
    assert strong["ones_implied"] == pytest.approx(0.00225, abs=1e-5)
    dead = json.loads(run(*words, "--yield", 0.4, "--arm", "spares", "--spare-share", 0).stdout)
    assert dead["ones_wrong"] == pytest.approx(0.61, abs=0.03)
    assert json.loads(run(*words, "--compliance", 1e-5).stdout)["ones_wrong"] > 0.98
    again = json.loads(run(*words, "--redraw", "all", "--attempts", 10).stdout)
    assert max(again["wrong"]) == 0
    file = tmp_path / "cells.json"
    file.write_text('{"set_mu": 0, "set_sigma": 0, "reset_mu": 0, "reset_sigma": 0, "hrs_deviation": 0}')
    own = json.loads(run(*words, "--distributions", file).stdout)
    assert own["zeros_implied"] == 0.0


def test_the_reference_bitmaps_are_the_default(monkeypatch, reference_data, tmp_path):
    monkeypatch.setenv("MEMFLUX_REFERENCE_DATA", str(reference_data))
    assert run("digits", *FEW, "--json").exit_code == 0
    monkeypatch.setenv("MEMFLUX_REFERENCE_DATA", str(tmp_path))
    with pytest.raises(InvalidValue, match="give --bitmaps"):
        raise run("digits", *FEW).exception


def small_mnist(folder):
    rest, tests = digits_8x8()
    for name, images in (("train", rest), ("t10k", tests)):
        pixels = (images.inputs * 255).astype(np.uint8).reshape(-1, 8, 8)
        for what, array in (("images-idx3", pixels), ("labels-idx1", images.labels.astype(np.uint8))):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{name}-{what}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


def test_mnist_from_idx_files(tmp_path):
    small_mnist(tmp_path)
    words = ("mnist", tmp_path, "--hidden", 32, "--hidden", 16, "--hidden", 16, "--epochs", 30, "--arrays", 2)
    result = run(*words, "--arm", "spares", "--bits", 6, "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert min(fields["accuracy"]) > 0.85
    assert fields["accuracy"] == [fields["ideal_accuracy"]] * 2
    people = run(*words, "--rounding", "nearest", "--integers")
    assert "accuracy in floating point" in people.stdout


def test_mnist_is_not_fetched(tmp_path):
    with pytest.raises(DataError, match="put the four files of MNIST there"):
        raise run("mnist", tmp_path).exception


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("digits", "--arm", "publishd"), "Did you mean 'as-published'"),
        (("digits", "--bits", 0), "bits = 0"),
        (("digits", "--bits", 33), "bits = 33"),
        (("digits", "--arrays", 0), "arrays = 0"),
        (("digits", "--starts", 0), "starts = 0"),
        (("digits", "--yield", 1.5), "working = 1.5"),
        (("digits", "--hidden", 0), "hidden = 0"),
        (("digits", "--voltage", "nan"), "voltage = nan"),
        (("digits", "--redraw", "al"), "Did you mean 'all'"),
        (("digits", "--distributions", "neither"), "neither printed nor script nor a file"),
        (("digits", "--rounding", "up"), "rounding"),
        (("digits", "--seed", -1), "seed = -1"),
        (("digits", "--rewrites", -1), "rewrites = -1"),
    ],
)
def test_a_mistake_is_one_sentence(bitmaps, words, said):
    with pytest.raises(InvalidValue) as error:
        raise run(*words, "--bitmaps", bitmaps).exception
    assert said in str(error.value)
