"""From level to level at second order: predictor, weights of BDF2, local error, and the current of a step.

Vacancies, the slow species, are stepped by BDF2 in flux form; carriers follow them at once.
"""

import math
from typing import no_type_check

from memflux.solvers import lanes as at
from memflux.solvers.compiled import inlined, kernel
from memflux.solvers.newton_step import CHARGE_X, DT, EPS, LENGTH, UNIT, W_L, Q

MEAN, ERROR = 3, 4  # columns of `Lanes.upper` between steps: the mean vacancy flux of the step, its error
LARGEST_CUT = 0.8  # share of a node's carriers, or of its free sites, that one change may take
FULLEST = 1.0 - 1e-13  # occupation of vacancy sites that rounding still tells from 1
MAX_BEND = 1.0  # share of the curvature that is believed where steps grow
MAX_GROWTH = 20.0  # of a density from level to level, in the predictor
LN_2, MOST = math.log(2.0), 2.0 * math.log(MAX_GROWTH)
BLEND = 0.4  # of the longest step: how far the number of parts of a level is from the next when all parts are equal
REST = 0.02  # of a span: less than this is taken along
SAFE_DRAIN = 0.5  # share of a node's vacancies that fluxes of the past may take away in a step


@kernel
@no_type_check
def predict(batch, lanes, i, j):
    """Extrapolate the last three levels: parabolas through potentials and through logarithms of densities."""
    u, old, before, earlier, real = lanes.u, lanes.old, lanes.before, lanes.earlier, lanes.real
    ahead = real[DT, j] / real[at.BEFORE_DT, j]
    past = real[at.EARLIER_DT, j] / real[at.BEFORE_DT, j]
    bend = min(ahead * (1.0 + ahead) / (1.0 + past), MAX_BEND) if past > 0.0 else 0.0
    even = abs(ahead - 1.0) < 1e-9 and abs(past - 1.0) < 1e-9
    sites = batch.scalars[at.BAND_X, i]
    for k in range(u.shape[0]):
        for a in range(3):
            n, b = old[k, a, j], before[k, a, j]
            ratio = n / b
            if even:  # the same without exponentials
                ratio = ratio * min(max(ratio * earlier[k, a, j] / b, 0.5), 2.0)
            else:
                rise = math.log(ratio)
                turn = bend * (rise - math.log(b / earlier[k, a, j]) / past) if bend > 0.0 else 0.0
                ratio = math.exp(min(max(ahead * rise + min(max(turn, -LN_2), LN_2), -MOST), MOST))
            new = max(n * min(max(ratio, 1.0 / MAX_GROWTH), MAX_GROWTH), at.FEWEST)
            u[k, a, j] = min(new, n + LARGEST_CUT * (sites - n), FULLEST * sites) if a == 2 else new
        turn = (old[k, 3, j] - before[k, 3, j]) - (before[k, 3, j] - earlier[k, 3, j]) / past if bend > 0.0 else 0.0
        u[k, 3, j] = old[k, 3, j] + ahead * (old[k, 3, j] - before[k, 3, j]) + bend * turn
    for w in range(2):
        was = real[at.OLD_W_L + w, j]
        real[W_L + w, j] = was + ahead * (was - real[at.BEFORE_W_L + w, j])
    if batch.scalars[at.DRIVEN, i] != at.BY_CONTACT:
        was = real[at.OLD_APPLIED, j]
        real[at.APPLIED, j] = was + ahead * (was - real[at.BEFORE_APPLIED, j])


@inlined
@no_type_check
def past_share(lanes, j):
    """b of `weigh`."""
    age, dt = lanes.real[at.AGE, j], lanes.real[DT, j]
    return 0.5 * dt / (dt + age) if age > 0.0 else 0.0


