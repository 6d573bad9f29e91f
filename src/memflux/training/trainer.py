"""The loop: batches in a seeded order, one optimiser, and the best weights kept.

What happens in an epoch depends on the seed, the epoch and the weights alone, so a training that
goes on from a saved epoch ends with the same bits.
"""

import contextlib
import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memflux.metrics import balanced_nmae
from memflux.training.model import AbstractModel
from memflux.training.muon import Muon
from memflux.training.resume import Resume
from memflux.training.scaling import OutputScaling
from memflux.training.schedule import CHECKS, Schedule, Step

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

KINDS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "muon": Muon,
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "nadam": functools.partial(torch.optim.NAdam, decoupled_weight_decay=True),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}
LOOK = 2048  # devices whose validation error is computed at once


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """Scaled inputs and targets of N devices, and their currents."""

    unit: Float[Tensor, "N P"]
    voltage: Float[Tensor, "_ T"]  # one row for all, or one each
    targets: tuple[Tensor, ...]
    current: Float[np.ndarray, "N T"]  # A

    def __len__(self) -> int:
        return len(self.unit)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same on a device of torch, in a precision."""
        return dataclasses.replace(
            self,
            unit=self.unit.to(device, dtype),
            voltage=self.voltage.to(device, dtype),
            targets=tuple(t.to(device, dtype) for t in self.targets),
        )

    def at(self, rows: Tensor | slice) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Parameters, voltages and targets of some rows."""
        voltage = self.voltage if len(self.voltage) == 1 else self.voltage[rows]
        return self.unit[rows], voltage, tuple(t[rows] for t in self.targets)


class Trainer:
    """Trains `module`, in place, and leaves it at its best on the validation set, or its last without one."""

    def __init__(
        self,
        module: AbstractModel,
        train: Examples,
        validation: Examples,
        outputs: OutputScaling,
        schedule: Schedule,
        seed: int,
        device: torch.device,
        group: "ProcessGroup | None" = None,
    ) -> None:
        self.module = module.to(device)
        self.train, self.validation = train.to(device, torch.float32), validation.to(device, torch.float32)
        self.outputs, self.schedule, self.seed, self.device, self.group = outputs, schedule, seed, device, group
        self.epochs = schedule.epochs_for(len(train))
        self.batches = -(-len(train) // schedule.batch_size)
        self.optimiser = KINDS[schedule.optimiser](module.groups(schedule.weight_decay), lr=schedule.learning_rate)
        self.epoch, self.pieces, self.skipped, self.looks_since_best = 0, 1, 0, 0
        self.history: list[Step] = []
        self.best, self.kept = math.inf, copy.deepcopy(module.state_dict())

    def steps(self, resume: Resume) -> Iterator[Step]:
        """Go on from what `resume` holds, from look to look, to the end; raises `Paused` when its time is up."""
        resume.restore(self)
        every = max(1, self.epochs // CHECKS)
        while self.epoch < self.epochs and not self._gave_up():
            loss = self._one_epoch()
            self.epoch += 1
            if self.epoch % every == 0 or self.epoch == self.epochs:
                self._look(loss)
                yield self.history[-1]
            resume.save(self)
        self.module.load_state_dict(self.kept)

    def _gave_up(self) -> bool:
        return self.schedule.patience is not None and self.looks_since_best >= self.schedule.patience

    def _one_epoch(self) -> float:
        """Mean loss over the training set."""
        self.module.train()
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.epoch))
        count = len(self.train)
        order = torch.randperm(count, generator=generator) if self.batches > 1 else torch.arange(count)
        total = torch.zeros((), device=self.device)
        for k, rows in enumerate(order.to(self.device).chunk(self.batches)):
            step = self.epoch * self.batches + k
            torch.manual_seed(_mixed(self.seed, step) ^ self._rank())  # what dropout draws
            for group in self.optimiser.param_groups:
                group["lr"] = self.schedule.rate(step, self.epochs * self.batches)
            loss = self._gradient(rows)
            norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.schedule.clip or math.inf)
            if not torch.isfinite(norm):
                self.skipped += 1  # gradients of a recurrence can overflow; one step of theirs would end everything
                continue
            total += loss * len(rows)
            self.optimiser.step()
        return float(total) / count

    def _gradient(self, rows: Tensor) -> Tensor:
        """Mean loss of a batch, its gradient left in the parameters; halves what does not fit into memory."""
        while True:
            try:
                return self._accumulate(rows)
            except RuntimeError as error:
                if not _out_of_memory(error) or self.pieces >= len(rows):
                    raise
                self.pieces *= 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _accumulate(self, rows: Tensor) -> Tensor:
        self.optimiser.zero_grad()
        total = torch.zeros((), device=self.device)
        mine = rows if self.group is None else rows.tensor_split(self.group.size())[self._rank()]
        mixed = self.schedule.precision == "bfloat16"
        for part in mine.chunk(self.pieces):
            with torch.autocast(self.device.type, torch.bfloat16) if mixed else contextlib.nullcontext():
                loss = self.module.loss(*self.train.at(part)) * (len(part) / len(rows))
            loss.backward()
            total += loss.detach()
        if self.group is not None:
            self._sum_over_ranks(total)
        return total

    def _sum_over_ranks(self, total: Tensor) -> None:
        """One message for all: these networks are far too small to hide communication behind the backward pass."""
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.module.parameters()]
        flat = torch.cat([g.flatten() for g in gradients] + [total[None]])
        torch.distributed.all_reduce(flat, group=self.group)
        for parameter, piece in zip(
            self.module.parameters(), flat[:-1].split([g.numel() for g in gradients]), strict=True
        ):
            parameter.grad = piece.view_as(parameter).clone()
        total.copy_(flat[-1])

    def agreed(self, flag: bool) -> bool:
        """What the first rank says, on every rank."""
        if self.group is None:
            return flag
        answer = torch.tensor([float(flag)], device=self.device)
        torch.distributed.broadcast(answer, group=self.group, group_src=0)
        return bool(answer.item())

    def _rank(self) -> int:
        return 0 if self.group is None else self.group.rank()

    def _look(self, loss: float) -> None:
        """Validation error, and the weights if they are the best so far, or the latest where nothing validates them."""
        error = self.validation_error()
        step = Step(
            epoch=self.epoch, epochs=self.epochs, loss=loss, validation=error, pieces=self.pieces, skipped=self.skipped
        )
        self.history.append(step)
        self.looks_since_best += 1
        if error < self.best or not len(self.validation):
            self.best, self.looks_since_best = error, 0
            self.kept = copy.deepcopy(self.module.state_dict())

    @torch.no_grad()
    def validation_error(self) -> float:
        """Mean over the validation set, in A; infinite where a curve overflowed, NaN without a set."""
        if not len(self.validation):
            return math.nan
        self.module.eval()
        errors = []
        for first in range(0, len(self.validation), LOOK):
            part = slice(first, first + LOOK)
            unit, voltage, _ = self.validation.at(part)
            answer = (x.double().cpu().numpy() for x in self.module(unit, voltage))
            errors.append(balanced_nmae(self.outputs.unscale(*answer), self.validation.current[part]))
        error = float(np.mean(np.concatenate(errors)))
        return error if math.isfinite(error) else math.inf


def _mixed(seed: int, count: int) -> int:
    """A seed of torch for one epoch or step, different from those around it."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
