"""One Newton step of a device: fluxes, their derivatives, and a fused block-tridiagonal elimination.

Columns of carriers are relative changes y = dn/n, so that densities from 1e-60 to 1e27 m^-3 share
one scale; rows are particle balances. Densities as unknowns make Newton's method converge in three to four
steps where potentials need six: storage and, at fixed psi, fluxes are linear in them.
Equations: docs/physics.md.
"""

import math
from typing import no_type_check

from memflux.constants import ELEMENTARY_CHARGE
from memflux.solvers import lanes as at
from memflux.solvers.compiled import inlined, kernel
from memflux.solvers.fermi import excess_half, fermi_dirac_half
from memflux.solvers.flux import bernoulli

UNIT, EPS, DOPING, IMAGE, FOLLOWS, LENGTH = at.UNIT, at.EPS, at.DOPING, at.IMAGE, at.FOLLOWS, at.LENGTH
BAND_N, BAND_P, BAND_X, CHARGE_X, MOBILITY_N = at.BAND_N, at.BAND_P, at.BAND_X, at.CHARGE_X, at.MOBILITY_N
BARRIER_L, BARRIER_R, EMISSION_N, EMISSION_P = at.BARRIER_L, at.BARRIER_R, at.EMISSION_N, at.EMISSION_P
DT, W_L, W_R, N0_LN = at.DT, at.W_L, at.W_R, at.N0_LN
FEW = 1e-3  # occupation below which five terms of the logarithm's series are exact
OUTWARD = 0.02  # V, scale of the signed lowering where the contact field points outwards
Q = ELEMENTARY_CHARGE


@kernel
@no_type_check
def chemistry(batch, lanes, i, j):
    """Excess chemical potentials of every node at the current densities."""
    s, u = batch.scalars, lanes.u
    per_n, per_p, per_x = 1.0 / s[BAND_N, i], 1.0 / s[BAND_P, i], 1.0 / s[BAND_X, i]
    for k in range(u.shape[0]):
        lanes.excess[k, 0, j], lanes.slope[k, 0, j] = excess_half(u[k, 0, j] * per_n)
        lanes.excess[k, 1, j], lanes.slope[k, 1, j] = excess_half(u[k, 1, j] * per_p)
        c = u[k, 2, j] * per_x
        if c < FEW:
            lanes.excess[k, 2, j] = c * (1.0 + c * (1.0 / 2.0 + c * (1.0 / 3.0 + c * (1.0 / 4.0 + c * (1.0 / 5.0)))))
        else:
            lanes.excess[k, 2, j] = -math.log1p(-c)
        lanes.slope[k, 2, j] = c / (1.0 - c)


@kernel
@no_type_check
def fluxes(batch, lanes, i, j):
    """Particle fluxes [m^-2 s^-1] of every edge with their derivatives.

    Vacancies: the mean over the step, weight * new + (1 - weight) * mean of the last step.
    """
    s, u, edge = batch.scalars, lanes.u, lanes.edge
    per_unit = 1.0 / s[UNIT, i]
    for k in range(u.shape[0] - 1):
        step = (u[k + 1, 3, j] - u[k, 3, j]) * per_unit
        unit_per_h = s[UNIT, i] / batch.h[k, i]
        for a in range(3):
            z = -1.0 if a == 0 else (1.0 if a == 1 else s[CHARGE_X, i])
            g = unit_per_h * s[MOBILITY_N + a, i]
            if a == 2:
                g *= lanes.weight[k, j]
            q = z * step + lanes.excess[k + 1, a, j] - lanes.excess[k, a, j]
            b, slope = bernoulli(abs(q))  # B(-q) = B(q) + q would cancel for q < 0
            forward = b + abs(q)
            if q < 0.0:
                b, forward, slope = forward, b, -1.0 - slope
            there, back = g * b * u[k, a, j], g * forward * u[k + 1, a, j]
            by_q = g * (slope * (u[k, a, j] - u[k + 1, a, j]) - u[k + 1, a, j])
            f = there - back
            by_k = there - by_q * lanes.slope[k, a, j]
            by_l = -back + by_q * lanes.slope[k + 1, a, j]
            if a == 2:
                f += (1.0 - lanes.weight[k, j]) * lanes.flux[k, j]
            edge[k, 0, a, j] = f
            edge[k, 1, a, j] = by_k
            edge[k, 2, a, j] = by_l
            edge[k, 3, a, j] = by_q * z * per_unit


