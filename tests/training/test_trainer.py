"""The loop: memory that runs out, several processes, early stopping, clipping."""

import dataclasses

import numpy as np
import pytest
import torch

from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.loop import fit
from memflux.training.lstm import Lstm, LstmConfig
from memflux.training.resume import Paused
from memflux.training.schedule import Schedule
from memflux.training.surrogate import Surrogate
from memflux.training.trainer import Trainer

SPACE = Space.preset("5d-parametric")
DEVICES, DRIVE = SPACE.sample(80, seed=0)
TRACES = StandIn(samples=16)(DEVICES, DRIVE)
CONFIG = LstmConfig(units=6, dropout=0.0)
ADAM = Schedule(epochs=4, batch_size=32, optimiser="adamw", learning_rate=1e-2)


def trained(schedule=ADAM, **options):
    return fit(DEVICES, DRIVE, TRACES, SPACE, CONFIG, schedule, seed=0, **options)


def weights(surrogate):
    return torch.cat([p.flatten() for p in surrogate.module.parameters()])


def test_memory_that_runs_out_halves_the_batch_and_says_so(monkeypatch):
    whole = weights(trained())
    loss, steps = Lstm.loss, []

    def small(self, unit, voltage, targets):
        if len(unit) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, unit, voltage, targets)

    monkeypatch.setattr(Lstm, "loss", small)
    pieces = weights(trained(on_progress=steps.append))
    assert steps[-1].pieces == 4
    np.testing.assert_allclose(pieces, whole, atol=1e-4)  # the same steps, summed in another order


def test_memory_for_not_even_one_device_is_an_error(monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Lstm, "loss", never)
    with pytest.raises(torch.OutOfMemoryError):
        trained()


def test_early_stopping():
    ruined = dataclasses.replace(ADAM, epochs=200, learning_rate=1.0, patience=2)
    assert trained(ruined).record["history"][-1]["epoch"] < 200


def test_clipping_bounds_what_one_step_does():
    free = trained(dataclasses.replace(ADAM, optimiser="adam"))
    clipped = trained(dataclasses.replace(ADAM, optimiser="adam", clip=1e-9))
    assert not torch.allclose(weights(free), weights(clipped))


def test_a_gradient_that_overflows_is_left_out_and_counted(monkeypatch):
    loss, calls = Lstm.loss, []

    def overflows_once(self, *batch):
        calls.append(None)
        return loss(self, *batch) * (torch.inf if len(calls) == 3 else 1.0)

    monkeypatch.setattr(Lstm, "loss", overflows_once)
    surrogate = trained()
    assert surrogate.record["history"][-1]["skipped"] == 1
    assert torch.isfinite(weights(surrogate)).all()


def test_a_validation_error_that_overflows_is_kept_as_none(monkeypatch, tmp_path):
    monkeypatch.setattr(Trainer, "validation_error", lambda self: float("inf") if self.epoch == 2 else 1.0)
    surrogate = trained()
    surrogate.save(tmp_path / "s")  # JSON has no infinity
    history = Surrogate.load(tmp_path / "s").record["history"]
    assert [step["validation"] for step in history] == [1.0, None, 1.0, 1.0]


def one_rank(rank, store, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    surrogate = trained(group=torch.distributed.group.WORLD)
    np.save(f"{folder}/{rank}.npy", weights(surrogate).numpy())
    torch.distributed.destroy_process_group()


def paused_rank(rank, store, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    seconds = 0.0 if rank == 0 else 1e6
    with pytest.raises(Paused, match="epoch 1 of 4"):
        trained(group=torch.distributed.group.WORLD, checkpoint=f"{folder}/run.training", seconds=seconds)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_processes_pause_together(tmp_path):
    """The clock of the first rank counts: it holds the checkpoint."""
    torch.multiprocessing.spawn(paused_rank, args=(tmp_path / "store", str(tmp_path)), nprocs=2)
    assert (tmp_path / "run.training").is_file()


def test_two_processes_make_the_steps_of_one(tmp_path):
    torch.multiprocessing.spawn(one_rank, args=(tmp_path / "store", str(tmp_path)), nprocs=2)
    first, second = np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, weights(trained()), atol=1e-4)
