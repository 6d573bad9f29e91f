"""One device through its drive as a state machine: everything but the linear solve.

`advance` takes the last Newton update, decides (iterate, accept, rescue, give up) and prepares the
next linear system; whoever calls it solves that system: the fused elimination on a CPU or a GPU, or
PETSc. One loop, whatever the level or the iteration, so that GPU threads never wait for each other.
"""

import math
from typing import no_type_check

from memflux.solvers import lanes as at
from memflux.solvers.compiled import kernel
from memflux.solvers.equilibrium import find_equilibrium
from memflux.solvers.newton_step import CHARGE_X, DOPING, EPS, LENGTH, UNIT, Q, chemistry, eliminate, fluxes

DT, W_L, W_R, TIME, VOLTAGE, GOAL_TIME, GOAL_VOLTAGE = (
    at.DT,
    at.W_L,
    at.W_R,
    at.TIME,
    at.VOLTAGE,
    at.GOAL_TIME,
    at.GOAL_VOLTAGE,
)
APPLIED, LAST, OLD_W_L, BEFORE_W_L, BEFORE_DT = at.APPLIED, at.LAST, at.OLD_W_L, at.BEFORE_W_L, at.BEFORE_DT
LARGEST, DAMP, ERROR, WISH = at.LARGEST, at.DAMP, at.ERROR, at.WISH
STATUS, LEVEL, ITERATION, RUNG, PART, PARTS = at.STATUS, at.LEVEL, at.ITERATION, at.RUNG, at.PART, at.PARTS
NEWTON, COUNTED, HALVINGS, REJECTED, WORST = at.NEWTON, at.COUNTED, at.HALVINGS, at.REJECTED, at.WORST

TOLERANCE = 1e-6  # V, expected size of the update after the last one
LARGEST_CUT = 0.8  # share of the carriers of a node that one Newton step may take away
FULLEST = 1.0 - 1e-13  # occupation of vacancy sites that rounding still tells from 1
STEPS = 12  # Newton steps of one solve
DAMPED_STEPS = 40  # the same where they are damped
FIRST_DAMP, DAMP_GROWTH = 0.2, 1.3
MAX_INCREASE = 1e3  # from one update to the next
IRRELEVANT = (1e-11, 1e-8, 1e-8)  # of the doping: densities n, p, x below this do not decide convergence
PREDICTED, PLAIN, LOWERED, DAMPED, RAMP, FINE_RAMP, HALVED = range(7)  # the ladder of rescues
LOWERED_BY = 0.03  # V, least lowering to start from where it may snap on: two states exist there
RAMP_FROM = 0.02  # V, changes below this are no reason to ramp
MAX_HALVINGS = 12
MAX_BEND = 1.0  # share of the curvature that is believed where steps grow
MAX_GROWTH = 20.0  # of a density from level to level, in the predictor
SAFE_DRAIN = 0.5  # share of a node's vacancies that fluxes of the past may take away in a step


@kernel
@no_type_check
def start(batch, lanes, i, j):
    """Put device i at rest into lane j and prepare its first step; False where it has no equilibrium."""
    for row in range(at.WHOLES):
        lanes.whole[row, j] = 0
    for row in range(at.REALS):
        lanes.real[row, j] = 0.0
    if not find_equilibrium(batch, lanes, i, j):
        lanes.whole[STATUS, j] = at.NO_EQUILIBRIUM
        return False
    lanes.real[TIME, j] = batch.time[0, i]
    lanes.real[VOLTAGE, j] = lanes.real[APPLIED, j] = batch.voltage[0, i]
    for k in range(lanes.flux.shape[0]):
        lanes.flux[k, j] = lanes.instant[k, j] = 0.0
    _keep(lanes, j)
    lanes.whole[COUNTED, j] = lanes.whole[NEWTON, j]
    _record(batch, lanes, i, j, 0.0, 0.0)
    lanes.whole[LEVEL, j] = 1
    lanes.real[LARGEST, j] = lanes.real[WISH, j] = math.inf
    return _begin(batch, lanes, i, j, PREDICTED, True)


@kernel
@no_type_check
def proceed(batch, lanes, i, j, steps, budget):
    """Up to `steps` linear solves by the fused elimination; True while there is more to do."""
    for _ in range(steps):
        eliminate(batch, lanes, i, j)
        if not advance(batch, lanes, i, j, budget):
            return False
    return True


