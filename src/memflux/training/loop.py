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
from memflux.training.data import FRACTIONS, CurveSet, SplitCurves, split, split_curves
from memflux.training.lstm import LstmConfig
from memflux.training.model import asked_of
from memflux.training.models import Config, build, check_any_drive
from memflux.training.resume import Resume
from memflux.training.scaling import (
    InputScaling,
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


def fit(
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    space: Space,
    config: Config | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    dataset_hash: str | list[str] | None = None,
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
    data = split_curves(devices, drive, traces, space, fractions, samples)
    recipe = Recipe(
        config=config, schedule=schedule, seed=seed, device=device, seconds=seconds,
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )  # fmt: skip
    return tested(learned(data, recipe, on_progress, dataset_hash, group), devices, drive, traces)


def learned(
    data: SplitCurves,
    recipe: "Recipe",
    on_progress: Callable[[Step], None] | None = None,
    dataset_hash: str | list[str] | None = None,
    group: "ProcessGroup | None" = None,
) -> Surrogate:
    """A training from its beginning, or its checkpoint, to its end; the surrogate is not tested."""
    training = Training(data, recipe, group)
    for step in training.steps():
        if on_progress is not None:
            on_progress(step)
    return training.surrogate(dataset_hash)


def tested(surrogate: Surrogate, devices: Devices, drive: Waveform, traces: Traces) -> Surrogate:
    """With its errors on the test part of the data set that it was trained on, where there is one."""
    rows = split(devices, drive, surrogate.record["fractions"]).test & traces.ok
    if not rows.any():
        return surrogate
    rest = traces.on_grid(surrogate.samples)[rows]
    return surrogate.tested(devices[rows], drive.for_batch(len(devices))[rows], rest)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a training is, beside its data and the processes it runs on; `fit` explains the parts."""

    config: Config | None = None  # None: a spectral model for so many curves
    schedule: Schedule | None = None  # None: that of the config
    seed: int = 0
    device: str = "cpu"
    checkpoint: Path | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, low=0, high=2**63 - 1)
        if self.seconds is not None:
            check_number("seconds", self.seconds, low=0.0, high=1e9, unit="s")
            if self.checkpoint is None:
                raise InvalidValue(f"seconds = {self.seconds:g} needs a checkpoint to go on from; give one.")


class Training:
    """One training that its caller drives, from one look at the validation set to the next."""

    def __init__(self, data: SplitCurves, recipe: Recipe, group: "ProcessGroup | None" = None) -> None:
        self.data, self.seed = data, recipe.seed
        self._resume = Resume(recipe.checkpoint, recipe.seconds, time.perf_counter())
        config = recipe.config
        curves, masks = data.curves, data.masks
        if data.space.drive == "random":
            config = config or LstmConfig.any_drive()
            check_any_drive(config)
        config = config or SpectralConfig.of(len(curves))
        self.schedule = recipe.schedule or Schedule.of(config)
        _check_patience(self.schedule, data)
        self._voltages = VoltageScaling.fit(curves.voltage)
        deviation = PeakScaling.fit(curves.current[masks.train]).deviation
        with self.own_state():
            torch.manual_seed(self.seed)
            module = build(config, inputs=curves.unit.shape[1], times=curves.current.shape[1])
            self._outputs = fit_output(module.output, curves.current[masks.train])
            train, validation = (self._examples(curves, rows) for rows in (masks.train, masks.validation))
            module.prepare(train.unit, train.voltage, train.targets, deviation)
            self.trainer = Trainer(
                module,
                train,
                validation,
                self._outputs,
                self.schedule,
                self.seed,
                device=_device(recipe.device),
                group=group,
            )

    def steps(self) -> Iterator[Step]:
        """Train to the end, or from the checkpoint; raises `Paused` when the seconds are over."""
        steps = self.trainer.steps(self._resume)
        while True:
            with self.own_state():
                step = next(steps, None)
            if step is None:
                return
            yield step

    @property
    def spent(self) -> float:
        """Time that all pieces of the training have taken so far [s]."""
        return self._resume.spent

    def surrogate(self, dataset_hash: str | list[str] | None = None) -> Surrogate:
        """What was learned, once the steps are done; not tested."""
        curves = self.data.curves
        return Surrogate(
            module=self.trainer.module.to("cpu").double().requires_grad_(False),
            space=self.data.space,
            drive=curves.drive,
            samples=curves.samples,
            inputs=InputScaling.of(self.data.space),
            voltages=self._voltages,
            outputs=self._outputs,
            published=_published(curves.current[self.data.masks.train]),
            record={
                "seed": self.seed,
                "schedule": dataclasses.asdict(self.schedule),
                "fractions": list(self.data.fractions),
                "split": {name: int(mask.sum()) for name, mask in self.data.masks._asdict().items()},
                "dropped": curves.dropped,
                "dataset_hash": dataset_hash,
                "seconds": self.spent,
                "history": [step.to_dict() for step in self.trainer.history],
                "test_errors": None,
                "about": None,
            },
        )

    @contextlib.contextmanager
    def own_state(self) -> Iterator[None]:
        """Torch's random state and threads are the caller's again afterwards."""
        before = torch.get_num_threads()
        with torch.random.fork_rng(devices=[]):
            torch.set_num_threads(self.schedule.threads)
            try:
                yield
            finally:
                torch.set_num_threads(before)

    def _examples(self, curves: CurveSet, rows: np.ndarray) -> Examples:
        """Scaled parameters, voltages and targets of some rows, float64."""
        current = curves.current[rows]
        voltage = curves.voltage[rows] if len(curves.voltage) > 1 else curves.voltage
        return Examples(
            unit=torch.tensor(curves.unit[rows]),
            voltage=torch.tensor(self._voltages.scale(voltage)),
            targets=tuple(torch.tensor(t) for t in targets_of(self._outputs, current)),
            current=current,
        )


def _device(name: str) -> torch.device:
    with asked_of(name):
        return torch.zeros(1, device=name).device


def _check_patience(schedule: Schedule, data: SplitCurves) -> None:
    if schedule.patience is not None and not data.masks.validation.any():
        raise InvalidValue(
            f"patience = {schedule.patience} waits for a validation error and fractions = {list(data.fractions)} leave "
            "no validation set; give it a share, or no patience."
        )


def _published(current: np.ndarray) -> PublishedScaling | None:
    try:
        return PublishedScaling.fit(current)
    except InvalidValue:
        return None  # currents near 1 A: the published scaling is not defined, only models that use it need it