@kernel
@no_type_check
def weigh(batch, lanes, i, j):
    """Weights of BDF2, written for fluxes so that it conserves and can be kept positive edge by edge.

    n_new - n_old = -dt div[(1 - b) J_new + b J_past], J_past a mean of the past flux of mean age a, and
    b = dt/(2 dt + 2 a) makes it second order: with the mean of the last step, variable-step BDF2, stiffly stable.
    Where the past would drain a node, b is cut on the edges that drain it (b = 0: implicit Euler),
    because no linear method of order 2 keeps densities positive (Bolley, Crouzeix 1978).
    """
    real = lanes.real
    nodes = lanes.u.shape[0]
    dt = real[DT, j]
    b = past_share(lanes, j)
    for k in range(nodes - 1):
        lanes.weight[k, j] = 1.0 - b
    for k in range(nodes - 1):  # each sweep goes with the flow, so that what flows in is already cut
        f, behind = lanes.flux[k, j], lanes.flux[k - 1, j] if k > 0 else 0.0
        if f > 0.0:
            safe = SAFE_DRAIN * lanes.old[k, 2, j] * batch.volume[k, i] / dt
            safe = safe + (1.0 - lanes.weight[k - 1, j]) * behind if behind > 0.0 else 0.5 * safe
            lanes.weight[k, j] = 1.0 - min(b, safe / f)
    for k in range(nodes - 2, -1, -1):
        f, behind = -lanes.flux[k, j], -lanes.flux[k + 1, j] if k < nodes - 2 else 0.0
        if f > 0.0:
            safe = SAFE_DRAIN * lanes.old[k + 1, 2, j] * batch.volume[k + 1, i] / dt
            safe = safe + (1.0 - lanes.weight[k + 1, j]) * behind if behind > 0.0 else 0.5 * safe
            lanes.weight[k, j] = 1.0 - min(b, safe / f)


@inlined
@no_type_check
def _psi_shift(lanes, k, j, c, applied, taken):
    """Decrease of psi at node k by column c of the update and the decrease `applied` of the voltage.

    `taken`: share of the update that the iterate has taken already. Whether the lowering of a contact
    counts was decided before.
    """
    last = lanes.u.shape[0] - 1
    shift = lanes.update[k, 3, c, j]
    if k == 0:
        return shift if lanes.real[W_L, j] + taken * shift > 0.0 else 0.0
    if k == last:
        return applied + (shift if lanes.real[at.W_R, j] + taken * shift > 0.0 else 0.0)
    return shift


@inlined
@no_type_check
def _flux_shift(lanes, k, a, j, c, turn):
    """Decrease of the mean flux of species a through edge k, where psi_l - psi_k decreases by `turn`."""
    y, edge = lanes.update, lanes.edge
    return edge[k, 1, a, j] * y[k, a, c, j] + edge[k, 2, a, j] * y[k + 1, a, c, j] + edge[k, 3, a, j] * turn


@inlined
@no_type_check
def _charge(batch, i, a):
    return -1.0 if a == 0 else (1.0 if a == 1 else batch.scalars[CHARGE_X, i])


@kernel
@no_type_check
def linear_current(batch, lanes, i, j):
    """Total current density [A/m^2] at the solution of the linear system, before it is applied, and
    its derivative [S/m^2] by the voltage of the right contact."""
    s, u, old = batch.scalars, lanes.u, lanes.old
    last = u.shape[0] - 1
    through = by_voltage = 0.0
    shift, response = _psi_shift(lanes, 0, j, 0, 0.0, 0.0), _psi_shift(lanes, 0, j, 2, -1.0, 0.0)
    for k in range(last):
        turn, turned = -shift, -response
        shift, response = _psi_shift(lanes, k + 1, j, 0, 0.0, 0.0), _psi_shift(lanes, k + 1, j, 2, -1.0, 0.0)
        turn, turned = turn + shift, turned + response
        for a in range(3):
            z, f = _charge(batch, i, a), lanes.edge[k, 0, a, j] - _flux_shift(lanes, k, a, j, 0, turn)
            rise = -_flux_shift(lanes, k, a, j, 2, turned)
            if a == 2:
                f = (f - (1.0 - lanes.weight[k, j]) * lanes.flux[k, j]) / lanes.weight[k, j]
                rise /= lanes.weight[k, j]
            through += batch.h[k, i] * z * f
            by_voltage += batch.h[k, i] * z * rise
    lift = (u[last, 3, j] - u[0, 3, j]) - (old[last, 3, j] - old[0, 3, j])
    lift -= _psi_shift(lanes, last, j, 0, 0.0, 0.0) - _psi_shift(lanes, 0, j, 0, 0.0, 0.0)
    rise = _psi_shift(lanes, 0, j, 2, -1.0, 0.0) - _psi_shift(lanes, last, j, 2, -1.0, 0.0)
    per_dt = s[EPS, i] / lanes.real[DT, j]
    length = s[LENGTH, i]
    return (per_dt * lift - Q * through) / length, (per_dt * rise - Q * by_voltage) / length


