"""A training that is stopped anywhere and goes on ends with the same bits."""

import dataclasses

import numpy as np
import pytest
import torch

from memflux.errors import DataError, InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training import resume
from memflux.training.loop import fit
from memflux.training.lstm import LstmConfig
from memflux.training.resume import Paused
from memflux.training.schedule import Schedule
from memflux.training.spectral import SpectralConfig

SPACE = Space.preset("5d-parametric")
DEVICES, DRIVE = SPACE.sample(80, seed=0)
TRACES = StandIn(samples=16)(DEVICES, DRIVE)
CASES = {
    "spectral": (SpectralConfig(components=8, width=16, layers=3), Schedule(epochs=9, batch_size=20)),
    "lstm": (
        LstmConfig(units=6, dropout=0.3),
        Schedule(epochs=9, batch_size=20, optimiser="adamw", learning_rate=1e-2, clip=1.0),
    ),
}


def trained(case, **options):
    config, schedule = CASES[case]
    return fit(DEVICES, DRIVE, TRACES, SPACE, config, schedule, seed=3, **options)


def same(one, other):
    ours, theirs = one.module.state_dict(), other.module.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


class Killed(Exception):
    """Stands in for a signal that leaves no time to save."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("epoch", np.random.default_rng(7).integers(1, 9, 2).tolist())
def test_killed_at_a_random_epoch(case, epoch, tmp_path, monkeypatch):
    """Checkpoints of every other epoch; the death comes between two of them or right after one."""
    monkeypatch.setattr(resume, "EVERY", 0.0)
    file = tmp_path / "run.training"

    def die(step):
        if step.epoch > epoch:
            raise Killed

    with pytest.raises(Killed):
        trained(case, checkpoint=file, on_progress=die)
    again = trained(case, checkpoint=file)
    whole = trained(case)
    assert same(again, whole)
    assert [s["epoch"] for s in again.record["history"]] == list(range(1, 10))
    assert again.record["history"] == whole.record["history"]


def test_pieces_of_no_time_at_all(tmp_path):
    """Each piece makes one epoch and pauses."""
    file = tmp_path / "run.training"
    for piece in range(1, 9):
        with pytest.raises(Paused, match=f"epoch {piece} of 9"):
            trained("lstm", checkpoint=file, seconds=0.0)
    assert same(trained("lstm", checkpoint=file, seconds=0.0), trained("lstm"))


def test_a_finished_training_answers_from_its_checkpoint(tmp_path):
    file = tmp_path / "run.training"
    first = trained("spectral", checkpoint=file)
    steps = []
    assert same(trained("spectral", checkpoint=file, on_progress=steps.append), first)
    assert steps == []


def test_another_training_is_refused(tmp_path):
    file = tmp_path / "run.training"
    trained("spectral", checkpoint=file)
    config, schedule = CASES["spectral"]
    for options in (
        {"seed": 4},
        {"schedule": dataclasses.replace(schedule, epochs=10)},
        {"config": dataclasses.replace(config, width=17)},
    ):
        arguments = {"config": config, "schedule": schedule, "seed": 3} | options
        with pytest.raises(DataError, match="checkpoint of another training"):
            fit(DEVICES, DRIVE, TRACES, SPACE, **arguments, checkpoint=file)
    with pytest.raises(DataError, match="checkpoint of another training"):
        fit(DEVICES[:70], DRIVE, TRACES[:70], SPACE, config, schedule, seed=3, checkpoint=file)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    file = tmp_path / "run.training"
    file.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"run\.training is no checkpoint of a training"):
        trained("spectral", checkpoint=file)
    with pytest.raises(InvalidValue, match="seconds = 5 needs a checkpoint"):
        trained("spectral", seconds=5.0)
