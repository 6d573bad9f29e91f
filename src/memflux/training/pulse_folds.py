"""Who learns, who is looked at and who is kept for the test: k folds of pulse curves, 3:1:1 at five.

"curves" deals whole curves, "settings" whole settings (no setting in two parts), "rows" single pulses as the paper
does: there the other pulses of a curve, and its minimum and maximum, are known in training, so it leaks.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool

from memflux.errors import InvalidValue, check_choice, check_integer
from memflux.pulse_curves import PulseCurves

SPLITS = ("curves", "settings", "rows")
LEAKS = {"rows": "pulses of one curve are in training and test: it leaks", "curves": "", "settings": ""}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folds:
    """E divisions of the pulses of C curves into three parts."""

    split: str
    train: Bool[np.ndarray, "E C P"]
    validation: Bool[np.ndarray, "E C P"]
    test: Bool[np.ndarray, "E C P"]

    def __len__(self) -> int:
        return len(self.train)


def folds(curves: PulseCurves, split: str, repetitions: int = 1, count: int = 5, seed: int = 0) -> Folds:
    """`repetitions` times `count` folds; of each the next fold in turn is the validation part, the rest is training.

    Repetition r is dealt by the seed (seed, r) alone. Raises InvalidValue where there is too little to deal.
    """
    check_choice("split", split, SPLITS)
    repetitions = check_integer("repetitions", repetitions, low=1, high=1000)
    count = check_integer("count", count, low=3, high=1000)
    seed = check_integer("seed", seed, low=0, high=2**62)
    shape = curves.current.shape
    things = {"curves": len(curves), "settings": len(curves.unique_settings), "rows": curves.current.size}[split]
    if things < count:
        raise InvalidValue(f"there are {things} {split} for {count} folds; give more curves, or another split.")
    dealt = []
    for repetition in range(repetitions):
        place = np.empty(things, dtype=np.int64)
        place[np.random.default_rng((seed, repetition)).permutation(things)] = np.arange(things) % count
        if split == "rows":
            dealt.append(place.reshape(shape))
        else:
            of_curve = place if split == "curves" else place[curves.setting]
            dealt.append(np.broadcast_to(of_curve[:, None], shape))
    fold = np.repeat(np.stack(dealt), count, axis=0)  # [E, C, P]
    number = np.tile(np.arange(count), repetitions)[:, None, None]
    test, validation = fold == number, fold == (number + 1) % count
    return Folds(split=split, train=~test & ~validation, validation=validation, test=test)


def thinned(parts: Folds, fraction: float, seed: int = 0) -> Folds:
    """Of the training and validation part only a random `fraction`: of the pulses for "rows", else of the curves.

    At least one curve or row stays. The test part is whole.
    """
    if not 0.0 < fraction <= 1.0:
        raise InvalidValue(f"fraction = {fraction} is out of range; give more than 0 and at most 1.")
    random = np.random.default_rng(seed)
    return dataclasses.replace(
        parts,
        train=np.stack([_some(part, parts.split, fraction, random) for part in parts.train]),
        validation=np.stack([_some(part, parts.split, fraction, random) for part in parts.validation]),
    )


def _some(part: np.ndarray, split: str, fraction: float, random: np.random.Generator) -> np.ndarray:
    flat = part.reshape(-1) if split == "rows" else part[:, 0]
    there = np.flatnonzero(flat)
    kept = np.zeros(flat.size, dtype=bool)
    kept[random.permutation(there)[: max(1, round(fraction * there.size))]] = True
    return kept.reshape(part.shape) if split == "rows" else np.broadcast_to(kept[:, None], part.shape)