@kernel
@no_type_check
def currents(batch, lanes, i, j):
    """Total and particle current density [A/m^2] into the right contact.

    Fluxes are those of the last linear system at its solution: with them every node balances
    to round-off. Total current: mean of fluxes and displacement over x (Ramo, Shockley), the same through every
    edge. Particle current: test function x/L. Leaves the fluxes at the new level in `Lanes.edge`.
    """
    s, u, old = batch.scalars, lanes.u, lanes.old
    last = u.shape[0] - 1
    length = s[LENGTH, i]
    through = stored = x = 0.0
    applied = lanes.real[at.APPLIED_SHIFT, j]
    shift = _psi_shift(lanes, 0, j, 0, applied, 1.0)
    dt = lanes.real[DT, j]
    for k in range(last + 1):
        charge = u[k, 1, j] - old[k, 1, j] - (u[k, 0, j] - old[k, 0, j])
        charge += s[CHARGE_X, i] * (u[k, 2, j] - old[k, 2, j])
        stored += batch.volume[k, i] * x * charge
        if k == last:
            continue
        x += batch.h[k, i]
        turn = -shift
        shift = _psi_shift(lanes, k + 1, j, 0, applied, 1.0)
        turn += shift
        for a in range(3):
            f = lanes.edge[k, 0, a, j] - _flux_shift(lanes, k, a, j, 0, turn)
            if a == 2:
                mean = f
                f = (f - (1.0 - lanes.weight[k, j]) * lanes.flux[k, j]) / lanes.weight[k, j]
                lanes.upper[k, 0, MEAN, j], lanes.upper[k, 0, ERROR, j] = mean, _flux_error(lanes, k, j, f)
            lanes.edge[k, 0, a, j] = f
            through += batch.h[k, i] * _charge(batch, i, a) * f
    lift = (u[last, 3, j] - u[0, 3, j]) - (old[last, 3, j] - old[0, 3, j])
    flux = -Q * through / length
    return flux + s[EPS, i] * lift / (length * dt), flux + Q * stored / (length * dt)


@inlined
@no_type_check
def _flux_error(lanes, k, j, f):
    """Leading error of the mean vacancy flux through edge k, whose value at the new level is f.

    c dt^2 J'' by the rates of change in this step and the past, with the c of `weigh`; where its weight
    was cut, and in the first step, what makes it first order as well.
    """
    real = lanes.real
    dt, age, b = real[DT, j], real[at.AGE, j], past_share(lanes, j)
    turn = f - lanes.instant[k, j]
    if age == 0.0:
        return 0.5 * turn
    bend = dt * (turn - dt * lanes.rate[k, j]) / (0.5 * dt + age)
    cut = (lanes.weight[k, j] - 1.0 + b) * (f - lanes.flux[k, j])
    return (1.0 / 3.0 - 0.5 * b + 0.5 * b * real[at.AGE_SQUARED, j] / (dt * dt)) * bend + cut


