"""A crossbar with resistive lines: Kirchhoff's current law at every node, solved directly.

Row i is driven at its left end by a source of V_i, column j ends at the bottom in a virtual ground, where its current
is read. Each segment of a line has a resistance, those to the sources and to ground included; a cell joins its row and
its column. That makes 2 M N unknown potentials (M rows, N columns).
"""

import dataclasses

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import SuperLU, splu

from memflux.errors import InvalidValue, check_number, check_numbers

MOST_CELLS = 1 << 20  # one factorisation of 1024 x 1024 cells takes some gigabytes
LEAF = 4  # cells that are eliminated together
AT_ONCE = 32  # right-hand sides
REFINEMENTS = 6
SETTLED = 1e-17  # of the largest potential: a smaller correction changes no digit of a result


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Resistance of the lines."""

    row: float = 1.0  # ohm a segment, between neighbouring cells of a row and from the source to the first
    column: float = 1.0  # ohm a segment, likewise, and from the last cell of a column to ground

    def __post_init__(self) -> None:
        for name in ("row", "column"):
            value = getattr(self, name)
            if isinstance(value, int | float) and value == 0:
                raise InvalidValue(f"{name} = 0 ohm is a line without resistance; leave the lines out (None).")
            check_number(name, value, low=1e-6, high=1e9, unit="ohm")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LineSolution:
    """Potentials and currents of an array with lines, for B vectors of source voltages."""

    rows: Float[np.ndarray, "B M N"]  # V, potential of each cell's node on its row
    columns: Float[np.ndarray, "B M N"]  # V, likewise on its column
    cells: Float[np.ndarray, "B M N"]  # A, current through each cell
    sources: Float[np.ndarray, "B M"]  # A, from each source
    currents: Float[np.ndarray, "B N"]  # A, read at the end of each column
    bound: Float[np.ndarray, " B"]  # no potential is further from the exact one than this share of the largest voltage
    current_bound: Float[np.ndarray, " B"]  # nor a current read, of the largest; nan where no bound could be shown


class LineNetwork:
    """The equations of one array, factorised once and then solved for any voltages."""

    def __init__(self, conductances: Float[np.ndarray, "M N"], lines: Lines) -> None:
        """`conductances` [S] of the cells, 0 for an open one; InvalidValue for others and for arrays too large."""
        self.conductances = check_numbers("conductances", conductances, low=0.0, high=1e6, unit="S", ndim=2)
        if not 0 < self.conductances.size <= MOST_CELLS:
            raise InvalidValue(f"conductances has shape {self.conductances.shape}; give 1 to {MOST_CELLS} cells.")
        self.row, self.column = 1.0 / lines.row, 1.0 / lines.column  # S
        rows, columns = self.conductances.shape
        self._first = np.arange(rows) * columns  # nodes next to the sources
        self._last = rows * columns + (rows - 1) * columns + np.arange(columns)  # and next to ground
        self._order = nested_dissection(rows, columns)
        self._factors = self._factorise()

    def solve(self, voltages: Float[np.ndarray, "B M"]) -> LineSolution:
        """Potentials and currents for source voltages [V], refined until no digit changes.

        The residual, the current that is left over at each node, is summed in extended precision from differences of
        potentials, so that the refined solution is that of the equations and not of their rounding. A bound of the
        error comes with it: the matrix A has no positive entry beside its diagonal and a positive inverse, so
        any y with A y >= |residual| bounds the error of every potential.
        """
        voltages = _voltages(voltages, len(self.conductances))
        parts = [self._solve_one(v) for v in voltages]
        return LineSolution(**{f.name: np.array([p[f.name] for p in parts]) for f in dataclasses.fields(LineSolution)})

    def currents(self, voltages: Float[np.ndarray, "B M"]) -> Float[np.ndarray, "B N"]:
        """Currents [A] at the ends of the columns, without refinement and certificate: what a dot product needs."""
        voltages = _voltages(voltages, len(self.conductances))
        if len(voltages) >= min(self.conductances.shape):
            return voltages @ self.transfer()
        return self.column * self._answers(self._first, self.row * voltages, self._last)

    def transfer(self) -> Float[np.ndarray, "M N"]:
        """The conductances [S] that the array shows from outside: currents = voltages @ transfer.

        By reciprocity from one solve a row or a column, whichever are fewer.
        """
        rows, columns = self.conductances.shape
        if rows <= columns:
            return self.column * self._answers(self._first, self.row * np.eye(rows), self._last)
        return self.row * self._answers(self._last, self.column * np.eye(columns), self._first).T

    def _answers(self, into: np.ndarray, injected: np.ndarray, read: np.ndarray) -> np.ndarray:
        """Potentials [B, R] at the nodes `read` for currents [B, K] injected at the nodes `into`, some at once."""
        found = np.empty((len(injected), read.size))
        for k in range(0, len(injected), AT_ONCE):
            right = np.zeros((2 * self.conductances.size, len(injected[k : k + AT_ONCE])))
            right[into] = injected[k : k + AT_ONCE].T
            found[k : k + AT_ONCE] = self._apply_inverse(right)[read].T
        return found

    def residual(self, potential: np.ndarray, voltages: np.ndarray) -> np.ndarray:
        """Current [A] into each node [2 M N] that Kirchhoff's law has left over, in the precision of `potential`."""
        rows, columns = self.conductances.shape
        x, y = potential.reshape(2, rows, columns)
        through = self.conductances * (x - y)
        left, low = -through, +through
        along, down = self.row * (x[:, :-1] - x[:, 1:]), self.column * (y[:-1] - y[1:])
        left[:, :-1] -= along
        left[:, 1:] += along
        low[:-1] -= down
        low[1:] += down
        left[:, 0] += self.row * (voltages - x[:, 0])
        low[-1] -= self.column * y[-1]
        return np.concatenate([left.ravel(), low.ravel()])

    def _solve_one(self, voltages: np.ndarray) -> dict[str, np.ndarray]:
        rows, columns = self.conductances.shape
        exact = voltages.astype(np.longdouble)
        potential = np.zeros(2 * rows * columns, dtype=np.longdouble)
        largest = max(float(np.abs(voltages).max()), np.finfo(float).tiny)
        for _ in range(REFINEMENTS):
            correction = self._apply_inverse(self.residual(potential, exact).astype(np.float64))
            potential += correction
            if np.abs(correction).max() <= SETTLED * largest:
                break
        bound = self._bound(potential, exact)
        x, y = potential.reshape(2, rows, columns)
        read = self.column * y[-1]
        top = max(float(np.abs(read).max()), np.finfo(float).tiny)
        return {
            "rows": x.astype(np.float64),
            "columns": y.astype(np.float64),
            "cells": (self.conductances * (x - y)).astype(np.float64),
            "sources": (self.row * (exact - x[:, 0])).astype(np.float64),
            "currents": read.astype(np.float64),
            "bound": bound.max() / largest,
            "current_bound": self.column * bound[-columns:].max() / top,
        }

    def _bound(self, potential: np.ndarray, voltages: np.ndarray) -> np.ndarray:
        """A bound of the error of each potential [V], nan where none is shown.

        The rounding of the residual itself is part of what is bounded: a few units of extended precision of the
        currents that are summed at a node.
        """
        scale = np.abs(potential).max() + np.abs(voltages).max()
        size = self._diagonal() * 2.0 * scale
        wanted = np.abs(self.residual(potential, voltages)) + 8 * np.finfo(np.longdouble).eps * size
        bound = self._apply_inverse(1.01 * wanted.astype(np.float64)).astype(np.longdouble)
        shown = -self.residual(bound, np.zeros_like(voltages)) >= wanted
        return (bound if shown.all() else np.full_like(bound, np.nan)).astype(np.float64)

    def _apply_inverse(self, right: np.ndarray) -> np.ndarray:
        found = np.empty_like(right)
        found[self._order] = self._factors.solve(right[self._order])
        return found

    def _diagonal(self) -> np.ndarray:
        rows, columns = self.conductances.shape
        ends = np.zeros((rows, columns))
        ends[:, -1] = 1.0
        tops = np.zeros((rows, columns))
        tops[0] = 1.0
        on_rows = self.conductances + self.row * (2.0 - ends)
        on_columns = self.conductances + self.column * (2.0 - tops)
        return np.concatenate([on_rows.ravel(), on_columns.ravel()])

    def _factorise(self) -> SuperLU:
        rows, columns = self.conductances.shape
        x = np.arange(rows * columns).reshape(rows, columns)
        y = x + rows * columns
        one = np.concatenate([x.ravel(), x[:, :-1].ravel(), y[:-1].ravel()])
        other = np.concatenate([y.ravel(), x[:, 1:].ravel(), y[1:].ravel()])
        along, down = np.full(rows * (columns - 1), self.row), np.full((rows - 1) * columns, self.column)
        joined = np.concatenate([self.conductances.ravel(), along, down])
        place = np.empty_like(self._order)
        place[self._order] = np.arange(place.size)
        one, other, itself = place[one], place[other], place
        values = np.concatenate([-joined, -joined, self._diagonal()])
        at = (np.concatenate([one, other, itself]), np.concatenate([other, one, itself]))
        matrix = sp.csc_array((values, at), shape=(place.size, place.size))
        # symmetric and diagonally dominant: no pivoting is needed, and it would spoil the order
        return splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def nested_dissection(rows: int, columns: int) -> Int[np.ndarray, " K"]:
    """An order of the 2 M N nodes with little fill: halves first, then the lines that part them (George 1973).

    Doi 10.1137/0710032. A cut along a column or a row takes both nodes of its cells. For 256 x 256 cells the factors
    have 0.57 of the entries that SuperLU's minimum degree leaves, in a third of the time.
    """
    order: list[np.ndarray] = []
    cell = np.arange(rows * columns).reshape(rows, columns)

    def part(top: int, bottom: int, left: int, right: int) -> None:
        height, width = bottom - top, right - left
        if height <= 0 or width <= 0:
            return
        if height * width <= LEAF:
            order.append(cell[top:bottom, left:right].ravel())
        elif width >= height:
            middle = (left + right) // 2
            part(top, bottom, left, middle)
            part(top, bottom, middle + 1, right)
            order.append(cell[top:bottom, middle])
        else:
            middle = (top + bottom) // 2
            part(top, middle, left, right)
            part(middle + 1, bottom, left, right)
            order.append(cell[middle, left:right])

    part(0, rows, 0, columns)
    both = [np.concatenate([cells, cells + rows * columns]) for cells in order]
    return np.concatenate(both)


def dot(
    conductances: Float[np.ndarray, "M N"], voltages: Float[np.ndarray, "B M"], lines: Lines | None = None
) -> Float[np.ndarray, "B N"]:
    """Currents [A] at the columns, I = V G, or with lines as Kirchhoff's law has it."""
    if lines is not None:
        return LineNetwork(conductances, lines).currents(voltages)
    known = check_numbers("conductances", conductances, low=0.0, high=1e6, unit="S", ndim=2)
    return _voltages(voltages, len(known)) @ known


def _voltages(voltages: np.ndarray, rows: int) -> np.ndarray:
    found = check_numbers("voltages", voltages, low=-1e6, high=1e6, unit="V", ndim=2)
    if found.shape[1] != rows or not len(found):
        raise InvalidValue(f"voltages has shape {found.shape}; give vectors of one voltage for each of {rows} rows.")
    return found