@inlined
@no_type_check
def node_rows(batch, lanes, i, j, k):
    """Rows of node k: residual, diagonal block, coupling to the node before and to the node after.

    Order of the values: residual n, p, x, psi; diagonal nn, pp, xx, n-psi, p-psi, x-psi, psi-n,
    psi-p, psi-x, psi-psi; before and after nn, pp, xx, n-psi, p-psi, x-psi, psi-psi; border.
    psi of the right contact is its lowering and its voltage. Columns "after" of the last two nodes
    are derivatives by the voltage; times `switch_on` those of the last but one are derivatives by the lowering.
    """
    s, u, old, edge, real = batch.scalars, lanes.u, lanes.old, lanes.edge, lanes.real
    last = u.shape[0] - 1
    store = batch.volume[k, i] / real[DT, j]
    n, p, x, psi = u[k, 0, j], u[k, 1, j], u[k, 2, j], u[k, 3, j]
    r0, r1, r2 = store * (n - old[k, 0, j]), store * (p - old[k, 1, j]), store * (x - old[k, 2, j])
    d00, d11, d22, d03, d13, d23 = store * n, store * p, store * x, 0.0, 0.0, 0.0
    b00 = b11 = b22 = b03 = b13 = b23 = b33 = 0.0
    a00 = a11 = a22 = a03 = a13 = a23 = a33 = 0.0
    v = batch.volume[k, i]
    r3 = -v * (s[DOPING, i] - n + p + s[CHARGE_X, i] * x)
    d30, d31, d32, d33 = v * n, -v * p, -v * s[CHARGE_X, i] * x, 0.0
    if k > 0:
        e = k - 1
        r0 -= edge[e, 0, 0, j]
        r1 -= edge[e, 0, 1, j]
        r2 -= edge[e, 0, 2, j]
        d00 -= edge[e, 2, 0, j]
        d11 -= edge[e, 2, 1, j]
        d22 -= edge[e, 2, 2, j]
        d03 -= edge[e, 3, 0, j]
        d13 -= edge[e, 3, 1, j]
        d23 -= edge[e, 3, 2, j]
        on = 1.0 if e > 0 or real[W_L, j] > 0.0 else 0.0
        b00, b11, b22 = -edge[e, 1, 0, j], -edge[e, 1, 1, j], -edge[e, 1, 2, j]
        b03, b13, b23 = on * edge[e, 3, 0, j], on * edge[e, 3, 1, j], on * edge[e, 3, 2, j]
        stiff = s[EPS, i] / (Q * batch.h[e, i])
        r3 += stiff * (psi - u[e, 3, j])
        d33 += stiff
        b33 = -on * stiff
    if k < last:
        r0 += edge[k, 0, 0, j]
        r1 += edge[k, 0, 1, j]
        r2 += edge[k, 0, 2, j]
        d00 += edge[k, 1, 0, j]
        d11 += edge[k, 1, 1, j]
        d22 += edge[k, 1, 2, j]
        d03 -= edge[k, 3, 0, j]
        d13 -= edge[k, 3, 1, j]
        d23 -= edge[k, 3, 2, j]
        a00, a11, a22 = edge[k, 2, 0, j], edge[k, 2, 1, j], edge[k, 2, 2, j]
        a03, a13, a23 = edge[k, 3, 0, j], edge[k, 3, 1, j], edge[k, 3, 2, j]
        stiff = s[EPS, i] / (Q * batch.h[k, i])
        r3 += stiff * (psi - u[k + 1, 3, j])
        d33 += stiff
        a33 = -stiff
    border = 0.0
    if k == 0 or k == last:
        side = 0 if k == 0 else 1
        on = 1.0 if real[W_L + side, j] > 0.0 else 0.0
        n0, p0, n0_w, p0_w = contact_densities(batch, lanes, i, j, side)
        r0 += s[EMISSION_N, i] * (n - n0)
        r1 += s[EMISSION_P, i] * (p - p0)
        d00 += s[EMISSION_N, i] * n
        d11 += s[EMISSION_P, i] * p
        if k == last:
            a03, a13, a23, a33 = d03, d13, d23, d33
        d03 = on * (d03 - s[EMISSION_N, i] * n0_w)
        d13 = on * (d13 - s[EMISSION_P, i] * p0_w)
        d23 *= on
        scale, r3, border, own = contact_row(batch, lanes, i, j, side, r3)
        d30, d31, d32, d33 = scale * d30, scale * d31, scale * d32, scale * on * d33 + own
        b33, a33 = scale * b33, scale * a33
    return (
        r0, r1, r2, r3, d00, d11, d22, d03, d13, d23, d30, d31, d32, d33,
        b00, b11, b22, b03, b13, b23, b33, a00, a11, a22, a03, a13, a23, a33, border,
    )  # fmt: skip


