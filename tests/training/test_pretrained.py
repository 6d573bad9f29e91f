"""The surrogates that ship with the package load by name, stay small, say what they are, and hold to the physics."""

import json
from pathlib import Path

import numpy as np
import pytest

import memflux
from memflux import Solver, Space, Surrogate
from memflux.metrics import nmae

FOLDER = Path(memflux.__file__).parent / "pretrained"
NAMES = sorted(p.name for p in FOLDER.iterdir())


def test_the_promised_ones_are_there():
    assert {"5d-parametric", "5d-parametric-lstm", "9d"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_size_and_notes(name):
    assert sum(file.stat().st_size for file in (FOLDER / name).iterdir()) < 3_000_000
    record = json.loads((FOLDER / name / "surrogate.json").read_text())["record"]
    assert set(record["about"]) == {"data", "test", "bands", "made_by", "licence"}
    assert len(record["dataset_hash"]) == 64
    assert record["test_errors"]["count"] == 2000


@pytest.mark.parametrize("name", NAMES)
def test_fresh_devices_agree_with_the_solver(name):
    """Devices of another draw than any that was used: within three times the mean of the record."""
    surrogate = Surrogate.load(name)
    devices, drive = Space.preset(surrogate.space.name).sample(12, seed=99)
    answer = surrogate(devices, drive)
    assert answer.inside.all()
    truth = Solver(engine="compiled", samples=surrogate.samples)(devices, drive)
    error = nmae(answer.current, truth.current)
    assert np.mean(error) < 3 * surrogate.test_errors["nmae"]["mean"]
    low, high = surrogate.band(devices, drive)
    assert ((low <= truth.current) & (truth.current <= high)).mean() > 0.85  # 95 % on average over many devices
