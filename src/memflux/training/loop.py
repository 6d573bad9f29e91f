"""Training: from a data set to a surrogate, the same one for the same seed."""

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memflux.device import Devices
from memflux.errors import InvalidValue, check_integer, check_number
from memflux.metrics import nmae
from memflux.space import Space
from memflux.traces import Traces
from memflux.training.data import FRACTIONS, CurveSet, Split, gather, split
from memflux.training.evaluate import evaluate
from memflux.training.scaling import InputScaling, PeakScaling, PublishedScaling
from memflux.training.spectral import Spectral, SpectralConfig
from memflux.training.surrogate import Surrogate
from memflux.waveform import Waveform

FEWEST = 40  # usable devices below which no split is worth its name
CHECKS = 60  # times the validation error is looked at


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How the optimiser runs: AdamW, a short warm-up, then a cosine to zero."""

    epochs: int | None = None
    """Passes over the training set; None: as many as make 2,500 steps, and at least 100."""
    batch_size: int = 1024
    """Devices a step; a smaller training set is one step."""
    learning_rate: float = 1e-2
    """Largest step size, reached after 5 % of the steps."""
    weight_decay: float = 0.1
    """Decoupled decay of the weights (not the biases)."""

    threads: int = 1
    """Threads of torch: networks this small are slower on several, tenfold where cores are shared."""

    def __post_init__(self) -> None:
        check_integer("threads", self.threads, low=1, high=1024)
        if self.epochs is not None:
            check_integer("epochs", self.epochs, low=1, high=10_000_000)
        check_integer("batch_size", self.batch_size, low=1, high=10_000_000)
        check_number("learning_rate", self.learning_rate, low=1e-9, high=10.0)
        check_number("weight_decay", self.weight_decay, low=0.0, high=100.0)

    def epochs_for(self, count: int) -> int:
        """Epochs for a training set of `count` devices."""
        return self.epochs or max(100, 2500 // -(-count // self.batch_size))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What `on_progress` is told."""

    epoch: int  # finished
    epochs: int
    loss: float  # of the training set: root mean square error of the curves over their peak
    validation: float  # mean nMAE in A of the validation set


def fit(
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    space: Space,
    config: SpectralConfig | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    dataset_hash: str | None = None,
    on_progress: Callable[[Step], None] | None = None,
) -> Surrogate:
    """Train on the rows that are ok; keep the weights that were best on the validation set.

    The test set is touched once, at the end. Global random state is left as it was. Raises
    InvalidValue for too few devices and for what `gather` and `split` refuse.
    """
    config, schedule = config or SpectralConfig(), schedule or Schedule()
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    started = time.perf_counter()
    space = dataclasses.replace(space, cycles=drive.cycles)
    curves = gather(devices, drive, traces, space)
    parts = split(devices, drive, fractions)
    masks = Split(*(mask[curves.rows] for mask in parts))
    _check_enough(masks)
    peaks = PeakScaling.fit(curves.current[masks.train])
    with torch.random.fork_rng(devices=[]), _threads(schedule.threads):
        torch.manual_seed(seed)
        module = Spectral(config, inputs=curves.unit.shape[1], times=curves.current.shape[1])
        history = _train(module, curves, masks, peaks, schedule, on_progress)
    surrogate = Surrogate(
        module=module.double().requires_grad_(False),
        space=space,
        drive=curves.drive,
        samples=curves.samples,
        inputs=InputScaling.of(space),
        peaks=peaks,
        published=_published(curves.current[masks.train]),
        record={
            "seed": seed,
            "schedule": dataclasses.asdict(schedule),
            "fractions": [float(f) for f in fractions],
            "split": {name: int(mask.sum()) for name, mask in zip(Split._fields, masks, strict=True)},
            "dropped": curves.dropped,
            "dataset_hash": dataset_hash,
            "seconds": time.perf_counter() - started,
            "history": [dataclasses.asdict(step) for step in history],
        },
    )
    errors = _test_errors(surrogate, devices, drive, traces, parts.test & traces.ok)
    return dataclasses.replace(surrogate, record={**surrogate.record, "test_errors": errors})


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    module: Spectral,
    curves: CurveSet,
    masks: Split,
    peaks: PeakScaling,
    schedule: Schedule,
    on_progress: Callable[[Step], None] | None,
) -> list[Step]:
    """Run the optimiser on `module`, in place, and leave it at its best on the validation set."""
    tensors = _tensors(curves, masks.train, peaks)
    module.prepare(*tensors, deviation=peaks.deviation)
    unit, shape, log_peak = (t.float() for t in tensors)
    watched = torch.tensor(curves.unit[masks.validation], dtype=torch.float32)
    count = len(unit)
    epochs = schedule.epochs_for(count)
    batches = -(-count // schedule.batch_size)
    optimiser, rate = _optimiser(module, schedule, epochs * batches)
    every, history = max(1, epochs // CHECKS), []
    best, kept = math.inf, copy.deepcopy(module.state_dict())
    for epoch in range(1, epochs + 1):
        order = torch.randperm(count) if batches > 1 else torch.arange(count)
        total = 0.0
        for rows in order.chunk(batches):
            optimiser.zero_grad()
            loss = module.loss(unit[rows], shape[rows], log_peak[rows])
            loss.backward()
            optimiser.step()
            rate.step()
            total += float(loss.detach()) * len(rows)
        if epoch % every == 0 or epoch == epochs:
            error = _error(module, watched, curves.current[masks.validation], peaks)
            history.append(Step(epoch=epoch, epochs=epochs, loss=total / count, validation=error))
            if error < best:
                best, kept = error, copy.deepcopy(module.state_dict())
            if on_progress is not None:
                on_progress(history[-1])
    module.load_state_dict(kept)
    return history


def _tensors(curves: CurveSet, rows: np.ndarray, peaks: PeakScaling) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled parameters, shapes and standardised log peaks of some rows, float64."""
    shape, log_peak = peaks.scale(curves.current[rows])
    return torch.tensor(curves.unit[rows]), torch.tensor(shape), torch.tensor(log_peak)


def _optimiser(
    module: Spectral, schedule: Schedule, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    groups: list[dict[str, Any]] = [
        {"params": list(module.weights), "weight_decay": schedule.weight_decay},
        {"params": list(module.biases), "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=schedule.learning_rate)
    warm = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


@torch.no_grad()
def _error(module: Spectral, unit: Tensor, truth: np.ndarray, peaks: PeakScaling) -> float:
    shape, log_peak = module(unit)
    guess = peaks.unscale(shape.double().numpy(), log_peak.double().numpy())
    error = float(np.mean(nmae(guess, truth)))
    return error if math.isfinite(error) else math.inf


def _check_enough(masks: Split) -> None:
    counts = [int(mask.sum()) for mask in masks]
    if sum(counts) < FEWEST or min(counts) == 0:
        raise InvalidValue(
            f"{sum(counts)} usable devices split into {counts[0]} for training, {counts[1]} for validation and "
            f"{counts[2]} for the test; give at least {FEWEST} and some for every part."
        )


def _published(current: np.ndarray) -> PublishedScaling | None:
    try:
        return PublishedScaling.fit(current)
    except InvalidValue:
        return None  # currents near 1 A: the published scaling is not defined, the model does not need it


def _test_errors(
    surrogate: Surrogate, devices: Devices, drive: Waveform, traces: Traces, rows: np.ndarray
) -> dict[str, object]:
    result = evaluate(surrogate, devices[rows], drive[rows], traces[rows], surrogate.published)
    return {k: v for k, v in result.to_dict().items() if k in ("count", "nmae", "nmae_scaled")}