@inlined
@no_type_check
def contact_densities(batch, lanes, i, j, side):
    """Densities n0, p0 that a contact relaxes to, and their derivatives by the lowering."""
    s, real = batch.scalars, lanes.real
    if s[FOLLOWS, i] == 0.0:
        return real[N0_LN + 2 * side, j], real[N0_LN + 2 * side + 1, j], 0.0, 0.0
    unit = s[UNIT, i]
    lowered = s[BARRIER_L + side, i] - max(real[W_L + side, j], 0.0)
    f, _, rise = fermi_dirac_half(-lowered / unit)
    g, _, fall = fermi_dirac_half((lowered + s[at.LEVEL_P, i]) / unit)
    n0, p0 = s[BAND_N, i] * f, s[BAND_P, i] * g
    return n0, p0, n0 * rise / unit, -p0 * fall / unit


@inlined
@no_type_check
def contact_row(batch, lanes, i, j, side, balance):
    """The lowering at a contact: w^2 + q g/(4 pi eps_i) = 0 for w > 0, linear in w below.

    The positive part of w is the lowering, its negative part measures a field that points outwards:
    the published square root without its infinite slope. `balance` is Poisson's residual on
    the contact's half cell: Gauss's law makes it eps g/q up to the slope of w, which gives the
    contact field g second order. Returns (factor of the balance, residual, border, own derivative).
    """
    s, real = batch.scalars, lanes.real
    w = real[W_L + side, j]
    switched = real[at.SWITCHED, j]
    if switched == 0.0:
        return 0.0, w, 0.0, 1.0
    scale = switched * switched * s[IMAGE, i] * Q / s[EPS, i]
    border = scale * s[EPS, i] / Q * (1.0 if side == 0 else -1.0)
    tilt = (max(real[W_R, j], 0.0) - max(real[W_L, j], 0.0)) / s[LENGTH, i]
    own, rise = (w * w, 2.0 * w) if w > 0.0 else (OUTWARD * w, OUTWARD)
    return scale, scale * balance + border * tilt + own, border, rise


@inlined
@no_type_check
def switch_on(lanes, j, k):
    """Factor of derivatives by the unknown psi of node k: 0 at a contact whose lowering is off."""
    if k == 0:
        return 1.0 if lanes.real[W_L, j] > 0.0 else 0.0
    if k == lanes.u.shape[0] - 1:
        return 1.0 if lanes.real[W_R, j] > 0.0 else 0.0
    return 1.0


@kernel
@no_type_check
def pin_contacts(batch, lanes, i, j):
    """Contact potentials from the applied voltage, the barriers and their lowering."""
    u, real, s = lanes.u, lanes.real, batch.scalars
    u[0, 3, j] = max(real[W_L, j], 0.0) - s[BARRIER_L, i]
    u[u.shape[0] - 1, 3, j] = max(real[W_R, j], 0.0) - s[BARRIER_R, i] + real[at.APPLIED, j]


