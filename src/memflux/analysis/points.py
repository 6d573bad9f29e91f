"""Points of the unit cube from which searches start: evenly spread and allowed by the space, or held at values."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.stats import qmc

from memflux.errors import InvalidValue, check_names, check_number
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


def held(space: Space, fixed: Mapping[str, float]) -> Float[np.ndarray, " P"]:
    """Where the parameters with a value in `fixed` (SI, eV) lie in the unit cube; 1/2 for the others.

    Raises InvalidValue for names that the space has not, and for values outside their ranges.
    """
    check_names("parameter of the space", fixed, space.names)
    point = np.full(len(space.names), 0.5)
    for k, p in enumerate(space.parameters):
        if p.name in fixed:
            value = check_number(p.name, fixed[p.name], low=p.low, high=p.high, unit=p.unit)
            point[k] = np.log(value / p.low) / np.log(p.high / p.low) if p.log else (value - p.low) / (p.high - p.low)
    return point
