"""The C header, compiled and compared."""

import shutil
import subprocess

import numpy as np
import pytest

from measured_trains import made_up
from memflux.errors import InvalidValue
from memflux.training.pulse_header import quantise, write_header
from memflux.training.pulse_mlp import ARCHITECTURES
from memflux.training.pulse_model import train_model
from memflux.training.pulse_training import SummedRecipe

MAIN = """
#include "pulses.h"
#include <stdio.h>
int main(void)
{
  float x[6];
  while (scanf("%f %f %f %f %f %f", x, x + 1, x + 2, x + 3, x + 4, x + 5) == 6)
    printf("%.9g\\n", NAME(x[0], x[1], x[2], x[3], x[4], x[5]));
  return 0;
}
"""


@pytest.fixture(scope="module", params=["A1", "A2"])
def model(request):
    return train_model(made_up(), ARCHITECTURES[request.param], SummedRecipe(steps=60))


def compiled(folder, rows, name):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "main.c").write_text(MAIN.replace("NAME", name))
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=undefined", "-O1"]
    made = subprocess.run([compiler, *flags, "main.c", "-o", "main"], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in rows)
    ran = subprocess.run([folder / "main"], input=text, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return np.array(ran.stdout.split(), dtype=np.float64)


def test_c_numpy_and_the_perceptron_agree(model, tmp_path):
    written = write_header(model, tmp_path / "pulses.h", "step")
    number = np.arange(model.pulses - 1, dtype=np.float64)
    rows = np.column_stack([np.tile(number, len(model.settings)), np.repeat(model.settings, number.size, axis=0)])
    far = np.array([[1e9, 1e4, 100.0, 1e4, 1e4, -100.0], [-1e9, 0.0, -100.0, 0.0, 0.0, 100.0]])
    rows = np.concatenate([rows, far])  # saturates, and is no undefined behaviour
    found = compiled(tmp_path, rows, "step")
    np.testing.assert_allclose(found, quantise(model).increments(rows), rtol=1e-6, atol=1e-7)
    curve = found[:-2].reshape(len(model.settings), -1).cumsum(axis=1)
    assert np.abs(curve - model.scaled(model.settings)[:, 1:]).max() <= written.largest_difference + 1e-6
    assert written.mean_difference <= written.largest_difference < 0.03


def test_weights_are_bytes(model):
    layers = quantise(model).layers
    assert all(np.abs(layer.weights).max() <= 127 for layer in layers)
    assert sum(layer.weights.size for layer in layers) == model.config.operations // 2


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("pulses.txt", "step", "ends with .h"),
        ("none/pulses.h", "step", "is not a folder"),
        ("pulses.h", "2step", "no name in C"),
        ("there.h", "step", "there already"),
    ],
)
def test_mistakes(model, tmp_path, file, name, message):
    (tmp_path / "there.h").write_text("")
    with pytest.raises(InvalidValue, match=message):
        write_header(model, tmp_path / file, name)
    write_header(model, tmp_path / "there.h", overwrite=True)
