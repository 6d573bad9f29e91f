"""Points of the unit cube: where searches start, and the part of it in which some parameters are known."""

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import qmc

from memflux.device import Devices
from memflux.errors import InvalidValue, check_names, check_number
from memflux.space import Space
from memflux.waveform import Waveform

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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """A space of P parameters in which some are fixed; its points are the F free coordinates of the unit cube."""

    space: Space
    base: Float[np.ndarray, " P"]  # where the fixed parameters lie in the unit cube; the middle for the others
    free: Bool[np.ndarray, " P"]

    @classmethod
    def of(cls, space: Space, fixed: Mapping[str, float]) -> Self:
        """The section at the values `fixed` (SI, eV); InvalidValue for unknown names, values outside, none free."""
        check_names("parameter of the space", fixed, space.names)
        base = np.full(len(space.names), 0.5)
        for k, p in enumerate(space.parameters):
            if p.name in fixed:
                v = check_number(p.name, fixed[p.name], low=p.low, high=p.high, unit=p.unit)
                base[k] = np.log(v / p.low) / np.log(p.high / p.low) if p.log else (v - p.low) / (p.high - p.low)
        free = np.array([name not in fixed for name in space.names])
        if not free.any():
            raise InvalidValue("every parameter is fixed; leave at least one free.")
        return cls(space=space, base=base, free=free)

    @property
    def names(self) -> tuple[str, ...]:
        """The free parameters."""
        return tuple(name for name, free in zip(self.space.names, self.free, strict=True) if free)

    @property
    def fixed(self) -> tuple[str, ...]:
        """The others."""
        return tuple(name for name in self.space.names if name not in self.names)

    def whole(self, point: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "B P"]:
        """Points of the whole cube."""
        unit = np.tile(self.base, (len(point), 1))
        unit[:, self.free] = point
        return unit

    def values(self, point: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "B F"]:
        """The free parameters in SI (eV)."""
        return self.space.values(self.whole(point))[:, self.free]

    def build(self, point: Float[np.ndarray, "B F"]) -> tuple[Devices, Waveform]:
        """Devices and drive at the points."""
        return self.space.build(self.whole(point))

    def moved(self, coordinates: Mapping[str, float]) -> Self:
        """The section with some fixed parameters at other coordinates of the unit cube."""
        base = self.base.copy()
        for name, coordinate in coordinates.items():
            base[self.space.names.index(name)] = coordinate
        return dataclasses.replace(self, base=base)
