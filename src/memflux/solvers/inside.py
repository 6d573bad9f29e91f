"""What the march saw inside a device, as profiles in SI units."""

from typing import no_type_check

import numpy as np

from memflux.constants import ELEMENTARY_CHARGE
from memflux.solvers import lanes as at
from memflux.solvers.compiled import kernel
from memflux.solvers.fermi import excess_half
from memflux.solvers.lanes import Batch
from memflux.solvers.system import System
from memflux.traces import Profiles


def make_profiles(
    batch: Batch, i: int, system: System, looks: np.ndarray, wanted: np.ndarray, first: np.ndarray
) -> Profiles:
    """Profiles of device i at the times `wanted` [K] s; NaN where a look inside failed or was not reached.

    `looks` are the side levels of the march, `first` [N, 7] what `Batch.side` would hold of the first level.
    Fluxes are those with which the march balanced every node to round-off: fluxes made again from densities
    that Newton's method left 1e-7 off would bury the displacement current, ten decades below the electrons'.
    """
    still = np.count_nonzero(wanted <= 0.0)
    levels = np.concatenate([np.zeros(still, dtype=np.int64), looks])  # level 0 is the first
    side = np.concatenate([np.repeat(first[None], still, axis=0), batch.side[: looks.size, :, :, i]])
    state, flux = side[..., :4], side[:, :-1, 4:]
    j = -ELEMENTARY_CHARGE * system.z * flux
    if not system.vacancies:
        j[..., 2] = 0.0
    phi = _quasi_fermi_potentials(system, state)
    out, psi = batch.out[levels, :, i], state[..., 3]
    return Profiles(
        time=np.concatenate([np.zeros(still), batch.time[looks, i]]),
        voltage=psi[:, -1] - out[:, at.LOWERING_R] + system.barrier[1],
        lowering_left=out[:, at.LOWERING_L],
        lowering_right=out[:, at.LOWERING_R],
        x=system.x,
        psi=psi - system.affinity,
        phi_n=phi[0],
        phi_p=phi[1],
        phi_x=phi[2],
        n=state[..., 0],
        p=state[..., 1],
        vacancy=state[..., 2] if system.vacancies else np.zeros_like(psi),
        j_n=j[..., 0],
        j_p=j[..., 1],
        j_x=j[..., 2],
        j_displacement=out[:, at.TOTAL, None] - j.sum(axis=-1),
    )


def _quasi_fermi_potentials(system: System, state: np.ndarray) -> np.ndarray:
    """phi_n, phi_p, phi_x [3, K, N] in V of unknowns [K, N, 4]."""
    psi = state[..., 3]
    phi = np.zeros((3, *psi.shape))
    for a in range(3 if system.vacancies else 2):
        c = state[..., a] / system.density[a]
        excess = -np.log1p(-c) if a == 2 else _excess(np.ascontiguousarray(c))
        phi[a] = psi + system.unit / system.z[a] * (np.log(c) + excess) - system.level[a]
    return phi


def _excess(c: np.ndarray) -> np.ndarray:
    found = np.empty_like(c)
    _fill_excess(c.ravel(), found.ravel())
    return found


@kernel
@no_type_check
def _fill_excess(c, found):
    for k in range(c.size):
        found[k] = excess_half(c[k])[0]