@kernel
@no_type_check
def advance(batch, lanes, i, j, budget):
    """Apply the update of a linear solve; True if there is another system to solve."""
    real, whole = lanes.real, lanes.whole
    norm = _apply(batch, lanes, i, j)
    whole[NEWTON, j] += 1
    whole[ITERATION, j] += 1
    last = real[LAST, j]
    real[LAST, j] = norm
    if whole[NEWTON, j] > budget:
        whole[STATUS, j] = at.OUT_OF_BUDGET
        return False
    ratio = norm / last if norm < last < math.inf else 1.0
    if norm * ratio < TOLERANCE and real[DAMP, j] == 1.0:
        if whole[PART, j] < whole[PARTS, j]:
            _ramp(batch, lanes, i, j)
        else:
            return _accept(batch, lanes, i, j)
    elif (
        not math.isfinite(norm)
        or norm > MAX_INCREASE * last
        or whole[ITERATION, j] >= (DAMPED_STEPS if whole[RUNG, j] == DAMPED else STEPS)
    ):
        return _rescue(batch, lanes, i, j)
    real[DAMP, j] = min(1.0, real[DAMP, j] * DAMP_GROWTH)
    _prepare(batch, lanes, i, j)
    return True


@kernel
@no_type_check
def _prepare(batch, lanes, i, j):
    chemistry(batch, lanes, i, j)
    fluxes(batch, lanes, i, j)


@kernel
@no_type_check
def pin_contacts(batch, lanes, i, j):
    """Contact potentials from the applied voltage, the barriers and their lowering."""
    u, real, s = lanes.u, lanes.real, batch.scalars
    u[0, 3, j] = max(real[W_L, j], 0.0) - s[at.BARRIER_L, i]
    u[u.shape[0] - 1, 3, j] = max(real[W_R, j], 0.0) - s[at.BARRIER_R, i] + real[APPLIED, j]


@kernel
@no_type_check
def _apply(batch, lanes, i, j):
    """u <- u - damp * update, densities kept positive and vacancies below their sites; returns the norm [V]."""
    u, y, real, s = lanes.u, lanes.update, lanes.real, batch.scalars
    last = u.shape[0] - 1
    unit, damp, sites = s[UNIT, i], real[DAMP, j], s[at.BAND_X, i]
    norm = max(abs(y[0, 3, 0, j]), abs(y[last, 3, 0, j]))
    for k in range(last + 1):
        for a in range(3):
            n, x = u[k, a, j], y[k, a, 0, j]
            norm = max(norm, unit * abs(x) * n / (n + IRRELEVANT[a] * s[DOPING, i]))
            new = max(n * max(1.0 - damp * x, 1.0 - LARGEST_CUT), at.FEWEST)
            if a == 2:
                new = min(new, sites - (1.0 - LARGEST_CUT) * (sites - n), FULLEST * sites)
            if not math.isfinite(x):
                norm = math.inf
            u[k, a, j] = new
        if 0 < k < last:
            norm = max(norm, abs(y[k, 3, 0, j]))
            u[k, 3, j] -= damp * y[k, 3, 0, j]
            if not math.isfinite(y[k, 3, 0, j]):
                norm = math.inf
    real[W_L, j] -= damp * y[0, 3, 0, j]
    real[W_R, j] -= damp * y[last, 3, 0, j]
    pin_contacts(batch, lanes, i, j)
    return norm


@kernel
@no_type_check
def _begin(batch, lanes, i, j, rung, fresh):
    """Prepare the first Newton step towards the next level, or part of the way to it; False at the end."""
    real, whole = lanes.real, lanes.whole
    level = whole[LEVEL, j]
    if level >= batch.levels[i]:
        whole[STATUS, j] = at.SOLVED
        return False
    span = batch.time[level, i] - real[TIME, j]
    aside = batch.kind[level, i] == at.SIDE
    if fresh and real[VOLTAGE, j] * batch.voltage[level, i] <= 0.0:
        real[WISH, j] = min(real[WISH, j], span / batch.control[at.CROSSING])
    dt = span if aside else min(span / max(math.ceil(span / real[WISH, j] - 1e-6), 1.0), real[LARGEST, j])
    real[DT, j] = dt
    real[GOAL_TIME, j] = batch.time[level, i] if dt == span else real[TIME, j] + dt
    rise = batch.voltage[level, i] - real[VOLTAGE, j]
    real[GOAL_VOLTAGE, j] = batch.voltage[level, i] if dt == span else real[VOLTAGE, j] + rise * dt / span
    whole[PARTS, j] = whole[PART, j] = 1
    whole[ITERATION, j] = 0
    whole[RUNG, j] = rung
    real[LAST, j] = math.inf
    real[DAMP, j] = FIRST_DAMP if rung == DAMPED else 1.0
    real[APPLIED, j] = real[GOAL_VOLTAGE, j]
    if rung in (RAMP, FINE_RAMP):
        whole[PARTS, j] = 8 if rung == RAMP else 64
        whole[PART, j] = 0
    _weigh(batch, lanes, i, j)
    if rung == PREDICTED and real[BEFORE_DT, j] > 0.0:
        _predict(batch, lanes, i, j)
    else:
        for k in range(lanes.u.shape[0]):
            for a in range(4):
                lanes.u[k, a, j] = lanes.old[k, a, j]
        least = LOWERED_BY if rung == LOWERED else -math.inf
        real[W_L, j], real[W_R, j] = max(real[OLD_W_L, j], least), max(real[OLD_W_L + 1, j], least)
    pin_contacts(batch, lanes, i, j)
    if whole[PART, j] == 0:
        _ramp(batch, lanes, i, j)
    _prepare(batch, lanes, i, j)
    return True