@kernel
@no_type_check
def eliminate(batch, lanes, i, j):
    """Newton update of all unknowns by one sweep there and one back, rows formed as they are met.

    No pivoting: carrier columns are diagonally dominant (positive schemes), and psi comes last.
    The slope of w couples both contacts; it is a border of one column, one more right-hand side.
    So is the voltage of the right contact, which takes the place of a node after the last.
    """
    X = lanes.upper
    last = lanes.u.shape[0] - 1
    for k in range(last + 1):
        (
            r0, r1, r2, r3, d00, d11, d22, d03, d13, d23, d30, d31, d32, d33,
            b00, b11, b22, b03, b13, b23, b33, a00, a11, a22, a03, a13, a23, a33, c3,
        ) = node_rows(batch, lanes, i, j, k)  # fmt: skip
        c0 = c1 = c2 = d01 = d02 = d10 = d12 = d20 = d21 = 0.0
        if k > 0:
            m = k - 1
            x0, x1, x2 = X[m, 3, 0, j], X[m, 3, 1, j], X[m, 3, 2, j]
            x3, x4, x5 = X[m, 3, 3, j], X[m, 3, 4, j], X[m, 3, 5, j]
            by_psi0, by_psi1 = b00 * X[m, 0, 3, j] + b03 * x3, b11 * X[m, 1, 3, j] + b13 * x3
            by_psi2, by_psi3 = b22 * X[m, 2, 3, j] + b23 * x3, b33 * x3
            if k == last:
                a03, a13, a23, a33 = a03 - by_psi0, a13 - by_psi1, a23 - by_psi2, a33 - by_psi3
            on = switch_on(lanes, j, k)
            d00 -= b00 * X[m, 0, 0, j] + b03 * x0
            d01 = -b00 * X[m, 0, 1, j] - b03 * x1
            d02 = -b00 * X[m, 0, 2, j] - b03 * x2
            d03 -= on * by_psi0
            c0 = -b00 * X[m, 0, 4, j] - b03 * x4
            r0 -= b00 * X[m, 0, 5, j] + b03 * x5
            d10 = -b11 * X[m, 1, 0, j] - b13 * x0
            d11 -= b11 * X[m, 1, 1, j] + b13 * x1
            d12 = -b11 * X[m, 1, 2, j] - b13 * x2
            d13 -= on * by_psi1
            c1 = -b11 * X[m, 1, 4, j] - b13 * x4
            r1 -= b11 * X[m, 1, 5, j] + b13 * x5
            d20 = -b22 * X[m, 2, 0, j] - b23 * x0
            d21 = -b22 * X[m, 2, 1, j] - b23 * x1
            d22 -= b22 * X[m, 2, 2, j] + b23 * x2
            d23 -= on * by_psi2
            c2 = -b22 * X[m, 2, 4, j] - b23 * x4
            r2 -= b22 * X[m, 2, 5, j] + b23 * x5
            d30 -= b33 * x0
            d31 -= b33 * x1
            d32 -= b33 * x2
            d33 -= on * by_psi3
            c3 -= b33 * x4
            r3 -= b33 * x5
        # Gauss: columns n, p, x in turn; e.g. g20 is the coupling of row x to n of the next node
        i0 = 1.0 / d00
        f = d10 * i0
        d11, d12, d13, c1, r1 = d11 - f * d01, d12 - f * d02, d13 - f * d03, c1 - f * c0, r1 - f * r0
        g10, g13 = -f * a00, a13 - f * a03
        f = d20 * i0
        d21, d22, d23, c2, r2 = d21 - f * d01, d22 - f * d02, d23 - f * d03, c2 - f * c0, r2 - f * r0
        g20, g23 = -f * a00, a23 - f * a03
        f = d30 * i0
        d31, d32, d33, c3, r3 = d31 - f * d01, d32 - f * d02, d33 - f * d03, c3 - f * c0, r3 - f * r0
        g30, g33 = -f * a00, a33 - f * a03
        i1 = 1.0 / d11
        f = d21 * i1
        d22, d23, c2, r2 = d22 - f * d12, d23 - f * d13, c2 - f * c1, r2 - f * r1
        g20, g21, g23 = g20 - f * g10, -f * a11, g23 - f * g13
        f = d31 * i1
        d32, d33, c3, r3 = d32 - f * d12, d33 - f * d13, c3 - f * c1, r3 - f * r1
        g30, g31, g33 = g30 - f * g10, -f * a11, g33 - f * g13
        i2 = 1.0 / d22
        f = d32 * i2
        d33, c3, r3 = d33 - f * d23, c3 - f * c2, r3 - f * r2
        g30, g31, g32, g33 = g30 - f * g20, g31 - f * g21, -f * a22, g33 - f * g23
        i3 = 1.0 / d33
        y0, y1, y2, y3, y4, y5 = g30 * i3, g31 * i3, g32 * i3, g33 * i3, c3 * i3, r3 * i3
        x0, x1, x2 = (g20 - d23 * y0) * i2, (g21 - d23 * y1) * i2, (a22 - d23 * y2) * i2
        x3, x4, x5 = (g23 - d23 * y3) * i2, (c2 - d23 * y4) * i2, (r2 - d23 * y5) * i2
        p0, p1 = (g10 - d12 * x0 - d13 * y0) * i1, (a11 - d12 * x1 - d13 * y1) * i1
        p2, p3 = (-d12 * x2 - d13 * y2) * i1, (g13 - d12 * x3 - d13 * y3) * i1
        p4, p5 = (c1 - d12 * x4 - d13 * y4) * i1, (r1 - d12 * x5 - d13 * y5) * i1
        X[k, 0, 0, j] = (a00 - d01 * p0 - d02 * x0 - d03 * y0) * i0
        X[k, 0, 1, j] = (-d01 * p1 - d02 * x1 - d03 * y1) * i0
        X[k, 0, 2, j] = (-d01 * p2 - d02 * x2 - d03 * y2) * i0
        X[k, 0, 3, j] = (a03 - d01 * p3 - d02 * x3 - d03 * y3) * i0
        X[k, 0, 4, j] = (c0 - d01 * p4 - d02 * x4 - d03 * y4) * i0
        X[k, 0, 5, j] = (r0 - d01 * p5 - d02 * x5 - d03 * y5) * i0
        X[k, 1, 0, j], X[k, 1, 1, j], X[k, 1, 2, j] = p0, p1, p2
        X[k, 1, 3, j], X[k, 1, 4, j], X[k, 1, 5, j] = p3, p4, p5
        X[k, 2, 0, j], X[k, 2, 1, j], X[k, 2, 2, j] = x0, x1, x2
        X[k, 2, 3, j], X[k, 2, 4, j], X[k, 2, 5, j] = x3, x4, x5
        X[k, 3, 0, j], X[k, 3, 1, j], X[k, 3, 2, j] = y0, y1, y2
        X[k, 3, 3, j], X[k, 3, 4, j], X[k, 3, 5, j] = y3, y4, y5
    _back_substitute(lanes, j)
    if batch.scalars[at.DRIVEN, i] != at.BY_CONTACT:
        _respond(lanes, j)
    close_border(batch, lanes, i, j)


