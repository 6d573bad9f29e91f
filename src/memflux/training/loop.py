"""Training: from a data set to a surrogate, the same one for the same seed."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from memflux.device import Devices
from memflux.errors import InvalidValue, check_integer, check_number
from memflux.space import Space
from memflux.traces import Traces
from memflux.training.data import FRACTIONS, CurveSet, Split, gather, split
from memflux.training.lstm import LstmConfig
from memflux.training.model import asked_of
from memflux.training.models import Config, build, check_any_drive
from memflux.training.resume import Resume
from memflux.training.scaling import (
    InputScaling,
    OutputScaling,
    PeakScaling,
    PublishedScaling,
    VoltageScaling,
    fit_output,
    targets_of,
)
from memflux.training.schedule import Schedule, Step
from memflux.training.spectral import SpectralConfig
from memflux.training.surrogate import Surrogate
from memflux.training.trainer import Examples, Trainer
from memflux.waveform import Waveform

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

FEWEST = 40  # usable devices below which no split is worth its name


def fit(
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    space: Space,
    config: Config | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    dataset_hash: str | None = None,
    on_progress: Callable[[Step], None] | None = None,
    device: str = "cpu",
    checkpoint: str | Path | None = None,
    seconds: float | None = None,
    group: "ProcessGroup | None" = None,
    samples: int | None = None,
) -> Surrogate:
    """Train on the rows that are ok; keep the weights that were best on the validation set.

    Without a validation set (a fraction of 0) these are the last: once the settings are chosen, a small data set
    loses more by it. The test set is touched once, at the end; with a fraction of 0 there is none. Global random
    state is left as it was. With a `checkpoint` file the training is saved about once a minute and
    goes on from there when it is called again with the same arguments, to the same bits; after
    `seconds` it is saved and raises `Paused`. `device` is torch's ("cpu", "cuda"). With a process
    `group` every rank gives the same arguments, takes its share of each batch and returns the same.
    Raises InvalidValue for too few devices and for what `gather` and `split` refuse, DataError for a
    checkpoint of another training.
    """
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    if seconds is not None:
        check_number("seconds", seconds, low=0.0, high=1e9, unit="s")
        if checkpoint is None:
            raise InvalidValue(f"seconds = {seconds:g} needs a checkpoint to go on from; give one.")
    started = time.perf_counter()
    if samples is not None:
        traces = traces.on_grid(samples)
    space = dataclasses.replace(space, cycles=drive.cycles)
    curves = gather(devices, drive, traces, space)
    if space.drive == "random":
        config = config or LstmConfig.any_drive()
        check_any_drive(config)
    config = config or SpectralConfig.of(len(curves))
    schedule = schedule or Schedule.of(config)
    parts = split(devices, drive, fractions)
    masks = Split(*(mask[curves.rows] for mask in parts))
    _check_enough(masks, fractions)
    if schedule.patience is not None and not masks.validation.any():
        raise InvalidValue(
            f"patience = {schedule.patience} waits for a validation error and fractions = {list(fractions)} leave no "
            "validation set; give it a share, or no patience."
        )
    voltages = VoltageScaling.fit(curves.voltage)
    deviation = PeakScaling.fit(curves.current[masks.train]).deviation
    with torch.random.fork_rng(devices=[]), _threads(schedule.threads):
        torch.manual_seed(seed)
        module = build(config, inputs=curves.unit.shape[1], times=curves.current.shape[1])
        outputs = fit_output(module.output, curves.current[masks.train])
        train = _examples(curves, masks.train, voltages, outputs)
        module.prepare(train.unit, train.voltage, train.targets, deviation)
        trainer = Trainer(
            module, train, _examples(curves, masks.validation, voltages, outputs), outputs, schedule, seed,
            device=_device(device), group=group,
        )  # fmt: skip
        resume = Resume(checkpoint, seconds, started)
        trainer.run(resume, on_progress)
    surrogate = Surrogate(
        module=module.to("cpu").double().requires_grad_(False),
        space=space,
        drive=curves.drive,
        samples=curves.samples,
        inputs=InputScaling.of(space),
        voltages=voltages,
        outputs=outputs,
        published=_published(curves.current[masks.train]),
        record={
            "seed": seed,
            "schedule": dataclasses.asdict(schedule),
            "fractions": [float(f) for f in fractions],
            "split": {name: int(mask.sum()) for name, mask in zip(Split._fields, masks, strict=True)},
            "dropped": curves.dropped,
            "dataset_hash": dataset_hash,
            "seconds": resume.spent,
            "history": [step.to_dict() for step in trainer.history],
            "test_errors": None,
            "about": None,
        },
    )
    rows = parts.test & traces.ok
    if not rows.any():
        return surrogate
    return surrogate.tested(devices[rows], drive.for_batch(len(devices))[rows], traces[rows])


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    with asked_of(name):
        return torch.zeros(1, device=name).device


def _examples(curves: CurveSet, rows: np.ndarray, voltages: VoltageScaling, outputs: OutputScaling) -> Examples:
    """Scaled parameters, voltages and targets of some rows, float64."""
    current = curves.current[rows]
    voltage = curves.voltage[rows] if len(curves.voltage) > 1 else curves.voltage
    return Examples(
        unit=torch.tensor(curves.unit[rows]),
        voltage=torch.tensor(voltages.scale(voltage)),
        targets=tuple(torch.tensor(t) for t in targets_of(outputs, current)),
        current=current,
    )


def _check_enough(masks: Split, fractions: Sequence[float]) -> None:
    counts = [int(mask.sum()) for mask in masks]
    if sum(counts) < FEWEST or any(count == 0 and part > 0 for count, part in zip(counts, fractions, strict=True)):
        raise InvalidValue(
            f"{sum(counts)} usable devices split into {counts[0]} for training, {counts[1]} for validation and "
            f"{counts[2]} for the test; give at least {FEWEST} and some for every part."
        )


def _published(current: np.ndarray) -> PublishedScaling | None:
    try:
        return PublishedScaling.fit(current)
    except InvalidValue:
        return None  # currents near 1 A: the published scaling is not defined, only models that use it need it
