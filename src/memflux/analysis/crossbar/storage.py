"""Bits in cells: written once, or verified and written again, and moved to spare cells where that does not help."""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Int

from memflux.analysis.crossbar.cells import Cells, Pulses
from memflux.errors import InvalidValue, check_integer, check_number


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """How bits are stored."""

    pulses: Pulses = dataclasses.field(default_factory=Pulses)
    attempts: int = 1  # at a cell; another one gives the opposite pulse, then the wanted one
    spares: float = 0.0  # cells beside the array for those that read back wrong, as a share of it

    def __post_init__(self) -> None:
        check_integer("attempts", self.attempts, low=1, high=10_000)
        check_number("spares", self.spares, low=0.0, high=10.0)

    def cells(self, bits: int) -> int:
        """Cells that an array for so many bits has, spares included."""
        return bits + math.ceil(self.spares * bits)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stored:
    """Where the bits are."""

    where: Int[np.ndarray, " C"]  # the cell of each bit
    spares_used: int  # the good ones, and the bad ones that were tried
    wrong: int  # bits that read back wrong

    def read(self, cells: Cells, writing: Writing) -> Bool[np.ndarray, " C"]:
        """The bits as they read."""
        return cells.read(writing.pulses, self.where)


def store(cells: Cells, bits: Bool[np.ndarray, " C"], writing: Writing) -> Stored:
    """Write bits to the first cells, and those that read back wrong to spare cells behind them until none is left.

    A cell that is stuck at the bit it shall hold is a good cell: only what reads back wrong is moved.
    """
    if len(cells) < writing.cells(bits.size):
        raise InvalidValue(
            f"{len(cells)} cells are too few for {bits.size} bits and {writing.spares:.1%} of spares; "
            f"make {writing.cells(bits.size)}."
        )
    write_verified(cells, bits, writing, slice(0, bits.size))
    where = np.arange(bits.size)
    wrong = np.flatnonzero(cells.read(writing.pulses, slice(0, bits.size)) != bits)
    spare, last = bits.size, writing.cells(bits.size)
    while wrong.size and spare < last:
        moved = wrong[: last - spare]
        where[moved] = np.arange(spare, spare + moved.size)
        spare += moved.size
        write_verified(cells, bits[moved], writing, where[moved])
        wrong = wrong[cells.read(writing.pulses, where[wrong]) != bits[wrong]]
    return Stored(where=where, spares_used=spare - bits.size, wrong=int(wrong.size))


def write_verified(
    cells: Cells, bits: Bool[np.ndarray, " C"], writing: Writing, where: slice | Int[np.ndarray, " C"] = slice(None)
) -> None:
    """One pulse a cell; then, for those that read back wrong, the opposite pulse and the wanted one again.

    The opposite pulse comes first because a cell that is in the wanted state and reads wrong has to switch to get
    another resistance; of one that did not switch it asks nothing.
    """
    pulses = writing.pulses
    cells.write(bits, pulses, where)
    for attempt in range(1, writing.attempts):
        if attempt == 1:
            wrong = np.flatnonzero(cells.read(pulses, where) != bits)
            places = wrong + (where.start or 0) if isinstance(where, slice) else where[wrong]
        else:
            still = cells.read(pulses, places) != bits[wrong]
            wrong, places = wrong[still], places[still]
        if not wrong.size:
            return
        cells.write(~bits[wrong], pulses, places)
        cells.write(bits[wrong], pulses, places)
