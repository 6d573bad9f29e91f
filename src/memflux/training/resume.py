"""The checkpoint of a running training: one safetensors file, replaced as a whole."""

import dataclasses
import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from memflux import __version__
from memflux.errors import DataError, MemfluxError
from memflux.training.models import config_to_dict, name_of
from memflux.training.schedule import Step

if TYPE_CHECKING:
    from memflux.training.trainer import Trainer

EVERY = 60.0  # s between two checkpoints
FREE = ("threads",)  # of the schedule: what may change from one piece of a training to the next


class Paused(MemfluxError):
    """The time given to this piece of a training is up; the same call goes on from its checkpoint."""


class Resume:
    """Saves a `Trainer` to `path` (None: never) once a minute, and stops it after `seconds`."""

    def __init__(self, path: str | Path | None, seconds: float | None, started: float) -> None:
        self.path = None if path is None else Path(path)
        self.seconds, self.started, self.saved = seconds, started, time.perf_counter()
        self.before = 0.0  # s, of earlier pieces
        self.training = ""  # what is trained on what, in one hash

    def restore(self, trainer: "Trainer") -> None:
        """Put the trainer where the file left off; nothing happens without a file."""
        if self.path is None:
            return
        self.training = _fingerprint(trainer)
        if not self.path.exists():
            return
        tensors, notes = _read(self.path)
        if notes.get("training") != self.training:
            raise DataError(
                f"{self.path} is the checkpoint of another training (other data, model, schedule or seed); "
                "remove it or give the arguments it was started with."
            )
        _fill(trainer, tensors, notes)
        self.before = notes["seconds"]

    @property
    def spent(self) -> float:
        """Time that all pieces have taken so far [s]."""
        return self.before + time.perf_counter() - self.started

    def save(self, trainer: "Trainer") -> None:
        """Save where it is time to; raises `Paused` where the piece is over."""
        if self.path is None:
            return
        now = time.perf_counter()
        ended = trainer.epoch >= trainer.epochs
        # one rank that stops for its own clock would leave the others waiting for its gradients
        over = trainer.agreed(self.seconds is not None and now - self.started > self.seconds and not ended)
        if not (over or ended or now - self.saved > EVERY):
            return
        if trainer.group is None or trainer.group.rank() == 0:
            _write(self.path, trainer, self.training, self.spent)
        self.saved = time.perf_counter()
        if over:
            raise Paused(
                f"the training is at epoch {trainer.epoch} of {trainer.epochs}, saved in {self.path}; call it again "
                "with the same arguments to go on."
            )


def _fingerprint(trainer: "Trainer") -> str:
    """What a training is a function of: data, architecture, schedule and seed."""
    schedule = {k: v for k, v in dataclasses.asdict(trainer.schedule).items() if k not in FREE}
    config = trainer.module.config
    head = [__version__, name_of(config), config_to_dict(config), schedule, trainer.seed]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for part in (trainer.train, trainer.validation):
        for tensor in (part.unit, part.voltage, *part.targets):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, trainer: "Trainer", training: str, seconds: float) -> None:
    tensors = {f"module/{k}": v for k, v in trainer.module.state_dict().items()}
    tensors |= {f"kept/{k}": v for k, v in trainer.kept.items()}
    for number, state in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{number}/{k}": v for k, v in state.items()}
    notes = {
        "training": training,
        "epoch": trainer.epoch,
        "pieces": trainer.pieces,
        "skipped": trainer.skipped,
        "best": trainer.best if math.isfinite(trainer.best) else None,
        "looks_since_best": trainer.looks_since_best,
        "history": [dataclasses.asdict(step) for step in trainer.history],
        "seconds": seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    save_file(tensors, fresh, {"memflux": json.dumps(notes)})
    os.replace(fresh, path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get("memflux", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is no checkpoint of a training ({error}); remove it to start again.") from None
    if not isinstance(notes, dict):
        raise DataError(f"{path} is no checkpoint of a training; remove it or name another file.")
    return tensors, notes


def _fill(trainer: "Trainer", tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v.to(trainer.device) for k, v in tensors.items() if k.startswith(prefix)}

    trainer.module.load_state_dict(part("module/"), strict=True)
    trainer.kept = part("kept/")
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimiser/").items():
        number, key = name.split("/")
        state.setdefault(int(number), {})[key] = value.cpu() if key == "step" else value
    trainer.optimiser.load_state_dict({**trainer.optimiser.state_dict(), "state": state})
    trainer.epoch, trainer.pieces, trainer.skipped = notes["epoch"], notes["pieces"], notes["skipped"]
    trainer.best = math.inf if notes["best"] is None else notes["best"]
    trainer.looks_since_best = notes["looks_since_best"]
    trainer.history = [Step(**step) for step in notes["history"]]
