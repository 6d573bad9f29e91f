"""Accuracy of a stored network against what goes wrong: few bits, flipped pixels, stuck and dead cells, weak pulses."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.crossbar.arrays import Arm, fill_arrays
from memflux.analysis.crossbar.bitmaps import Images
from memflux.analysis.crossbar.cells import CellOptions, Pulses
from memflux.analysis.crossbar.distributions import PRINTED, Distributions
from memflux.analysis.crossbar.networks import Network, flip_pixels, quantise_network
from memflux.analysis.crossbar.storage import Writing
from memflux.analysis.crossbar.weights import ROUNDINGS
from memflux.analysis.results import AbstractResult
from memflux.errors import InvalidValue, check_integer

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8)  # bits
PIXELS = (0, 1, 2, 4, 8, 16)
STUCK = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
WORKING = (1.0, 0.99, 0.97, 0.9, 0.7, 0.4)
CURING = 10  # attempts with everything drawn anew: of 10^12 working cells one is wrong
VOLTAGES = (8.0, 5.0, 3.0, 2.0, 1.5, 1.0)  # V


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FaultsResult(AbstractResult):
    """Accuracies, means over arrays where cells fail; each fault by itself."""

    KIND: ClassVar[str] = "crossbar-faults"
    ARRAYS: ClassVar[tuple[str, ...]] = (
        *("widths", "truncated", "rounded", "pixels", "flips", "stuck", "stuck_accuracy", "working"),
        *("working_accuracy", "voltages", "unset", "voltage_accuracy"),
    )

    float_accuracy: float  # before quantisation
    bits: int  # of the network that meets the faults
    arrays: int
    widths: Float[np.ndarray, " W"]  # bits
    truncated: Float[np.ndarray, " W"]  # accuracy with weights cut towards zero, as published
    rounded: Float[np.ndarray, " W"]  # accuracy with weights rounded to the nearest
    pixels: Float[np.ndarray, " P"]  # inverted in each image
    flips: Float[np.ndarray, " P"]
    stuck: Float[np.ndarray, " S"]  # share of the cells at the end of their endurance, in the LRS
    stuck_accuracy: Float[np.ndarray, " S"]
    working: Float[np.ndarray, " Y"]  # share of the cells that are not dead (open)
    working_accuracy: Float[np.ndarray, " Y"]
    voltages: Float[np.ndarray, " V"]  # V, of the write pulses
    unset: Float[np.ndarray, " V"]  # P(V_SET > V): write failures of the ones
    voltage_accuracy: Float[np.ndarray, " V"]


def against_faults(
    network: Network,
    images: Images,
    *,
    bits: int = 4,
    rounding: str = "nearest",
    distributions: Distributions = PRINTED,
    arrays: int = 10,
    widths: Sequence[int] = WIDTHS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FaultsResult:
    """Accuracy on `images` against the number of bits and, at `bits` a weight, against each fault by itself.

    Bits and pixels meet faultless cells, stuck and dead cells an array in which writing has cured everything else.
    Weak pulses are those of the published arm: one a cell, so that a few resistances beyond the threshold are in it.
    """
    if not widths:
        raise InvalidValue("widths has no entries; give at least one number of bits.")
    arrays = check_integer("arrays", arrays, low=1, high=10_000)
    quantised = quantise_network(network, bits, rounding)
    stored = quantised.network()

    def mean(arm: Arm) -> float:
        found = fill_arrays(quantised, images, arm, distributions=distributions, arrays=arrays, flips=False, seed=seed)
        return float(found.accuracy.mean())

    cured = Writing(attempts=CURING)
    arms = [Arm(options=CellOptions(redraw="all", worn=share), writing=cured) for share in STUCK]
    arms += [Arm(options=CellOptions(redraw="all", working=share), writing=cured) for share in WORKING]
    arms += [Arm(writing=Writing(pulses=Pulses(voltage=voltage))) for voltage in VOLTAGES]
    found = []
    for k, arm in enumerate(arms):
        found.append(mean(arm))
        if progress is not None:
            progress(k + 1, len(arms))
    of_stuck, of_working, of_voltage = np.split(np.array(found), [len(STUCK), len(STUCK) + len(WORKING)])
    by_width = {
        kind: [quantise_network(network, w, kind).network().accuracy(images.inputs, images.labels) for w in widths]
        for kind in ROUNDINGS
    }
    pixels = [p for p in PIXELS if p <= images.inputs.shape[1]]
    return FaultsResult(
        float_accuracy=network.accuracy(images.inputs, images.labels),
        bits=bits,
        arrays=arrays,
        widths=np.array(widths, dtype=np.float64),
        truncated=np.array(by_width["towards-zero"]),
        rounded=np.array(by_width["nearest"]),
        pixels=np.array(pixels, dtype=np.float64),
        flips=np.array([stored.accuracy(flip_pixels(images.inputs, p, seed=seed), images.labels) for p in pixels]),
        stuck=np.array(STUCK),
        stuck_accuracy=of_stuck,
        working=np.array(WORKING),
        working_accuracy=of_working,
        voltages=np.array(VOLTAGES),
        unset=np.array([distributions.set_fails(v) for v in VOLTAGES]),
        voltage_accuracy=of_voltage,
    )