@kernel
@no_type_check
def keep_past(lanes, j):
    """The step is accepted: its vacancy flux becomes the past one, with its rate of change and its age.

    Of what was past before, a share stays if the step was a short one. Only then is a vanishing step
    as good as none; BDF2 itself would turn into the trapezoidal rule after it.
    """
    real = lanes.real
    dt, age = real[DT, j], real[at.AGE, j]
    kept = max(1.0 - _trust(lanes, j), 0.0) if age > 0.0 else 0.0
    for k in range(lanes.flux.shape[0]):
        mean, f = lanes.upper[k, 0, MEAN, j], lanes.edge[k, 0, 2, j]
        rate = (f - lanes.instant[k, j]) / dt
        lanes.rate[k, j] = rate + kept * (lanes.rate[k, j] - rate)
        lanes.flux[k, j] = mean + kept * (lanes.flux[k, j] - mean)
        lanes.instant[k, j] = f
    squared = real[at.AGE_SQUARED, j] + 2.0 * age * dt + dt * dt
    real[at.AGE, j] = (1.0 - kept) * 0.5 * dt + kept * (age + dt)
    real[at.AGE_SQUARED, j] = (1.0 - kept) * dt * dt / 3.0 + kept * squared


@inlined
@no_type_check
def _trust(lanes, j):
    """What a step counts for the next ones, 1 or more unless it is short only because a level was near.

    Steps of a device must not jump because its neighbour took one more: as a step shrinks to nothing,
    so does its word.
    """
    real = lanes.real
    return 2.0 * real[DT, j] / min(real[at.WISH, j], real[at.SPAN, j])


@kernel
@no_type_check
def local_error(batch, lanes, i, j):
    """Largest change of psi, in units of U_T, that the local error of the vacancy density brings about.

    The charge that the error of the flux misplaces acts on psi as far as electrons do not screen it:
    Poisson's equation, linearised, at fixed quasi-Fermi potentials.
    """
    s, u, X, real = batch.scalars, lanes.u, lanes.upper, lanes.real
    last = u.shape[0] - 1
    scale = Q * s[CHARGE_X, i] * real[DT, j]
    worst = 0.0
    X[0, 0, 0, j] = X[0, 0, 1, j] = 0.0
    for k in range(1, last):
        left, right = s[EPS, i] / batch.h[k - 1, i], s[EPS, i] / batch.h[k, i]
        screen = u[k, 0, j] / (1.0 + lanes.slope[k, 0, j]) + u[k, 1, j]
        d = left + right + batch.volume[k, i] * Q / s[UNIT, i] * screen - left * X[k - 1, 0, 0, j]
        rhs = -scale * (X[k, 0, ERROR, j] - X[k - 1, 0, ERROR, j])
        X[k, 0, 0, j] = right / d
        X[k, 0, 1, j] = (rhs + left * X[k - 1, 0, 1, j]) / d
    psi = 0.0
    for k in range(last - 1, 0, -1):
        psi = X[k, 0, 1, j] + X[k, 0, 0, j] * psi
        worst = max(worst, abs(psi))
    return worst / s[UNIT, i]


@inlined
@no_type_check
def longest_step(batch, lanes, i, j, error):
    """Longest step [s] that keeps the local error within its tolerance, by this step alone."""
    if error <= 0.0 or batch.control[at.ACCURACY] == math.inf:
        return math.inf
    return lanes.real[DT, j] * min(max(0.9 * (batch.control[at.ACCURACY] / error) ** (1.0 / 3.0), 0.2), 3.0)


@inlined
@no_type_check
def next_wish(lanes, j, found):
    """The same by all steps: slow to grow, or it would swing."""
    before = lanes.real[at.WISH, j]
    if before == math.inf:
        return found
    trust = min(_trust(lanes, j), 1.0 if found < before else 0.5)
    return found**trust * before ** (1.0 - trust)


@inlined
@no_type_check
def divide(span, longest):
    """The first of the steps [s] that `span` is divided into, none longer than `longest`: a continuous function.

    Equal parts, but where their number has just changed: there the last part is short, and grows.
    """
    if span <= longest:
        return span
    parts = math.ceil(span / longest)
    share = min((span / longest - (parts - 1.0)) / BLEND, 1.0)
    first = span * ((1.0 - share) / (parts - 1.0) + share / parts)
    return span if first > (1.0 - REST) * span else first
