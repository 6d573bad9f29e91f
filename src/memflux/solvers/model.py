"""The published scheme: residual and Jacobian of one implicit Euler step, potentials as unknowns.

It serves the published controllers, which reproduce published curves to solver tolerance; the
solver's own scheme is in newton_step.py.

Unknowns a node: phi_n, phi_p, phi_x, psi_hat, w. Here w = psi - psi_R is the difference between
the potential with and without the image charge. Both obey Poisson's equation with the same charge
and permittivity, so w is harmonic: its rows are local, and the 4N + 2 unknowns of the reduced model
keep a block-tridiagonal matrix. Equations: docs/physics.md.

Rows are divided by their largest Jacobian entry: their magnitudes span more than seventy decades
(vacancy densities reach 1e-60 m^-3), and factorisations pivot within a node's block only.
"""

import math
from typing import no_type_check

import numba
import numpy as np

from memflux.constants import ELEMENTARY_CHARGE
from memflux.solvers.flux import edge_flux
from memflux.solvers.statistics import fermi_half, fermi_minus_one
from memflux.solvers.system import System, image_scale

EQUILIBRIUM, TRANSIENT = 0, 1

# Indices into the packed scalars of `pack`.
UNIT, EPS, DOPING, BARRIER_L, BARRIER_R, IMAGE, FOLLOWS, VACANCIES, SLACK = range(9)
PHI_N, PHI_P, PHI_X, PSI, W = range(5)


def pack(system: System) -> tuple[np.ndarray, ...]:
    """The arrays of a system in the order in which the kernels take them."""
    scalars = np.array(
        [
            system.unit,
            system.permittivity,
            system.doping,
            *system.barrier,
            image_scale(system),
            float(system.follows),
            float(system.vacancies),
            system.contact_slack,
        ]
    )
    return (
        system.h,
        system.volume,
        system.z,
        system.density,
        system.level,
        system.mobility,
        system.emission,
        scalars,
    )


@numba.njit(cache=True)
@no_type_check
def densities(u, h, volume, z, band, level, mobility, emission, s, n, lnf, slope):
    """Fill n [N, 3] in m^-3, ln F and d ln F/d eta of every node and carrier."""
    for k in range(u.shape[0]):
        for a in range(3):
            eta = z[a] * (u[k, a] - u[k, PSI] + level[a]) / s[UNIT]
            if a < 2:
                f, lnf[k, a], slope[k, a] = fermi_half(eta)
            else:
                f, lnf[k, a], slope[k, a] = fermi_minus_one(eta)
            n[k, a] = band[a] * f


@numba.njit(cache=True)
@no_type_check
def assemble(
    mode, u, old, n0, voltage, dt, lowering, h, volume, z, band, level, mobility, emission, s, n, lnf, slope, r, b
):
    """`residual_and_jacobian` with every row divided by its largest Jacobian entry."""
    residual_and_jacobian(
        mode, u, old, n0, voltage, dt, lowering, h, volume, z, band, level, mobility, emission, s, n, lnf, slope, r, b
    )
    _equilibrate(r, b)


@numba.njit(cache=True)
@no_type_check
def residual_and_jacobian(
    mode, u, old, n0, voltage, dt, lowering, h, volume, z, band, level, mobility, emission, s, n, lnf, slope, r, b
):
    """Residual r [N, 5] and Jacobian b [3N - 2, 5, 5] at u [N, 5].

    `old` [N, 3] are the densities at the last level, `n0` [2, 2] the densities the contacts relax
    to, `lowering` scales the barrier lowering (0: none, 1: physical). Blocks lie in row order:
    row k has k - 1, k, k + 1, so its diagonal is block 3k. Units of the
    rows: A/m^2 (carriers), C/m^2 (Poisson), V (contacts, w).
    """
    r[:] = 0.0
    b[:] = 0.0
    last = u.shape[0] - 1
    densities(u, h, volume, z, band, level, mobility, emission, s, n, lnf, slope)
    if mode == EQUILIBRIUM:
        for k in range(last + 1):
            for a in range(3):
                r[k, a] = u[k, a]
                b[3 * k, a, a] = 1.0
    else:
        _continuity(u, old, dt, h, volume, z, mobility, s, n, lnf, slope, r, b)
        _emission(u, n0, z, band, level, emission, s, n, slope, r, b)
    _poisson(u, voltage, h, volume, z, s, n, slope, r, b)
    _lowering(u, lowering, h, s, r, b)