@kernel
@no_type_check
def assemble(batch, lanes, i, j, blocks, right):
    """The same system for a general solver: blocks [3N - 2, 4, 4] in row order and right-hand sides [2 or 3, N, 4].

    They are the residual, the border, and the voltage of the right contact. Rows are divided by their largest entry,
    because general solvers pivot, and magnitudes of rows span tens of decades.
    """
    last = lanes.u.shape[0] - 1
    blocks[:] = 0.0
    for k in range(last + 1):
        (
            r0, r1, r2, r3, d00, d11, d22, d03, d13, d23, d30, d31, d32, d33,
            b00, b11, b22, b03, b13, b23, b33, a00, a11, a22, a03, a13, a23, a33, c3,
        ) = node_rows(batch, lanes, i, j, k)  # fmt: skip
        right[0, k, 0], right[0, k, 1], right[0, k, 2], right[0, k, 3] = r0, r1, r2, r3
        right[1, k, 0] = right[1, k, 1] = right[1, k, 2] = 0.0
        right[1, k, 3] = c3
        if right.shape[0] > 2:
            right[2, k, 0], right[2, k, 1], right[2, k, 2], right[2, k, 3] = a03, a13, a23, a33
            if k < last - 1:
                right[2, k, :] = 0.0
        d = blocks[3 * k]
        d[0, 0], d[1, 1], d[2, 2], d[3, 3] = d00, d11, d22, d33
        d[0, 3], d[1, 3], d[2, 3], d[3, 0], d[3, 1], d[3, 2] = d03, d13, d23, d30, d31, d32
        if k > 0:
            b = blocks[3 * k - 1]
            b[0, 0], b[1, 1], b[2, 2], b[3, 3], b[0, 3], b[1, 3], b[2, 3] = b00, b11, b22, b33, b03, b13, b23
        if k < last:
            a = blocks[3 * k + 1]
            on = switch_on(lanes, j, k + 1)
            a[0, 0], a[1, 1], a[2, 2], a[3, 3], a[0, 3], a[1, 3], a[2, 3] = (
                a00, a11, a22, on * a33, on * a03, on * a13, on * a23,
            )  # fmt: skip
        first, stop = 3 * k - (1 if k > 0 else 0), 3 * k + (2 if k < last else 1)
        for row in range(4):
            largest = 0.0
            for m in range(first, stop):
                for column in range(4):
                    largest = max(largest, abs(blocks[m, row, column]))
            for c in range(right.shape[0]):
                right[c, k, row] /= largest
            for m in range(first, stop):
                for column in range(4):
                    blocks[m, row, column] /= largest


