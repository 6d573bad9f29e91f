"""Weights as conductances between two states, and the dot product that Ohm and Kirchhoff compute: I = V G.

A weight is the difference of two cells of a differential pair, one of which stays in its lowest level. The biases
are one more row, at the read voltage.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.crossbar.bitmaps import Images
from memflux.analysis.crossbar.lines import LineNetwork, Lines
from memflux.analysis.crossbar.networks import Network
from memflux.analysis.results import AbstractResult
from memflux.errors import InvalidValue, check_integer, check_number


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """The conductances that a cell can be brought to, evenly spaced."""

    low: float = 1 / 1.1e6  # S; the median HRS of doi 10.1039/d5nr02690c
    high: float = 1 / 519.0  # S; its median LRS
    count: int | None = None  # levels from low to high; None: any conductance between
    spread: float = 0.0  # deviation of ln G about the level that was aimed at

    def __post_init__(self) -> None:
        check_number("low", self.low, low=0.0, high=1e3, unit="S")
        check_number("high", self.high, low=1e-15, high=1e3, unit="S")
        if self.low >= self.high:
            raise InvalidValue(f"low = {self.low:g} S is not below high = {self.high:g} S; give the higher as high.")
        if self.count is not None:
            check_integer("count", self.count, low=2, high=1 << 20)
        check_number("spread", self.spread, low=0.0, high=10.0)


def to_pairs(
    weights: Float[np.ndarray, "I O"], levels: Levels, *, seed: int = 0
) -> tuple[Float[np.ndarray, "I O 2"], float]:
    """Conductances [S] of the pairs, and the weight that one siemens of difference stands for."""
    largest = float(np.abs(weights).max(initial=0.0))
    if not np.isfinite(largest):
        raise InvalidValue("weights hold what is not finite; train the network again with a smaller learning rate.")
    share = np.stack([np.maximum(weights, 0.0), np.maximum(-weights, 0.0)], axis=-1) / (largest or 1.0)
    if levels.count is not None:
        share = np.rint(share * (levels.count - 1)) / (levels.count - 1)
    conductances = levels.low + (levels.high - levels.low) * share
    if levels.spread > 0.0:
        conductances *= np.exp(levels.spread * np.random.default_rng(seed).standard_normal(share.shape))
    return conductances, largest / (levels.high - levels.low)


def from_pairs(conductances: Float[np.ndarray, "I O 2"], weight_per_siemens: float) -> Float[np.ndarray, "I O"]:
    """The weights that pairs stand for: the inverse of `to_pairs`, but for levels and spread."""
    return (conductances[..., 0] - conductances[..., 1]) * weight_per_siemens


def analogue_network(network: Network, levels: Levels, lines: Lines | None = None, *, seed: int = 0) -> Network:
    """The network that its arrays compute, one array a layer, with the rectifier in between.

    An array is linear, with resistive lines as well: what it computes are the weights of its transfer matrix.
    """
    weights, biases = [], []
    for k, (layer, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        conductances, unit = to_pairs(np.vstack([layer, bias]), levels, seed=seed + k)
        if lines is not None:  # the two columns of a pair lie side by side
            flat = conductances.reshape(len(conductances), -1)
            conductances = LineNetwork(flat, lines).transfer().reshape(conductances.shape)
        found = from_pairs(conductances, unit)
        weights.append(found[:-1])
        biases.append(found[-1])
    return Network(weights=tuple(weights), biases=tuple(biases))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnalogueResult(AbstractResult):
    """Accuracy of analogue arrays against one imperfection at a time."""

    KIND: ClassVar[str] = "crossbar-analogue"
    ARRAYS: ClassVar[tuple[str, ...]] = ("levels", "by_level", "spreads", "by_spread", "ohms", "by_ohms")

    float_accuracy: float
    levels: Float[np.ndarray, " L"]  # of a cell
    by_level: Float[np.ndarray, " L"]
    spreads: Float[np.ndarray, " S"]  # deviation of ln G; the measured LRS has 1.04
    by_spread: Float[np.ndarray, " S"]  # mean over arrays
    ohms: Float[np.ndarray, " R"]  # resistance of a segment of line
    by_ohms: Float[np.ndarray, " R"]


LEVELS = (2, 3, 4, 8, 16, 64)
SPREADS = (0.0, 0.03, 0.1, 0.3, 1.041)
OHMS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)


def against_imperfections(
    network: Network, images: Images, *, base: Levels | None = None, arrays: int = 5, seed: int = 0
) -> AnalogueResult:
    """Accuracy against the number of levels, the spread about them, and the resistance of the lines."""
    arrays = check_integer("arrays", arrays, low=1, high=10_000)
    base = base or Levels()

    def accuracy(levels: Levels, lines: Lines | None = None, array: int = 0) -> float:
        found = analogue_network(network, levels, lines, seed=seed + 1000 * array)
        return found.accuracy(images.inputs, images.labels)

    spread = [dataclasses.replace(base, spread=s) for s in SPREADS]
    return AnalogueResult(
        float_accuracy=network.accuracy(images.inputs, images.labels),
        levels=np.array(LEVELS, dtype=np.float64),
        by_level=np.array([accuracy(dataclasses.replace(base, count=n)) for n in LEVELS]),
        spreads=np.array(SPREADS),
        by_spread=np.array([np.mean([accuracy(s, None, k) for k in range(arrays)]) for s in spread]),
        ohms=np.array(OHMS),
        by_ohms=np.array([accuracy(base, Lines(row=r, column=r)) for r in OHMS]),
    )
