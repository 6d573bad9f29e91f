"""Many resistive cells: how they are made, how pulses change them, how they read.

Model and numbers: Marraccini et al., Nanoscale (2025), doi 10.1039/d5nr02690c, section 3: a cell has a SET and a RESET
voltage and two resistances; it endures 20 programming cycles and then stays in the low resistance state (LRS); what
was set under a current compliance below 10 uA is lost before it is read, above 100 uA it stays.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int

from memflux.analysis.crossbar.distributions import LN10, PRINTED, Distributions
from memflux.errors import InvalidValue, check_choice, check_integer, check_number

MOST_CELLS = 200_000_000
BLOCK = 1 << 18  # cells that are looked at together: what a step needs besides the cells stays below 10 MB
VOLATILE = 10e-6  # A, compliance below which nothing is retained
RETAINED = 100e-6  # A, compliance above which everything is
REDRAWS = ("never", "resistance", "all")

Where = slice | Int[np.ndarray, " C"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellOptions:
    """How the cells of an array are made and age."""

    redraw: str = "never"  # what is drawn anew: nothing; the resistance at each switching; all: voltages at each pulse
    endurance: int | None = 20  # programming cycles (SET and RESET) before the next SET is for good; None: no end
    working: float = 1.0  # share of the cells that work; 1: the array is built of tested cells. A batch has 0.4
    shorted: float = 0.0  # share of the dead cells that are shorts; the others are open
    worn: float = 0.0  # share of the cells that are at the end of their endurance: stuck in the LRS

    def __post_init__(self) -> None:
        check_choice("redraw", self.redraw, REDRAWS)
        if self.endurance is not None:
            check_integer("endurance", self.endurance, low=0, high=65_534)
        for name in ("working", "shorted", "worn"):
            check_number(name, getattr(self, name), low=0.0, high=1.0)
        if self.worn > 0.0 and self.endurance is None:
            raise InvalidValue(f"worn = {self.worn:g} needs an endurance that can end; give endurance, or worn = 0.")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pulses:
    """How cells are written and read."""

    voltage: float = 5.0  # V; +voltage sets (1), -voltage resets (0)
    compliance: float = 200e-6  # A, of the SET pulse
    read_voltage: float = 0.1  # V
    threshold: float = 10e3  # ohm; what reads below it is a 1

    def __post_init__(self) -> None:
        check_number("voltage", self.voltage, low=0.0, high=1e3, unit="V")
        check_number("compliance", self.compliance, low=0.0, high=1.0, unit="A")
        check_number("read_voltage", self.read_voltage, low=1e-6, high=1e3, unit="V")
        check_number("threshold", self.threshold, low=1e-3, high=1e15, unit="ohm")

    @property
    def retention(self) -> float:
        """Probability that a SET is retained: 0 below 10 uA, 1 above 100 uA.

        Between the two the paper finds "a wide dispersion" (figure S7), not uniquely defined for one cell: our reading
        is an independent chance at each SET that grows with the logarithm of the compliance.
        """
        if self.compliance <= 0.0:
            return 0.0
        share = math.log(self.compliance / VOLATILE) / math.log(RETAINED / VOLATILE)
        return min(max(share, 0.0), 1.0)


class Cells:
    """C cells, 19 bytes each: `v_set`, `v_reset` [V], `lrs`, `hrs` [ohm] in float32, `low`, `cycles`.

    Writing changes them. Fresh cells are in the high resistance state. 10^7 cells take 190 MB, and no step needs more
    than 10 MB besides (an index array where one is given; a result of one byte a cell where one is asked for).
    """

    def __init__(
        self,
        count: int,
        distributions: Distributions = PRINTED,
        options: CellOptions | None = None,
        *,
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        count = check_integer("count", count, low=1, high=MOST_CELLS)
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(check_integer("seed", seed, low=0, high=2**63))
        self.distributions = distributions
        self.options = options or CellOptions()
        self._random = np.random.Generator(np.random.SFC64(seed))
        self.v_set = self._lognormal(count, distributions.set_mu, distributions.set_sigma)
        self.v_reset = self._lognormal(count, distributions.reset_mu, distributions.reset_sigma)  # magnitude
        self.lrs = self._lrs(count)
        self.hrs = self._hrs(count)
        self.low = np.zeros(count, dtype=bool)
        self.cycles = np.zeros(count, dtype=np.uint16)  # SETs so far
        self._spoil(count)

    def __len__(self) -> int:
        return self.low.size

    @property
    def nbytes(self) -> int:
        """Bytes that the cells take."""
        return sum(a.nbytes for a in (self.v_set, self.v_reset, self.lrs, self.hrs, self.low, self.cycles))

    @property
    def stuck(self) -> Bool[np.ndarray, " C"]:
        """Cells that stay in the low resistance state for good."""
        return self.low & self._worn(slice(None))

    def write(self, bits: Bool[np.ndarray, " C"], pulses: Pulses, where: Where = slice(None)) -> None:
        """One pulse a cell: +voltage where the bit is 1, -voltage where it is 0; cells that it does not reach stay.

        `where`: a slice, or distinct indices; one bit for each.
        """
        for part, bit in self._blocks(where, bits):
            self._pulse(part, bits[bit], pulses)

    def read(self, pulses: Pulses, where: Where = slice(None)) -> Bool[np.ndarray, " C"]:
        """The bits: current at the read voltage against that through the threshold, so resistance below it."""
        limit = np.float32(pulses.threshold)
        found = np.empty(self._size(where), dtype=bool)
        for part, bit in self._blocks(where, found):
            found[bit] = np.where(self.low[part], self.lrs[part] < limit, self.hrs[part] < limit)
        return found

    def resistance(self, where: Where = slice(None)) -> Float32[np.ndarray, " C"]:
        """Resistance [ohm] of the state in which a cell is; inf where it is open."""
        return np.where(self.low[where], self.lrs[where], self.hrs[where])

    def _pulse(self, part: Where, bits: np.ndarray, pulses: Pulses) -> None:
        if self.options.redraw == "all":
            self._redraw_voltages(part)
        voltage = np.float32(pulses.voltage)
        low = self.low[part]
        sets = bits & ~low & (self.v_set[part] < voltage)
        resets = ~bits & low & (self.v_reset[part] < voltage) & ~self._worn(part)
        switched = self._places(part, sets)
        self.cycles[switched] += np.uint16(1)
        if pulses.retention < 1.0:  # the filament is gone before anybody reads
            switched = switched[self._random.random(switched.size) < pulses.retention]
        self.low[switched] = True
        back = self._places(part, resets)
        self.low[back] = False
        if self.options.redraw != "never":
            self.lrs[switched] = self._lrs(switched.size)
            self.hrs[back] = self._hrs(back.size)

    def _worn(self, part: Where) -> np.ndarray:
        if self.options.endurance is None:
            return np.zeros(self.low[part].shape, dtype=bool)
        return self.cycles[part] > self.options.endurance

    def _redraw_voltages(self, part: Where) -> None:
        d = self.distributions
        for held, mu, sigma in ((self.v_set, d.set_mu, d.set_sigma), (self.v_reset, d.reset_mu, d.reset_sigma)):
            new = self._lognormal(self.low[part].size, mu, sigma)
            held[part] = np.where(np.isinf(held[part]), held[part], new)  # dead cells stay dead

    def _spoil(self, count: int) -> None:
        """Make some cells dead (no voltage switches them) and some worn."""
        o = self.options
        for first in range(0, count if o.working < 1.0 else 0, BLOCK):
            chance = self._random.random(min(BLOCK, count - first), dtype=np.float32)
            dead = first + np.flatnonzero(chance >= o.working)
            shorts = dead[self._random.random(dead.size) < o.shorted]
            self.v_set[dead] = self.v_reset[dead] = self.hrs[dead] = np.inf
            self.low[shorts] = True
            self.lrs[shorts] = 0.0
        for first in range(0, count if o.worn > 0.0 else 0, BLOCK):
            assert o.endurance is not None
            chance = self._random.random(min(BLOCK, count - first), dtype=np.float32)
            worn = first + np.flatnonzero((chance < o.worn) & np.isfinite(self.v_set[first : first + BLOCK]))
            self.low[worn] = True
            self.cycles[worn] = o.endurance + 1

    def _lrs(self, count: int) -> np.ndarray:
        return self._lognormal(count, self.distributions.lrs_mu, self.distributions.lrs_sigma)

    def _hrs(self, count: int) -> np.ndarray:
        d = self.distributions
        return self._lognormal(count, d.hrs_mean * LN10, d.hrs_deviation * LN10)

    def _lognormal(self, count: int, mu: float, sigma: float) -> np.ndarray:
        values = self._random.standard_normal(count, dtype=np.float32)
        values *= np.float32(sigma)
        values += np.float32(mu)
        return np.exp(values, out=values)

    def _size(self, where: Where) -> int:
        return len(range(*where.indices(len(self)))) if isinstance(where, slice) else int(where.size)

    def _blocks(self, where: Where, bits: np.ndarray) -> Iterator[tuple[Where, slice]]:
        """Parts of `where` and of the bits that belong to them."""
        size = self._size(where)
        if bits.shape != (size,) or bits.dtype != bool:
            what = f"shape {bits.shape} and type {bits.dtype}"
            raise InvalidValue(f"bits has {what} for {size} cells; give one truth value a cell.")
        if isinstance(where, slice):
            first, _, step = where.indices(len(self))
            if step != 1:
                raise InvalidValue(f"where = {where} has a step; give indices instead.")
        elif size and not 0 <= int(where.min()) <= int(where.max()) < len(self):
            raise InvalidValue(
                f"where reaches from {where.min()} to {where.max()}; the cells are 0 to {len(self) - 1}."
            )
        for k in range(0, size, BLOCK):
            end = min(k + BLOCK, size)
            yield (slice(first + k, first + end) if isinstance(where, slice) else where[k:end]), slice(k, end)

    @staticmethod
    def _places(part: Where, chosen: np.ndarray) -> np.ndarray:
        """Indices into the cells of those of `part` that are chosen."""
        found = np.flatnonzero(chosen)
        return found + part.start if isinstance(part, slice) else part[found]