@inlined
@no_type_check
def _less_next(own, X, k, a, j, y0, y1, y2, y3):
    """Row a of node k, eliminated: its own value less what the next node's values take from it."""
    return own - X[k, a, 0, j] * y0 - X[k, a, 1, j] * y1 - X[k, a, 2, j] * y2 - X[k, a, 3, j] * y3


@kernel
@no_type_check
def _back_substitute(lanes, j):
    X, y = lanes.upper, lanes.update
    last = y.shape[0] - 1
    for a in range(4):
        y[last, a, 0, j], y[last, a, 1, j] = X[last, a, 5, j], X[last, a, 4, j]
    for k in range(last - 1, -1, -1):
        on = switch_on(lanes, j, k + 1)
        for c in range(2):
            y0, y1, y2, y3 = y[k + 1, 0, c, j], y[k + 1, 1, c, j], y[k + 1, 2, c, j], on * y[k + 1, 3, c, j]
            for a in range(4):
                y[k, a, c, j] = _less_next(X[k, a, 5 - c, j], X, k, a, j, y0, y1, y2, y3)


@kernel
@no_type_check
def _respond(lanes, j):
    """The response to the voltage of the right contact, the third column of the update."""
    X, y = lanes.upper, lanes.update
    last = y.shape[0] - 1
    for a in range(4):
        y[last, a, 2, j] = X[last, a, 3, j]
    for k in range(last - 1, -1, -1):
        y0, y1, y2, y3 = y[k + 1, 0, 2, j], y[k + 1, 1, 2, j], y[k + 1, 2, 2, j], y[k + 1, 3, 2, j]
        if k == last - 1:
            y3 = switch_on(lanes, j, last) * y3 - 1.0
        for a in range(4):
            y[k, a, 2, j] = _less_next(0.0, X, k, a, j, y0, y1, y2, y3)


@inlined
@no_type_check
def border_shift(batch, lanes, i, j, c):
    """What column c of the update makes of the slope (D_R - D_L)/L of w."""
    y = lanes.update
    last = y.shape[0] - 1
    on_l, on_r = switch_on(lanes, j, 0), switch_on(lanes, j, last)
    plain = on_r * y[last, 3, c, j] - on_l * y[0, 3, c, j]
    response = on_r * y[last, 3, 1, j] - on_l * y[0, 3, 1, j]
    return plain / (batch.scalars[LENGTH, i] + response)


@kernel
@no_type_check
def close_border(batch, lanes, i, j):
    """The update of the slope of w, and with it that of all unknowns; the same for the response to the voltage."""
    y = lanes.update
    for c in range(0, 1 if batch.scalars[at.DRIVEN, i] == at.BY_CONTACT else 3, 2):
        shift = border_shift(batch, lanes, i, j, c)
        for k in range(y.shape[0]):
            for a in range(4):
                y[k, a, c, j] -= shift * y[k, a, 1, j]
