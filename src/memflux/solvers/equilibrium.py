"""The state at rest: Poisson's equation with constant quasi-Fermi potentials, lowering included."""

import math
from typing import no_type_check

from memflux.solvers import lanes as at
from memflux.solvers.compiled import kernel
from memflux.solvers.fermi import fermi_dirac_half
from memflux.solvers.newton_step import EPS, LENGTH, UNIT, Q, border_shift, contact_row, pin_contacts, switch_on

W_L, W_R, N0_LN = at.W_L, at.W_R, at.N0_LN
TOLERANCE = 1e-11  # V
STEPS = 200
STAGE_STEPS = 40  # a stage that cycles is given up early


@kernel
@no_type_check
def find_equilibrium(batch, lanes, i, j):
    """Fill u, w and the contact densities of lane j; False where Newton's method does not converge.

    Without lowering first, from the charge-free solution; then the lowering, at once or in stages.
    """
    real, u, s = lanes.real, lanes.u, batch.scalars
    last = u.shape[0] - 1
    x = 0.0
    for k in range(last + 1):
        u[k, 3, j] = -s[at.BARRIER_L, i] + (s[at.BARRIER_L, i] - s[at.BARRIER_R, i]) * x / s[LENGTH, i]
        if k < last:
            x += batch.h[k, i]
    real[W_L, j] = real[W_R, j] = 0.0
    real[at.SWITCHED, j] = 0.0
    done = _newton(batch, lanes, i, j, STEPS)
    if done and s[at.LOWERING, i] > 0.0:
        for k in range(last + 1):
            lanes.old[k, 3, j] = u[k, 3, j]
        stages = 1
        while stages <= 64:
            for k in range(last + 1):
                u[k, 3, j] = lanes.old[k, 3, j]
            real[W_L, j] = real[W_R, j] = 0.0
            done = True
            for stage in range(stages):
                real[at.SWITCHED, j] = (stage + 1) / stages
                done = done and _newton(batch, lanes, i, j, STAGE_STEPS)
            if done:
                break
            stages *= 8
    real[at.SWITCHED, j] = s[at.LOWERING, i]
    for side in range(2):
        k = 0 if side == 0 else last
        real[N0_LN + 2 * side, j], real[N0_LN + 2 * side + 1, j] = u[k, 0, j], u[k, 1, j]
    return done


@kernel
@no_type_check
def _fill(batch, lanes, i, j):
    """Densities at psi with quasi-Fermi potentials of 0; d ln n/d psi goes into `slope`."""
    s, u = batch.scalars, lanes.u
    unit, z = s[UNIT, i], s[at.CHARGE_X, i]
    for k in range(u.shape[0]):
        psi = u[k, 3, j]
        f, _, rise = fermi_dirac_half(psi / unit)
        u[k, 0, j], lanes.slope[k, 0, j] = s[at.BAND_N, i] * f, rise / unit
        f, _, rise = fermi_dirac_half((s[at.LEVEL_P, i] - psi) / unit)
        u[k, 1, j], lanes.slope[k, 1, j] = s[at.BAND_P, i] * f, -rise / unit
        eta = z * (s[at.LEVEL_X, i] - psi) / unit
        e = math.exp(-abs(eta))
        u[k, 2, j] = s[at.BAND_X, i] * (1.0 if eta > 0.0 else e) / (1.0 + e) if z != 0.0 else at.FEWEST
        for a in range(3):
            u[k, a, j] = max(u[k, a, j], at.FEWEST)
        lanes.slope[k, 2, j] = -z / unit * (e if eta > 0.0 else 1.0) / (1.0 + e)


@kernel
@no_type_check
def _newton(batch, lanes, i, j, steps):
    before = math.inf
    for _ in range(steps):
        _fill(batch, lanes, i, j)
        norm = _step(batch, lanes, i, j)
        lanes.whole[at.NEWTON, j] += 1
        if not math.isfinite(norm):
            return False
        if norm * (norm / before if norm < before < math.inf else 1.0) < TOLERANCE:
            _fill(batch, lanes, i, j)
            return True
        before = norm
    return False


@kernel
@no_type_check
def _step(batch, lanes, i, j):
    """One Newton step for psi and w: a scalar tridiagonal system with the border of the slope of w.

    A change y is taken as U_T ln(1 + |y|/U_T): densities are exponentials of psi, and undamped steps cycle
    where vacancies fill their sites. Small changes are taken whole, so convergence stays quadratic.
    """
    s, u, X, y, real = batch.scalars, lanes.u, lanes.upper, lanes.update, lanes.real
    last = u.shape[0] - 1
    for k in range(last + 1):
        v = batch.volume[k, i]
        z = s[at.CHARGE_X, i]
        r = -v * (s[at.DOPING, i] - u[k, 0, j] + u[k, 1, j] + z * u[k, 2, j])
        d = v * (u[k, 0, j] * lanes.slope[k, 0, j] - u[k, 1, j] * lanes.slope[k, 1, j])
        d -= v * z * u[k, 2, j] * lanes.slope[k, 2, j]
        below = above = border = 0.0
        if k > 0:
            stiff = s[EPS, i] / (Q * batch.h[k - 1, i])
            r, d, below = r + stiff * (u[k, 3, j] - u[k - 1, 3, j]), d + stiff, -stiff
            below *= switch_on(lanes, j, k - 1)
        if k < last:
            stiff = s[EPS, i] / (Q * batch.h[k, i])
            r, d, above = r + stiff * (u[k, 3, j] - u[k + 1, 3, j]), d + stiff, -stiff
            above *= switch_on(lanes, j, k + 1)
        if k == 0 or k == last:
            side = 0 if k == 0 else 1
            scale, r, border, own = contact_row(batch, lanes, i, j, side, r)
            on = switch_on(lanes, j, k)
            d, below, above = scale * on * d + own, scale * below, scale * above
        if k > 0:
            d -= below * X[k - 1, 0, 0, j]
            border -= below * X[k - 1, 0, 1, j]
            r -= below * X[k - 1, 0, 2, j]
        X[k, 0, 0, j], X[k, 0, 1, j], X[k, 0, 2, j] = above / d, border / d, r / d
    for k in range(last, -1, -1):
        y[k, 3, 0, j], y[k, 3, 1, j] = X[k, 0, 2, j], X[k, 0, 1, j]
        if k < last:
            y[k, 3, 0, j] -= X[k, 0, 0, j] * y[k + 1, 3, 0, j]
            y[k, 3, 1, j] -= X[k, 0, 0, j] * y[k + 1, 3, 1, j]
    shift = border_shift(batch, lanes, i, j, 0)
    norm = 0.0
    unit = s[UNIT, i]
    for k in range(last + 1):
        change = y[k, 3, 0, j] - shift * y[k, 3, 1, j]
        if not math.isfinite(change):
            return math.inf
        norm = max(norm, abs(change))
        change = math.copysign(unit * math.log1p(abs(change) / unit), change)
        if k == 0:
            real[W_L, j] -= change
        elif k == last:
            real[W_R, j] -= change
        else:
            u[k, 3, j] -= change
    pin_contacts(batch, lanes, i, j)
    return norm
