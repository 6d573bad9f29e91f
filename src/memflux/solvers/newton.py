"""Damped Newton's method on the residual of one time level."""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np

from memflux.solvers import model
from memflux.solvers.control import NewtonControl
from memflux.solvers.system import System


@runtime_checkable
class LinearEngine(Protocol):
    """What Newton's method asks of PETSc or of the compiled elimination."""

    name: str

    def solve(self, blocks: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Solution [N, 5] of the block-tridiagonal system; `blocks` may be overwritten."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class Problem:
    """A system with its linear engine and work arrays: one per solve, used by one thread."""

    system: System
    engine: LinearEngine
    packed: tuple[np.ndarray, ...]
    n: np.ndarray  # [N, 3]
    lnf: np.ndarray  # [N, 3]
    slope: np.ndarray  # [N, 3]
    residual: np.ndarray  # [N, 5]
    blocks: np.ndarray  # [3N - 2, 5, 5]
    contact_density: np.ndarray  # [2, 2] m^-3, what the contacts relax to
    lowering: float  # 1: physical; less while an equilibrium is approached in stages
    newton_steps: int = 0

    @classmethod
    def of(cls, system: System, engine: LinearEngine) -> "Problem":
        """A problem with fresh work arrays."""
        nodes = system.x.size
        return cls(
            system=system,
            engine=engine,
            packed=model.pack(system),
            n=np.empty((nodes, 3)),
            lnf=np.empty((nodes, 3)),
            slope=np.empty((nodes, 3)),
            residual=np.empty((nodes, 5)),
            blocks=np.empty((3 * nodes - 2, 5, 5)),
            contact_density=np.zeros((2, 2)),
            lowering=float(system.lowering),
        )

    def densities(self, u: np.ndarray) -> np.ndarray:
        """Densities [N, 3] in m^-3 at the unknowns u [N, 5]."""
        model.densities(u, *self.packed, self.n, self.lnf, self.slope)
        return self.n.copy()


def solve_newton(
    problem: Problem, control: NewtonControl, mode: int, start: np.ndarray, old: np.ndarray, voltage: float, dt: float
) -> np.ndarray | None:
    """Unknowns [N, 5] at `voltage` [V] after a step `dt` [s] from densities `old`, or None.

    The tests follow the published code: a small update, absolutely or relative to the first;
    an unchanging 1-norm; failure where an update is a thousand times the one before, not finite,
    or one too many.
    """
    u = start.copy()
    damp, last, first, still, size_before = control.damp_initial, np.inf, np.inf, 0, 0.0
    p, s = problem, problem.system
    for step in range(control.max_steps):
        model.assemble(
            mode,
            u,
            old,
            p.contact_density,
            voltage,
            dt,
            p.lowering,
            *p.packed,
            p.n,
            p.lnf,
            p.slope,
            p.residual,
            p.blocks,
        )
        update = p.engine.solve(p.blocks, p.residual)
        norm, size = model.apply_update(u, update, damp, s.h, control.reference_norm and s.lowering)
        p.newton_steps += 1
        damp = min(1.0, damp * control.damp_growth)
        if step == 0:
            first = norm
        if not np.isfinite(norm) or norm > control.max_increase * last:
            return None
        still = still + 1 if abs(size - size_before) < control.stagnation * size else 0
        if norm < control.absolute or norm < control.relative * first or still > control.stagnation_steps:
            return u
        last, size_before = norm, size
    return None
