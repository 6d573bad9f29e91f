"""A trial that trains: what it tells on its way, and how it ends whatever happens."""

import dataclasses
import math

import numpy as np
import pytest

from memflux.platform.tuning.trial import Job
from memflux.platform.tuning.work import Task
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import split_curves
from memflux.training.loop import Recipe, Training
from memflux.training.search_space import configured
from memflux.training.spectral import Spectral

SETTINGS = {"width": 12, "layers": 2, "members": 1, "components": 6, "epochs": 8}


@pytest.fixture(scope="module")
def data():
    space = Space.preset("5d-parametric")
    devices, drive = space.sample(80, seed=0)
    return split_curves(devices, drive, StandIn(samples=8)(devices, drive), space)


def task(**changes):
    return Task(number=3, settings={**SETTINGS, **changes}, seed=5)


def job(data, **changes):
    return Job(model="spectral", data=data, **{"objectives": ("nmae",), **changes})


def test_it_tells_what_the_training_says(data):
    *looks, end = job(data).looks(task())
    config, schedule = configured("spectral", SETTINGS, 80)
    steps = list(Training(data, Recipe(config=config, schedule=schedule, seed=5)).steps())
    assert [look.error for look in looks] == [step.validation for step in steps]
    assert [look.epochs for look in looks] == list(range(1, 9))
    assert [look.percent for look in looks] == [12, 25, 37, 50, 62, 75, 87, 100]
    assert not any(look.last for look in looks)
    assert end.values == (min(step.validation for step in steps),)
    assert end.last
    assert end.weights == looks[0].weights > 100
    assert np.all(np.diff([look.seconds for look in looks]) > 0)


def test_objectives(data):
    *_, end = job(data, objectives=("parameters", "nmae", "inference_time")).looks(task())
    assert end.values[0] == end.weights
    assert end.values[1] == end.error
    assert 0 < end.values[2] < 1


@pytest.mark.parametrize("after", [1, 3, 8])
def test_an_interrupted_trial_tells_all_again_and_ends_the_same(data, after, tmp_path, monkeypatch):
    monkeypatch.setattr("memflux.training.resume.EVERY", 0.0)  # s between two checkpoints
    kept = job(data, checkpoints=str(tmp_path))
    first = kept.looks(task())
    seen = [next(first) for _ in range(after)]
    first.close()
    again = list(kept.looks(task()))
    whole = list(job(data).looks(task()))
    assert [dataclasses.replace(look, seconds=0.0) for look in again] == [
        dataclasses.replace(look, seconds=0.0) for look in whole
    ]
    assert [look.error for look in seen] == [look.error for look in whole[:after]]
    kept.forget(3)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_training_is_begun_again(data, tmp_path):
    kept = job(data, checkpoints=str(tmp_path))
    whole = list(kept.looks(task()))
    for content in (b"half a file", (tmp_path / "000003.training").read_bytes()):
        (tmp_path / "000003.training").write_bytes(content)
        seed = Task(number=3, settings=SETTINGS, seed=6)
        assert list(kept.looks(seed))[-1].values == list(job(data).looks(seed))[-1].values
    assert len(whole) == 9


def test_settings_that_cannot_be_trained_are_a_failure_with_its_reason(data):
    (end,) = job(data).looks(task(width=0))
    assert "width = 0 is out of range" in end.failure
    assert end.last
    assert end.epochs == 0


def test_a_training_without_a_finite_error_is_a_failure(data, monkeypatch):
    def overflow(self, unit, voltage):
        return tuple(x * math.inf for x in forward(self, unit, voltage))

    forward = Spectral.forward
    monkeypatch.setattr(Spectral, "forward", overflow)
    *looks, end = job(data).looks(task())
    assert len(looks) == 8
    assert end.failure == "ArithmeticError: no validation error was finite in 8 epochs"
    assert end.values is None
    assert end.epochs == 8


def test_memory_that_runs_out_is_a_failure(data, monkeypatch):
    def full(*_):
        raise RuntimeError("not enough memory: you tried to allocate 1 byte")

    monkeypatch.setattr("memflux.training.spectral.Spectral.loss", full)
    (end,) = job(data).looks(task())
    assert end.failure.startswith("RuntimeError: not enough memory")
