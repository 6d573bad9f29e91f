"""Points of the unit cube from which searches start: evenly spread and allowed by the space."""

import numpy as np
from jaxtyping import Float
from scipy.stats import qmc

from memflux.errors import InvalidValue
from memflux.space import Space

ROUNDS = 64  # times that points are drawn anew before a rule counts as impossible


def spread(space: Space, count: int, seed: int) -> Float[np.ndarray, "S P"]:
    """`count` points of a scrambled Sobol' sequence, those that the rule of `space` refuses left out."""
    sequence = qmc.Sobol(d=len(space.parameters), rng=np.random.default_rng(np.random.SeedSequence(seed)))
    power = max(int(np.ceil(np.log2(max(count, 2)))), 1)
    found: list[np.ndarray] = []
    for _ in range(ROUNDS):
        unit = sequence.random_base2(power) if not found else sequence.random(2**power)
        found.append(unit[space.allowed(unit)])
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count]
    raise InvalidValue(f"space {space.name!r} allows almost no point under its rule {space.rule!r}; widen its ranges.")