@numba.njit(cache=True)
@no_type_check
def _continuity(u, old, dt, h, volume, z, mobility, s, n, lnf, slope, r, b):
    nodes = u.shape[0]
    unit = s[UNIT]
    for a in range(3):
        if a == 2 and s[VACANCIES] == 0.0:
            for k in range(nodes):
                r[k, a] = u[k, a]
                b[3 * k, a, a] = 1.0
            continue
        charge = z[a] * ELEMENTARY_CHARGE
        step = z[a] / unit  # d eta / d phi
        for k in range(nodes):
            store = volume[k] * charge / dt
            r[k, a] += store * (n[k, a] - old[k, a])
            rise = store * n[k, a] * slope[k, a] * step
            b[3 * k, a, a] += rise
            b[3 * k, a, PSI] -= rise
        for k in range(nodes - 1):
            m = k + 1
            q = z[a] * (u[m, a] - u[k, a]) / unit - (lnf[m, a] - lnf[k, a])
            j, j_q, j_k, j_m = edge_flux(-charge * unit * mobility[a] / h[k], q, n[k, a], n[m, a])
            # with respect to eta at fixed psi; psi enters Q a second time, at fixed eta
            d_m = (j_q * (1.0 - slope[m, a]) + j_m * n[m, a] * slope[m, a]) * step
            d_k = (-j_q * (1.0 - slope[k, a]) + j_k * n[k, a] * slope[k, a]) * step
            r[k, a] += j
            r[m, a] -= j
            b[3 * k, a, a] += d_k
            b[3 * k, a, PSI] += -d_k - j_q * step
            b[3 * k + 1, a, a] += d_m
            b[3 * k + 1, a, PSI] += -d_m + j_q * step
            b[3 * m, a, a] -= d_m
            b[3 * m, a, PSI] -= -d_m + j_q * step
            b[3 * m - 1, a, a] -= d_k
            b[3 * m - 1, a, PSI] -= -d_k - j_q * step


@numba.njit(cache=True)
@no_type_check
def _emission(u, n0, z, band, level, emission, s, n, slope, r, b):
    """Thermionic emission of electrons and holes at both contacts; vacancies do not pass."""
    for side in range(2):
        k = 0 if side == 0 else u.shape[0] - 1
        barrier = s[BARRIER_L + side]
        for a in range(2):
            velocity = z[a] * ELEMENTARY_CHARGE * emission[a]
            step = z[a] / s[UNIT]
            rise = velocity * n[k, a] * slope[k, a] * step
            b[3 * k, a, a] += rise
            b[3 * k, a, PSI] -= rise
            if s[FOLLOWS] != 0.0:
                f, _, d = fermi_half(step * (barrier - u[k, W] + level[a]))
                r[k, a] += velocity * (n[k, a] - band[a] * f)
                b[3 * k, a, W] += velocity * band[a] * f * d * step
            else:
                r[k, a] += velocity * (n[k, a] - n0[side, a])


