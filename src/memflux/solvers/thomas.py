"""The compiled linear engine: block elimination with pivoting inside each node's block."""

from typing import no_type_check

import numba
import numpy as np


class ThomasEngine:
    """The engine where PETSc is not installed; the same interface as `PetscEngine`."""

    name = "compiled"

    def __init__(self, nodes: int) -> None:
        self._solution = np.empty((nodes, 5))

    def solve(self, blocks: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """The solution [N, 5] for blocks [3N - 2, 5, 5] in row order; `blocks` is overwritten."""
        self._solution[:] = residual
        _eliminate(blocks, self._solution)
        return self._solution

    def close(self) -> None:
        """Nothing to free."""


@numba.njit(cache=True)
@no_type_check
def _eliminate(b, x):
    nodes, size = x.shape
    work = np.empty((size, size))
    for k in range(nodes):
        if k > 0:
            _subtract(b[3 * k - 1], b[3 * k - 2], b[3 * k])
            for i in range(size):
                for j in range(size):
                    x[k, i] -= b[3 * k - 1, i, j] * x[k - 1, j]
        work[:] = b[3 * k]
        upper = b[3 * k + 1] if k < nodes - 1 else b[3 * k]
        _gauss(work, upper, x[k], k < nodes - 1)
    for k in range(nodes - 2, -1, -1):
        for i in range(size):
            for j in range(size):
                x[k, i] -= b[3 * k + 1, i, j] * x[k + 1, j]


@numba.njit(cache=True)
@no_type_check
def _subtract(left, right, target):
    """target -= left @ right."""
    size = target.shape[0]
    for i in range(size):
        for m in range(size):
            factor = left[i, m]
            if factor != 0.0:
                for j in range(size):
                    target[i, j] -= factor * right[m, j]


@numba.njit(cache=True)
@no_type_check
def _gauss(a, right, x, with_right):
    """Overwrite `right` and `x` with a^-1 right and a^-1 x by elimination with row pivoting."""
    size = a.shape[0]
    for i in range(size):
        pivot = i
        for m in range(i + 1, size):
            if abs(a[m, i]) > abs(a[pivot, i]):
                pivot = m
        if pivot != i:
            for j in range(size):
                a[i, j], a[pivot, j] = a[pivot, j], a[i, j]
                if with_right:
                    right[i, j], right[pivot, j] = right[pivot, j], right[i, j]
            x[i], x[pivot] = x[pivot], x[i]
        if a[i, i] == 0.0:
            x[:] = np.nan
            return
        inverse = 1.0 / a[i, i]
        for j in range(size):
            a[i, j] *= inverse
            if with_right:
                right[i, j] *= inverse
        x[i] *= inverse
        for m in range(size):
            factor = a[m, i]
            if m != i and factor != 0.0:
                for j in range(size):
                    a[m, j] -= factor * a[i, j]
                    if with_right:
                        right[m, j] -= factor * right[i, j]
                x[m] -= factor * x[i]
