"""How the perceptrons of pulse programming learn: as published, or on the summed-up curve.

All networks of a cross-validation learn at once, each from a mask of its own over the pulses of all curves.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memflux.errors import InvalidValue, check_integer, check_number
from memflux.pulse_curves import PulseCurves
from memflux.training.pulse_mlp import INPUTS, PulseConfig, PulseNetworks

KINKS = 0.03  # z-scored pulses, the shortest ramp that a unit begins with
OUTPUT = 0.05  # what the weights of the last layer begin with, relative to the usual
SETTING = 0.1  # the same for the weights of the settings in the first layer
NODES = 8  # pulses a decade at which increments are computed in training, after the first few
EVERY = 6  # of the first pulses

Progress = Callable[[int, int], None]
"""Told (done, all)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRecipe:
    """The published one: the squared error of single increments."""

    epochs: int = 1000
    """Passes over the training rows."""
    batch_size: int = 64
    """Rows a step."""
    learning_rate: float = 1e-4
    """Of Adam."""
    dropout: float = 0.2
    """Rate after each hidden layer."""

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, low=1, high=1_000_000)
        check_integer("batch_size", self.batch_size, low=1, high=1_000_000)
        check_number("learning_rate", self.learning_rate, low=0.0, high=10.0)
        check_number("dropout", self.dropout, low=0.0, high=0.95)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SummedRecipe:
    """Ours: a robust error of the curve that the increments add up to, all curves in each step.

    The units of the first layer begin as ramps that end at pulses in geometric progression, since set trains rise
    within a few pulses and then slowly, and with small weights of the settings, so that learning begins with one
    curve for all settings. The final weights are a running average.
    """

    steps: int = 300
    """Steps of Adam, one cycle of learning rates."""
    learning_rate: float = 1e-2
    """The largest of the cycle."""
    robust: float = 0.1
    """Error of the scaled current from which the loss grows linearly; a pseudo-Huber loss."""
    penalty: float = 1e-4
    """Of the squared weights of the settings in the first layer."""
    average: float = 0.98
    """Memory of the running average of weights."""

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, low=20, high=1_000_000)
        check_number("learning_rate", self.learning_rate, low=0.0, high=10.0)
        check_number("robust", self.robust, low=1e-6, high=1e6)
        check_number("penalty", self.penalty, low=0.0, high=1e6)
        check_number("average", self.average, low=0.0, high=0.99999)