@kernel
@no_type_check
def _ramp(batch, lanes, i, j):
    """The next part of a voltage that is raised in parts."""
    real, whole = lanes.real, lanes.whole
    whole[PART, j] += 1
    share = whole[PART, j] / whole[PARTS, j]
    real[APPLIED, j] = real[VOLTAGE, j] + share * (real[GOAL_VOLTAGE, j] - real[VOLTAGE, j])
    whole[ITERATION, j] = 0
    real[LAST, j] = math.inf
    pin_contacts(batch, lanes, i, j)


@kernel
@no_type_check
def _predict(batch, lanes, i, j):
    """Extrapolate the last three levels: parabolas through potentials and through logarithms of densities."""
    u, old, before, earlier, real = lanes.u, lanes.old, lanes.before, lanes.earlier, lanes.real
    ahead = real[DT, j] / real[BEFORE_DT, j]
    past = real[at.EARLIER_DT, j] / real[BEFORE_DT, j]
    bend = min(ahead * (1.0 + ahead) / (1.0 + past), MAX_BEND) if past > 0.0 else 0.0
    even = abs(ahead - 1.0) < 1e-9 and abs(past - 1.0) < 1e-9
    sites = batch.scalars[at.BAND_X, i]
    for k in range(u.shape[0]):
        for a in range(3):
            n, b = old[k, a, j], before[k, a, j]
            ratio = n / b
            if even:
                ratio = ratio * min(max(ratio * earlier[k, a, j] / b, 0.5), 2.0)
            else:
                ratio = ratio**ahead
                if bend > 0.0:
                    ratio = ratio * min(max((n / b * (earlier[k, a, j] / b) ** (1.0 / past)) ** bend, 0.5), 2.0)
            new = max(n * min(max(ratio, 1.0 / MAX_GROWTH), MAX_GROWTH), at.FEWEST)
            u[k, a, j] = min(new, n + LARGEST_CUT * (sites - n), FULLEST * sites) if a == 2 else new
        turn = (old[k, 3, j] - before[k, 3, j]) - (before[k, 3, j] - earlier[k, 3, j]) / past if bend > 0.0 else 0.0
        u[k, 3, j] = old[k, 3, j] + ahead * (old[k, 3, j] - before[k, 3, j]) + bend * turn
    for w in range(2):
        was = real[OLD_W_L + w, j]
        real[W_L + w, j] = was + ahead * (was - real[BEFORE_W_L + w, j])


@kernel
@no_type_check
def _weigh(batch, lanes, i, j):
    """Weights of BDF2, written for fluxes so that it conserves and can be kept positive edge by edge.

    n_new - n_old = -dt div[(1 - b) J_new + b J_mean], J_mean the mean flux of the last step and
    b = r/(1 + 2r), r the ratio of the steps: variable-step BDF2, stiffly stable and of order 2. Where
    the past would drain a node, b is cut on the edges that drain it (b = 0: implicit Euler),
    because no linear method of order 2 keeps densities positive (Bolley, Crouzeix 1978).
    """
    real = lanes.real
    nodes = lanes.u.shape[0]
    dt, before = real[DT, j], real[BEFORE_DT, j]
    ratio = dt / before if before > 0.0 else 0.0
    b = ratio / (1.0 + 2.0 * ratio)
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


