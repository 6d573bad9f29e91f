"""A network in many arrays: written as an arm says, read back, and asked for what it was trained on.

The published arm is that of Marraccini et al., Nanoscale (2025), doi 10.1039/d5nr02690c, section 3.2.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from memflux.analysis.crossbar.bitmaps import Images
from memflux.analysis.crossbar.cells import CellOptions, Cells
from memflux.analysis.crossbar.distributions import PRINTED, Distributions, Rates
from memflux.analysis.crossbar.networks import Quantised, ambiguous, flipped
from memflux.analysis.crossbar.storage import Stored, Writing, store
from memflux.analysis.results import AbstractResult
from memflux.errors import check_integer

MOST_ARRAYS = 100_000
MOST_FLIPPED = 4_000_000  # numbers of all flipped images


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """How cells are and how they are written."""

    options: CellOptions = dataclasses.field(default_factory=CellOptions)
    writing: Writing = dataclasses.field(default_factory=Writing)
    rewrites: int = 0  # random contents that an array held before, one after the other

    def __post_init__(self) -> None:
        check_integer("rewrites", self.rewrites, low=0, high=100_000)

    def implied(self, cells: Distributions) -> Rates:
        """Rates of wrong bits in fresh cells before spares, where a closed form has them; else nan."""
        o, w = self.options, self.writing
        aged = self.rewrites > 0 or o.worn > 0.0 or (o.endurance is not None and o.endurance < w.attempts)
        if aged or o.redraw == "all" or w.pulses.retention < 1.0:
            return Rates(ones=np.nan, zeros=np.nan)
        return Rates.implied(
            cells,
            voltage=w.pulses.voltage,
            threshold=w.pulses.threshold,
            attempts=w.attempts,
            redrawn=o.redraw == "resistance",
            working=o.working,
            shorted=o.shorted,
        )


ARMS = {
    # one pulse of +-5 V a cell, resistances drawn once, nothing is looked at afterwards
    "as-published": Arm(),
    # five attempts; the filament that forms at each switching has another resistance; 20 cycles
    "write-verify": Arm(options=CellOptions(redraw="resistance"), writing=Writing(attempts=5)),
    # that, and one cell in 21 is there to take the place of those that stay wrong
    "spares": Arm(options=CellOptions(redraw="resistance"), writing=Writing(attempts=5, spares=0.05)),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArraysResult(AbstractResult):
    """What A arrays with one network do."""

    KIND: ClassVar[str] = "crossbar-arrays"
    ARRAYS: ClassVar[tuple[str, ...]] = ("accuracy", "flips", "flip_map", "wrong", "spares_used")

    bits: int  # a weight
    cells: int  # of an array, spares included
    accuracy: Float[np.ndarray, " A"]  # share of the images that are told
    flips: Float[np.ndarray, " A"] | None  # share of all images with one pixel inverted; None: not asked
    flip_map: Float[np.ndarray, "B I"] | None  # share of the arrays that tell image b with pixel i inverted
    flips_ambiguous: int | None  # of these B I images, those that are an image of another class
    wrong: Float[np.ndarray, " A"]  # bits that read back wrong
    spares_used: Float[np.ndarray, " A"]
    ideal_accuracy: float  # of the quantised network in faultless cells
    ideal_flips: float | None
    ones: int  # written, in all arrays
    ones_wrong: float  # share that reads back wrong
    ones_implied: float | None  # by the distributions, before spares
    zeros: int
    zeros_wrong: float
    zeros_implied: float | None

    @property
    def flawless(self) -> int:
        """Arrays that tell every image."""
        return int((self.accuracy == 1.0).sum())


def stored_network(
    quantised: Quantised, arm: Arm, distributions: Distributions = PRINTED, *, seed: int | np.random.SeedSequence = 0
) -> tuple[Quantised, Stored]:
    """The network as one array of fresh cells gives it back, and where its bits are."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    of_cells, of_contents = sequence.spawn(2)
    bits = quantised.to_bits()
    cells = Cells(arm.writing.cells(bits.size), distributions, arm.options, seed=of_cells)
    contents = np.random.default_rng(of_contents)
    for _ in range(arm.rewrites):
        store(cells, contents.random(bits.size) < 0.5, arm.writing)
    stored = store(cells, bits, arm.writing)
    return quantised.with_bits(stored.read(cells, arm.writing)), stored


def fill_arrays(
    quantised: Quantised,
    images: Images,
    arm: Arm,
    *,
    distributions: Distributions = PRINTED,
    arrays: int = 100,
    scaled: bool = True,
    flips: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ArraysResult:
    """Make `arrays` arrays of fresh cells, write the network to each, read it back and ask it.

    Array k depends on (distributions, arm, seed, k) alone. `scaled`: see `Quantised.network`. `flips`: ask about every
    image with every single pixel inverted, too, unless those are too many.
    """
    arrays = check_integer("arrays", arrays, low=1, high=MOST_ARRAYS)
    seeds = np.random.SeedSequence(check_integer("seed", seed, low=0, high=2**63)).spawn(arrays)
    few = flips and images.inputs.size * images.inputs.shape[1] <= MOST_FLIPPED
    noisy, noisy_labels = flipped(images.inputs, images.labels) if few else (images.inputs[:1], images.labels[:1])
    found = np.empty((arrays, 4))  # accuracy, with flips, wrong bits, spares
    told = np.zeros(len(noisy))
    bits, missed = quantised.to_bits(), np.zeros(2)
    for k, sequence in enumerate(seeds):
        read, stored = stored_network(quantised, arm, distributions, seed=sequence)
        network = read.network(scaled)
        right = network.predict(noisy) == noisy_labels
        found[k] = network.accuracy(images.inputs, images.labels), right.mean(), stored.wrong, stored.spares_used
        told += right
        wrong = read.to_bits() != bits
        missed += (wrong & bits).sum(), (wrong & ~bits).sum()
        if progress is not None:
            progress(k + 1, arrays)
    implied, ideal = arm.implied(distributions), quantised.network(scaled)
    ones, zeros = arrays * int(bits.sum()), arrays * int((~bits).sum())
    return ArraysResult(
        bits=quantised.bits,
        cells=arm.writing.cells(bits.size),
        accuracy=found[:, 0],
        flips=found[:, 1] if few else None,
        flip_map=(told / arrays).reshape(images.inputs.shape) if few else None,
        flips_ambiguous=ambiguous(noisy, noisy_labels, images.inputs, images.labels) if few else None,
        wrong=found[:, 2],
        spares_used=found[:, 3],
        ideal_accuracy=ideal.accuracy(images.inputs, images.labels),
        ideal_flips=ideal.accuracy(noisy, noisy_labels) if few else None,
        ones=ones,
        ones_wrong=float(missed[0] / max(ones, 1)),
        ones_implied=_known(implied.ones),
        zeros=zeros,
        zeros_wrong=float(missed[1] / max(zeros, 1)),
        zeros_implied=_known(implied.zeros),
    )


def _known(rate: float) -> float | None:
    return None if np.isnan(rate) else float(rate)
