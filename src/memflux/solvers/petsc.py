"""The general linear engine: PETSc's block LU on a blocked sparse matrix, one per worker."""

import functools
import sys
from types import ModuleType

import numpy as np

from memflux.errors import MissingDependency
from memflux.solvers.system import FIELDS_PER_NODE


@functools.cache
def load_petsc() -> ModuleType:
    """petsc4py's PETSc, initialised on first use; MissingDependency where it is not installed."""
    try:
        import petsc4py

        # Without this flag PETSc installs handlers for eleven signals, SIGTERM among them, and a
        # worker that is asked to stop dies without its shut-down hook.
        petsc4py.init([sys.argv[0] if sys.argv else "memflux", "-no_signal_handler"])
        from petsc4py import PETSc
    except ImportError as error:
        raise MissingDependency(
            f"petsc4py cannot be imported ({error}); run `make setup`, or choose engine = 'compiled'."
        ) from None
    return PETSc


class PetscEngine:
    """Solves block-tridiagonal systems of N nodes with `size` unknowns each.

    Natural ordering has no fill beyond the three block diagonals; PETSc pivots inside each
    block, which suffices once rows are equilibrated (measured: 3e-14 of a pivoting solve).
    """

    name = "petsc"

    def __init__(self, nodes: int, size: int = FIELDS_PER_NODE) -> None:
        PETSc = load_petsc()
        rows = np.arange(nodes)
        columns = [c for k in rows for c in (k - 1, k, k + 1) if 0 <= c < nodes]
        self._indptr = np.concatenate([[0], np.cumsum(3 - (rows == 0) - (rows == nodes - 1))]).astype(PETSc.IntType)
        self._indices = np.array(columns, dtype=PETSc.IntType)
        matrix = PETSc.Mat().createBAIJ(size * nodes, size, csr=(self._indptr, self._indices), comm=PETSc.COMM_SELF)
        matrix.setOption(PETSc.Mat.Option.NEW_NONZERO_LOCATION_ERR, True)
        ksp = PETSc.KSP().create(PETSc.COMM_SELF)
        ksp.setType(PETSc.KSP.Type.PREONLY)
        pc = ksp.getPC()
        pc.setType(PETSc.PC.Type.LU)
        pc.setFactorOrdering(ord_type=PETSc.Mat.OrderingType.NATURAL)
        self._ksp, self._matrix, self._error = ksp, matrix, PETSc.Error
        self._right = matrix.createVecRight()
        self._left = matrix.createVecLeft()

    def solve(self, blocks: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """The solution [N, size] for blocks [3N - 2, size, size] in row order; not finite where it fails."""
        return self.solve_all(blocks, residual[None])[0]

    def solve_all(self, blocks: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The same for several right-hand sides [R, N, size] and one factorisation."""
        self._matrix.setValuesBlockedCSR(self._indptr, self._indices, blocks)
        self._matrix.assemble()
        self._ksp.setOperators(self._matrix)
        found = np.empty_like(right)
        for b, x in zip(right, found, strict=True):
            self._right.setArray(b.ravel())
            try:
                self._ksp.solve(self._right, self._left)
            except self._error:
                return np.full(right.shape, np.nan)
            x[:] = self._left.getArray().reshape(x.shape)
        return found

    def close(self) -> None:
        """Free the PETSc objects."""
        for thing in (self._ksp, self._matrix, self._right, self._left):
            thing.destroy()
