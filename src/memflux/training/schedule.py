"""How the optimiser runs, and what a training tells of itself on the way."""

import dataclasses
import math
from typing import Self

from memflux.errors import check_choice, check_integer, check_number
from memflux.training.hybrid import HybridConfig
from memflux.training.lstm import LstmConfig
from memflux.training.models import Config
from memflux.training.neural_ode import NeuralOdeConfig
from memflux.training.spectral import SpectralConfig

CHECKS = 60  # times the validation error is looked at
OPTIMISERS = ("muon", "adamw", "adam", "nadam", "sgd")
WARM_UP = 0.05  # share of the steps


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The optimiser, a short warm-up, then a cosine to zero (or a constant rate, as published)."""

    epochs: int | None = None
    """Passes over the training set; None: as many as make `steps` steps, and at least `least`."""
    steps: int = 2500
    """Steps where `epochs` is None."""
    least: int = 100
    """Epochs at least, where `epochs` is None: many curves take more steps."""
    batch_size: int = 1024
    """Devices a step; a smaller training set is one step."""
    optimiser: str = "adamw"
    """muon (hidden matrices by Muon, the rest by Adam), adamw, adam as published (the decay in the gradient), nadam
    (the decay apart), or sgd (with Nesterov's momentum of 0.9)."""
    learning_rate: float = 1e-2
    """Largest step size, reached after 5 % of the steps."""
    decay: str = "cosine"
    """What follows the warm-up: cosine (to zero) or constant."""
    weight_decay: float = 0.1
    """Decay of the weights (not the biases)."""
    clip: float | None = None
    """Largest norm of the gradient; None: as it is."""
    patience: int | None = None
    """Looks at the validation error (60 a training) without a new best after which training ends; None: never."""
    precision: str = "float32"
    """float32, or bfloat16: mixed, on a GPU that has it."""
    threads: int = 1
    """Threads of torch: small networks are slower on several, tenfold where cores are shared."""

    def __post_init__(self) -> None:
        check_integer("threads", self.threads, low=1, high=1024)
        if self.epochs is not None:
            check_integer("epochs", self.epochs, low=1, high=10_000_000)
        check_integer("steps", self.steps, low=1, high=1_000_000_000)
        check_integer("least", self.least, low=1, high=10_000_000)
        check_integer("batch_size", self.batch_size, low=1, high=10_000_000)
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_number("learning_rate", self.learning_rate, low=1e-9, high=10.0)
        check_choice("decay", self.decay, ("cosine", "constant"))
        check_number("weight_decay", self.weight_decay, low=0.0, high=100.0)
        if self.clip is not None:
            check_number("clip", self.clip, low=1e-9, high=1e9)
        if self.patience is not None:
            check_integer("patience", self.patience, low=1, high=10_000)
        check_choice("precision", self.precision, ("float32", "bfloat16"))

    @classmethod
    def of(cls, config: Config) -> Self:
        """The schedule an architecture is best trained with."""
        adam = cls(epochs=300, batch_size=64, optimiser="adamw", learning_rate=3e-3, weight_decay=0.0, clip=1.0)
        match config:
            case SpectralConfig():
                deep = config.layers > SpectralConfig().layers
                return cls(batch_size=512, steps=5000, least=450) if deep else cls()
            case LstmConfig():
                return dataclasses.replace(adam, optimiser="muon", learning_rate=0.05, batch_size=32, weight_decay=0.1)
            case HybridConfig():
                return dataclasses.replace(adam, epochs=150, batch_size=128, learning_rate=1e-2, weight_decay=0.02)
            case NeuralOdeConfig():
                return dataclasses.replace(adam, optimiser="muon", learning_rate=0.05, weight_decay=0.1)

    def epochs_for(self, count: int) -> int:
        """Epochs for a training set of `count` devices."""
        return self.epochs or max(self.least, self.steps // -(-count // self.batch_size))

    def rate(self, step: int, steps: int) -> float:
        """Step size of step `step` (from 0) of `steps`."""
        warm = max(1, int(WARM_UP * steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.decay == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What `on_progress` is told."""

    epoch: int  # finished
    epochs: int
    loss: float  # of the training set, over the epoch
    validation: float  # mean balanced nMAE in A; infinite where a curve overflowed, NaN without a set
    pieces: int = 1  # parts that a batch is computed in; more than 1 after memory ran out
    skipped: int = 0  # steps left out so far, because their gradient was not finite

    def to_dict(self) -> dict[str, object]:
        """JSON-ready: None for what is not finite."""
        finite = {name: getattr(self, name) for name in ("loss", "validation")}
        return {**dataclasses.asdict(self), **{k: v if math.isfinite(v) else None for k, v in finite.items()}}