@numba.njit(cache=True)
@no_type_check
def _poisson(u, voltage, h, volume, z, s, n, slope, r, b):
    last = u.shape[0] - 1
    eps = s[EPS]
    for k in range(1, last):
        left, right = eps / h[k - 1], eps / h[k]
        rho = s[DOPING]
        for a in range(3):
            rho += z[a] * n[k, a]
            rise = volume[k] * ELEMENTARY_CHARGE * z[a] * n[k, a] * slope[k, a] * z[a] / s[UNIT]
            b[3 * k, PSI, a] = -rise
            b[3 * k, PSI, PSI] += rise
        r[k, PSI] = (
            right * (u[k, PSI] - u[k + 1, PSI])
            + left * (u[k, PSI] - u[k - 1, PSI])
            - volume[k] * ELEMENTARY_CHARGE * rho
        )
        b[3 * k, PSI, PSI] += left + right
        b[3 * k - 1, PSI, PSI] = -left
        b[3 * k + 1, PSI, PSI] = -right
        r[k, W] = right * (u[k, W] - u[k + 1, W]) + left * (u[k, W] - u[k - 1, W])
        b[3 * k, W, W] = left + right
        b[3 * k - 1, W, W] = -left
        b[3 * k + 1, W, W] = -right
    for side in range(2):
        k = 0 if side == 0 else last
        r[k, PSI] = u[k, PSI] + s[BARRIER_L + side] - u[k, W] - (voltage if side == 1 else 0.0)
        b[3 * k, PSI, PSI] = 1.0
        b[3 * k, PSI, W] = -1.0
        if s[SLACK] > 0.0:
            _slacken(side, u, h, volume, z, s, n, slope, r, b)


@numba.njit(cache=True)
@no_type_check
def _slacken(side, u, h, volume, z, s, n, slope, r, b):
    """The published code pins contact potentials by a penalty; this is what it leaves, 1e-14 V."""
    last = u.shape[0] - 1
    k, m, spacing, off = (0, 1, h[0], 1) if side == 0 else (last, last - 1, h[last - 1], 3 * last - 1)
    stiff = s[SLACK] * s[EPS] / spacing
    store = s[SLACK] * volume[k] * ELEMENTARY_CHARGE
    r[k, PSI] += stiff * (u[k, PSI] - u[m, PSI]) - store * s[DOPING]
    b[3 * k, PSI, PSI] += stiff
    b[off, PSI, PSI] -= stiff
    for a in range(3):
        r[k, PSI] -= store * z[a] * n[k, a]
        rise = store * z[a] * z[a] / s[UNIT] * n[k, a] * slope[k, a]
        b[3 * k, PSI, a] -= rise
        b[3 * k, PSI, PSI] += rise
    r[k, W] -= stiff * (u[k, W] - u[m, W])
    b[3 * k, W, W] -= stiff
    b[off, W, W] += stiff


@numba.njit(cache=True)
@no_type_check
def contact_field(side, u, h):
    """Outward normal derivative g of psi_R at a contact, one-sided [V/m], and 1/h of its cell."""
    last = u.shape[0] - 1
    k, m, spacing = (0, 1, h[0]) if side == 0 else (last, last - 1, h[last - 1])
    return ((u[k, PSI] - u[k, W]) - (u[m, PSI] - u[m, W])) / spacing, 1.0 / spacing


@numba.njit(cache=True)
@no_type_check
def _lowering(u, lowering, h, s, r, b):
    """w at the contacts: Delta psi = sqrt(-q g/(4 pi eps_i)) where g < 0, else 0, solved as it stands."""
    last = u.shape[0] - 1
    for side in range(2):
        k, off = (0, 1) if side == 0 else (last, 3 * last - 1)
        r[k, W] += u[k, W]
        b[3 * k, W, W] += 1.0
        g, per = contact_field(side, u, h)
        if lowering == 0.0 or g >= 0.0:
            continue
        delta = lowering * math.sqrt(-s[IMAGE] * g)
        r[k, W] -= delta
        weight = lowering * lowering * s[IMAGE] * 0.5 / delta
        b[3 * k, W, PSI] += weight * per
        b[3 * k, W, W] -= weight * per
        b[off, W, PSI] -= weight * per
        b[off, W, W] += weight * per


@numba.njit(cache=True)
@no_type_check
def _equilibrate(r, b):
    nodes = r.shape[0]
    for k in range(nodes):
        first = 3 * k - 1 if k > 0 else 0
        stop = 3 * k + 2 if k < nodes - 1 else 3 * k + 1
        for i in range(5):
            largest = 0.0
            for m in range(first, stop):
                for j in range(5):
                    largest = max(largest, abs(b[m, i, j]))
            if largest < 1e-290:  # a density that underflowed: nothing determines this unknown
                b[3 * k, i, i] = 1.0
                r[k, i] = 0.0
                continue
            r[k, i] /= largest
            for m in range(first, stop):
                for j in range(5):
                    b[m, i, j] /= largest