PulseRecipe = PublishedRecipe | SummedRecipe
# "rows" knows every curve in training, and there the longer training of a looser fit errs less on the validation part
RECIPES: Mapping[str, PulseRecipe] = {
    "summed": SummedRecipe(),
    "summed-rows": SummedRecipe(steps=1000, robust=1e3, penalty=0.0),
    "published": PublishedRecipe(),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedNetworks:
    """E networks with the scaling of each."""

    networks: PulseNetworks
    center: Float[np.ndarray, "E 6"]  # of the inputs: pulse number, then the settings
    scale: Float[np.ndarray, "E 6"]
    pulses: int

    def curves(self, settings: Float[np.ndarray, "G 5"]) -> Float[np.ndarray, "E G P"]:
        """Scaled read currents: 0 after the first pulse, from there summed up from the increments."""
        with torch.no_grad():
            inputs = _inputs(self.center, self.scale, np.arange(self.pulses - 1, dtype=np.float64), settings)
            risen = self.networks.on_grid(*inputs).double().cumsum(2).numpy()
        return np.concatenate([np.zeros((*risen.shape[:2], 1)), risen], axis=2)


def fit_networks(
    curves: PulseCurves,
    train: Bool[np.ndarray, "E C P"],
    config: PulseConfig,
    recipe: PulseRecipe,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedNetworks:
    """E networks, each trained on the pulses where its mask is true; InvalidValue where a mask has none."""
    if not train.reshape(len(train), -1).any(axis=1).all():
        raise InvalidValue("one of the training parts has no pulse; give more curves or a larger fraction.")
    generator = torch.Generator().manual_seed(check_integer("seed", seed, low=0, high=2**62))
    networks = PulseNetworks(config, len(train), generator)
    center, scale = _z_scores(curves, train)
    tell = progress or (lambda done, total: None)
    match recipe:
        case PublishedRecipe():
            _fit_increments(networks, _rows(curves, train, center, scale), recipe, generator, tell)
        case SummedRecipe():
            _spread_ramps(networks, curves.pulses, center, scale)
            _fit_summed(networks, curves, train, (center, scale), recipe, tell)
    networks.requires_grad_(False)
    return FittedNetworks(networks=networks, center=center, scale=scale, pulses=curves.pulses)


def _z_scores(curves: PulseCurves, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [E, 6] of the inputs over the training rows; 1 for one that does not vary."""
    count = train.sum(axis=(1, 2), dtype=np.float64)
    of_curve, of_pulse = train.sum(axis=2) / count[:, None], train.sum(axis=1) / count[:, None]
    number = np.arange(curves.pulses, dtype=np.float64)
    mean = np.column_stack([of_pulse @ number, of_curve @ curves.settings])
    square = np.column_stack(
        [
            of_pulse @ number**2 - mean[:, 0] ** 2,
            np.einsum("ec,ecf->ef", of_curve, (curves.settings[None] - mean[:, None, 1:]) ** 2),
        ]
    )
    deviation = np.sqrt(np.maximum(square, 0.0))
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-9), deviation, 1.0)


def _inputs(center: np.ndarray, scale: np.ndarray, pulse: np.ndarray, settings: np.ndarray) -> tuple[Tensor, Tensor]:
    """z-scored pulse numbers [E, N] and settings [E, G, 5]."""
    number = (pulse[None] - center[:, :1]) / scale[:, :1]
    z = (settings[None] - center[:, None, 1:]) / scale[:, None, 1:]
    return torch.tensor(number, dtype=torch.float32), torch.tensor(z, dtype=torch.float32)


def _spread_ramps(networks: PulseNetworks, pulses: int, center: np.ndarray, scale: np.ndarray) -> None:
    """Begin with units that fall from 1 at the first pulse to 0 at one in geometric progression."""
    with torch.no_grad():
        ends = np.geomspace(1.0, pulses, networks.config.width) - 1.0
        z = (ends[None] - center[:, :1]) / scale[:, :1]  # [E, H]
        first = torch.tensor(-center[:, :1] / scale[:, :1], dtype=torch.float32)
        end = torch.tensor(z, dtype=torch.float32)
        length = (end - first).clamp(min=KINKS)
        networks.weights[0][:, 0], networks.biases[0][:, 0] = -1.0 / length, end / length
        networks.weights[0][:, 1:] *= SETTING * (INPUTS / (INPUTS - 1)) ** 0.5
        networks.weights[-1].mul_(OUTPUT)
        networks.biases[-1].fill_(0.5 / pulses)


def _nodes(pulses: int) -> np.ndarray:
    """Those of `pulses` pulses at which training computes increments: the first few, then in geometric progression."""
    count = max(2, int(NODES * np.log10(pulses)) + 1)
    return np.unique(np.concatenate([np.arange(min(EVERY, pulses)), np.geomspace(1, pulses, count).round() - 1]))


def _fit_summed(
    networks: PulseNetworks,
    curves: PulseCurves,
    train: np.ndarray,
    scaling: tuple[np.ndarray, np.ndarray],
    recipe: SummedRecipe,
    tell: Progress,
) -> None:
    nodes = _nodes(curves.pulses - 1)
    number, settings = _inputs(*scaling, nodes, curves.unique_settings)
    # between the nodes increments are interpolated, and then added up from 0: one matrix for both
    between = np.stack([np.interp(np.arange(curves.pulses - 1), nodes, row) for row in np.eye(nodes.size)])
    adding = torch.tensor(np.pad(between.cumsum(axis=1), ((0, 0), (1, 0))), dtype=torch.float32)  # [N, P]
    weight = torch.tensor(train / train.sum(axis=(1, 2), keepdims=True), dtype=torch.float32)
    target = torch.tensor(curves.scaled, dtype=torch.float32)
    place = torch.tensor(curves.setting)
    optimiser = torch.optim.Adam(networks.parameters(), lr=recipe.learning_rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    averages = [p.detach().clone() for p in networks.parameters()]
    for step in range(1, recipe.steps + 1):
        error = (networks.on_grid(number, settings) @ adding)[:, place] - target
        # pseudo-Huber, written without the difference of two numbers near 1
        robust = error**2 / (1.0 + torch.sqrt(1.0 + (error / recipe.robust) ** 2))
        loss = (weight * robust).sum() + recipe.penalty * (networks.weights[0][:, 1:] ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        cycle.step()
        with torch.no_grad():
            for average, now in zip(averages, networks.parameters(), strict=True):
                average.lerp_(now, 1.0 - min(recipe.average, step / (step + 10)))
        tell(step, recipe.steps)
    with torch.no_grad():
        for average, now in zip(averages, networks.parameters(), strict=True):
            now.copy_(average)


def _rows(curves: PulseCurves, train: np.ndarray, center: np.ndarray, scale: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    """For each network the z-scored inputs [R, 6] and increments [R] of its training rows."""
    increments = np.diff(curves.scaled, axis=1)
    rows = []
    for mask, mean, deviation in zip(train, center, scale, strict=True):
        curve, pulse = np.nonzero(mask[:, 1:])  # the read after the first pulse is no increment
        inputs = (np.column_stack([pulse, curves.settings[curve]]) - mean) / deviation
        chosen = increments[curve, pulse]
        rows.append((torch.tensor(inputs, dtype=torch.float32), torch.tensor(chosen, dtype=torch.float32)))
    return rows


def _fit_increments(
    networks: PulseNetworks,
    rows: list[tuple[Tensor, Tensor]],
    recipe: PublishedRecipe,
    generator: torch.Generator,
    tell: Progress,
) -> None:
    """Batches of the same size for all networks; the odd rows at the end of an epoch wait for the next shuffle."""
    fewest = min(len(target) for _, target in rows)
    size = min(recipe.batch_size, fewest)
    steps = fewest // size
    optimiser = torch.optim.Adam(networks.parameters(), lr=recipe.learning_rate, fused=True)
    for epoch in range(1, recipe.epochs + 1):
        orders = [torch.randperm(len(target), generator=generator)[: steps * size] for _, target in rows]
        inputs = torch.stack([x[order] for (x, _), order in zip(rows, orders, strict=True)])
        targets = torch.stack([y[order] for (_, y), order in zip(rows, orders, strict=True)])
        for first in range(0, steps * size, size):
            error = (
                networks(inputs[:, first : first + size], recipe.dropout, generator) - targets[:, first : first + size]
            )
            loss = (error * error).mean(dim=1).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        tell(epoch, recipe.epochs)