@kernel
@no_type_check
def _accept(batch, lanes, i, j):
    """Take the converged step; record, and begin the next one. False at the end of the drive."""
    real, whole = lanes.real, lanes.whole
    level = whole[LEVEL, j]
    arrived = real[GOAL_TIME, j] == batch.time[level, i]
    aside = arrived and batch.kind[level, i] == at.SIDE
    total, conduction = _currents(batch, lanes, i, j, aside)
    if not aside:
        error = _local_error(batch, lanes, i, j)
        real[ERROR, j] = error
        real[WISH, j] = (
            real[DT, j] * min(max(0.9 * (batch.control[at.ACCURACY] / error) ** (1.0 / 3.0), 0.2), 3.0)
            if error > 0.0 and batch.control[at.ACCURACY] < math.inf
            else math.inf
        )
    whole[WORST, j] = max(whole[WORST, j], whole[RUNG, j])
    if arrived:
        _record(batch, lanes, i, j, total, conduction)
        whole[LEVEL, j] += 1
    if not aside:
        real[at.EARLIER_DT, j] = real[BEFORE_DT, j]
        real[BEFORE_DT, j] = real[DT, j]
        real[TIME, j], real[VOLTAGE, j] = real[GOAL_TIME, j], real[GOAL_VOLTAGE, j]
        _keep(lanes, j)
    if arrived:
        whole[WORST, j] = 0
        whole[HALVINGS, j] = 0
        real[LARGEST, j] = math.inf
    else:
        real[LARGEST, j] *= 2.0
        whole[HALVINGS, j] -= 1
    return _begin(batch, lanes, i, j, PREDICTED, arrived)


@kernel
@no_type_check
def _keep(lanes, j):
    """The iterate becomes the accepted state, and that the one before."""
    real = lanes.real
    for k in range(lanes.u.shape[0]):
        for a in range(4):
            lanes.earlier[k, a, j] = lanes.before[k, a, j]
            lanes.before[k, a, j] = lanes.old[k, a, j]
            lanes.old[k, a, j] = lanes.u[k, a, j]
    for w in range(2):
        real[BEFORE_W_L + w, j] = real[OLD_W_L + w, j]
        real[OLD_W_L + w, j] = real[W_L + w, j]


@kernel
@no_type_check
def _rescue(batch, lanes, i, j):
    """The next rung of the ladder, or half the step, or the end."""
    real, whole = lanes.real, lanes.whole
    whole[REJECTED, j] += 1
    rung = whole[RUNG, j] + 1
    if rung == LOWERED and (real[at.SWITCHED, j] == 0.0 or min(real[OLD_W_L, j], real[OLD_W_L + 1, j]) > LOWERED_BY):
        rung = DAMPED
    if rung in (RAMP, FINE_RAMP) and abs(real[GOAL_VOLTAGE, j] - real[VOLTAGE, j]) < RAMP_FROM:
        rung = HALVED
    level = whole[LEVEL, j]
    if rung == HALVED and batch.kind[level, i] == at.SIDE:
        whole[LEVEL, j] += 1  # a look inside that fails is not worth more: its profile stays empty
        return _begin(batch, lanes, i, j, PREDICTED, True)
    if rung == HALVED:
        whole[WORST, j] = HALVED
        if whole[HALVINGS, j] >= MAX_HALVINGS:
            whole[STATUS, j] = at.STEP_UNDERFLOW
            return False
        whole[HALVINGS, j] += 1
        real[LARGEST, j] = 0.5 * real[DT, j]
        rung = PLAIN
    return _begin(batch, lanes, i, j, rung, False)