@numba.njit(cache=True)
@no_type_check
def apply_update(u, update, damp, h, reference):
    """u -= damp * update in place; returns (norm of the undamped update, 1-norm of u).

    The norm is the largest entry in V. With `reference` it also runs over psi_R and over the
    contact fields g in V/m, as in the published code, where these are unknowns of their own.
    """
    nodes = u.shape[0]
    norm = 0.0
    size = 0.0
    for k in range(nodes):
        for i in range(5):
            u[k, i] -= damp * update[k, i]
            norm = max(norm, abs(update[k, i]))
            if not math.isfinite(update[k, i]):
                norm = math.inf
        for i in range(4):
            size += abs(u[k, i])
    if reference:
        for k in range(nodes):
            norm = max(norm, abs(update[k, PSI] - update[k, W]))
            size += abs(u[k, PSI] - u[k, W])
        for k, m, spacing in ((0, 1, h[0]), (nodes - 1, nodes - 2, h[nodes - 2])):
            norm = max(norm, abs(update[k, PSI] - update[k, W] - update[m, PSI] + update[m, W]) / spacing)
            size += abs(u[k, PSI] - u[k, W] - u[m, PSI] + u[m, W]) / spacing
    return norm, size


@numba.njit(cache=True)
@no_type_check
def particle_current(k, a, u, n, lnf, h, z, mobility, s):
    """Current density [A/m^2] of carrier `a` along x through edge k."""
    q = z[a] * (u[k + 1, a] - u[k, a]) / s[UNIT] - (lnf[k + 1, a] - lnf[k, a])
    scale = -z[a] * ELEMENTARY_CHARGE * s[UNIT] * mobility[a] / h[k]
    return edge_flux(scale, q, n[k, a], n[k + 1, a])[0]


@numba.njit(cache=True)
@no_type_check
def currents_inside(u, n, u_old, dt, h, volume, z, band, level, mobility, emission, s, lnf, j):
    """Fill j [N - 1, 4] in A/m^2, positive to the left as terminal currents are: carriers, displacement."""
    for k in range(h.size):
        for a in range(3):
            there = a < 2 or s[VACANCIES] != 0.0
            j[k, a] = -particle_current(k, a, u, n, lnf, h, z, mobility, s) if there else 0.0
        lift = (u[k + 1, PSI] - u[k, PSI]) - (u_old[k + 1, PSI] - u_old[k, PSI])
        j[k, 3] = s[EPS] * lift / (h[k] * dt)


@numba.njit(cache=True)
@no_type_check
def terminal_current(u, n, u_old, n_old, dt, h, volume, z, band, level, mobility, emission, s, lnf):
    """Particle current and total current density [A/m^2] into the right contact.

    Test function T = x/L. The particle current through the contact follows from all fluxes and
    storages. The total current is the same through every edge: the mean of fluxes and displacement,
    whose displacement part telescopes to eps/L d(psi_R - psi_L)/dt.
    """
    nodes = u.shape[0]
    length = 0.0
    for k in range(nodes - 1):
        length += h[k]
    flux = storage = 0.0
    for a in range(3):
        if a == 2 and s[VACANCIES] == 0.0:
            continue
        x = 0.0
        for k in range(nodes):
            storage += volume[k] * (x / length) * z[a] * ELEMENTARY_CHARGE * (n[k, a] - n_old[k, a]) / dt
            if k < nodes - 1:
                flux -= particle_current(k, a, u, n, lnf, h, z, mobility, s) * h[k] / length
                x += h[k]
    last = nodes - 1
    change = (u[last, PSI] - u[0, PSI]) - (u_old[last, PSI] - u_old[0, PSI])
    return flux + storage, flux + s[EPS] * change / (length * dt)