@kernel
@no_type_check
def _currents(batch, lanes, i, j, aside):
    """Total and particle current density [A/m^2] into the right contact; keeps the mean vacancy flux.

    Fluxes are those of the last linear system at its solution: with them every node balances
    to round-off. Total current: mean of fluxes and displacement over x (Ramo, Shockley), the same through every
    edge. Particle current: test function x/L.
    """
    s, u, old, y, edge = batch.scalars, lanes.u, lanes.old, lanes.update, lanes.edge
    last = u.shape[0] - 1
    length = s[LENGTH, i]
    through = stored = x = 0.0
    for k in range(last + 1):
        charge = u[k, 1, j] - old[k, 1, j] - (u[k, 0, j] - old[k, 0, j])
        charge += s[CHARGE_X, i] * (u[k, 2, j] - old[k, 2, j])
        stored += batch.volume[k, i] * x * charge
        if k == last:
            continue
        x += batch.h[k, i]
        turn = _change(lanes, k + 1, j) - _change(lanes, k, j)
        for a in range(3):
            f = edge[k, 0, a, j] - edge[k, 1, a, j] * y[k, a, 0, j] - edge[k, 2, a, j] * y[k + 1, a, 0, j]
            f -= edge[k, 3, a, j] * turn
            z = -1.0 if a == 0 else (1.0 if a == 1 else s[CHARGE_X, i])
            if a == 2:
                mean = f
                f = (f - (1.0 - lanes.weight[k, j]) * lanes.flux[k, j]) / lanes.weight[k, j]
                if not aside:
                    lanes.upper[k, 0, 3, j] = mean - 0.5 * (f + lanes.instant[k, j])
                    lanes.flux[k, j], lanes.instant[k, j] = mean, f
            through += batch.h[k, i] * z * f
    dt = lanes.real[DT, j]
    lift = (u[last, 3, j] - u[0, 3, j]) - (old[last, 3, j] - old[0, 3, j])
    flux = -Q * through / length
    return flux + s[EPS, i] * lift / (length * dt), flux + Q * stored / (length * dt)


@kernel
@no_type_check
def _local_error(batch, lanes, i, j):
    """Largest change of psi, in units of U_T, that the local error of the vacancy density brings about.

    The mean flux of BDF2 less that of the trapezoidal rule is a known share of its error. The charge
    that this misplaces acts on psi as far as electrons do not screen it: Poisson's equation,
    linearised, at fixed quasi-Fermi potentials.
    """
    s, u, X, real = batch.scalars, lanes.u, lanes.upper, lanes.real
    last = u.shape[0] - 1
    dt, before = real[DT, j], real[BEFORE_DT, j]
    share = 1.0
    if before > 0.0:
        r = dt / before
        c = 0.5 * r / (1.0 + 2.0 * r) * (1.0 + 1.0 / r + 1.0 / (3.0 * r * r)) - 1.0 / 6.0
        share = c / (c - 1.0 / 12.0)
    scale = Q * s[CHARGE_X, i] * dt * share
    worst = 0.0
    X[0, 0, 0, j] = X[0, 0, 1, j] = 0.0
    for k in range(1, last):
        left, right = s[EPS, i] / batch.h[k - 1, i], s[EPS, i] / batch.h[k, i]
        screen = u[k, 0, j] / (1.0 + lanes.slope[k, 0, j]) + u[k, 1, j]
        d = left + right + batch.volume[k, i] * Q / s[UNIT, i] * screen - left * X[k - 1, 0, 0, j]
        rhs = -scale * (X[k, 0, 3, j] - X[k - 1, 0, 3, j])
        X[k, 0, 0, j] = right / d
        X[k, 0, 1, j] = (rhs + left * X[k - 1, 0, 1, j]) / d
    psi = 0.0
    for k in range(last - 1, 0, -1):
        psi = X[k, 0, 1, j] + X[k, 0, 0, j] * psi
        worst = max(worst, abs(psi))
    return worst / s[UNIT, i]


@kernel
@no_type_check
def _change(lanes, k, j):
    """Update of psi at node k that the last linear solve gave: at a contact, that of its lowering."""
    last = lanes.u.shape[0] - 1
    change = lanes.update[k, 3, 0, j]
    if k == 0:
        return change if lanes.real[W_L, j] + change > 0.0 else 0.0
    if k == last:
        return change if lanes.real[W_R, j] + change > 0.0 else 0.0
    return change


@kernel
@no_type_check
def _record(batch, lanes, i, j, total, conduction):
    """Write the level that was reached."""
    real, whole = lanes.real, lanes.whole
    level = whole[LEVEL, j]
    batch.out[level, at.TOTAL, i] = total
    batch.out[level, at.CONDUCTION, i] = conduction
    batch.out[level, at.LOWERING_L, i] = max(real[W_L, j], 0.0)
    batch.out[level, at.LOWERING_R, i] = max(real[W_R, j], 0.0)
    batch.out[level, at.LOCAL_ERROR, i] = real[ERROR, j]
    batch.newton[level, i] = whole[NEWTON, j] - whole[COUNTED, j]
    batch.rung[level, i] = whole[WORST, j]
    whole[COUNTED, j] = whole[NEWTON, j]
    if batch.kind[level, i] == at.SIDE:
        row = 0
        for m in range(level):
            row += batch.kind[m, i] == at.SIDE
        for k in range(lanes.u.shape[0]):
            for a in range(4):
                batch.side[row, k, a, i] = lanes.u[k, a, j]
