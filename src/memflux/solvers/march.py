"""One device through its drive as a state machine: everything but the linear solve.

`advance` takes the last Newton update, decides (iterate, accept, rescue, give up) and prepares the
next linear system; whoever calls it solves that system: the fused elimination on a CPU or a GPU, or
PETSc. One loop, whatever the level or the iteration, so that GPU threads never wait for each other.
"""

import math
from typing import no_type_check

from memflux.solvers import lanes as at
from memflux.solvers.compiled import inlined, kernel
from memflux.solvers.equilibrium import find_equilibrium
from memflux.solvers.multistep import (
    FULLEST,
    LARGEST_CUT,
    currents,
    divide,
    keep_past,
    linear_current,
    local_error,
    longest_step,
    next_wish,
    predict,
    weigh,
)
from memflux.solvers.newton_step import DOPING, UNIT, chemistry, eliminate, fluxes, pin_contacts

DT, W_L, W_R, TIME, DRIVE = at.DT, at.W_L, at.W_R, at.TIME, at.DRIVE
GOAL_TIME, GOAL_DRIVE, SOURCE, APPLIED = at.GOAL_TIME, at.GOAL_DRIVE, at.SOURCE, at.APPLIED
LAST, OLD_W_L, BEFORE_W_L, BEFORE_DT = at.LAST, at.OLD_W_L, at.BEFORE_W_L, at.BEFORE_DT
LARGEST, DAMP, WISH, SPAN = at.LARGEST, at.DAMP, at.WISH, at.SPAN
STATUS, LEVEL, ITERATION, RUNG, PART, PARTS = at.STATUS, at.LEVEL, at.ITERATION, at.RUNG, at.PART, at.PARTS
NEWTON, COUNTED, HALVINGS, WORST = at.NEWTON, at.COUNTED, at.HALVINGS, at.WORST

TOLERANCE = 1e-6  # V, expected size of the update after the last one
STEPS = 12  # Newton steps of one solve
DAMPED_STEPS = 40  # the same where they are damped
FIRST_DAMP, DAMP_GROWTH = 0.2, 1.3
MAX_INCREASE = 1e3  # from one update to the next
IRRELEVANT = (1e-11, 1e-8, 1e-8)  # of the doping: densities n, p, x below this do not decide convergence
PREDICTED, PLAIN, LOWERED, DAMPED, RAMP, FINE_RAMP, HALVED = range(7)  # the ladder of rescues
LOWERED_BY = 0.03  # V, least lowering to start from where it may snap on: two states exist there
RAMP_FROM = 0.02  # V, changes of the contact's voltage below this are no reason to ramp
MAX_RISE = 1.0  # V, of the contact's voltage in one Newton step, where a circuit decides on it
TOO_LARGE = 8.0  # local error, in tolerances, of a step that is taken back
SHORTEST = 1e-3  # of a level's span: steps below are not taken back
MAX_HALVINGS = 12


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
    for k in range(lanes.flux.shape[0]):
        lanes.flux[k, j] = lanes.instant[k, j] = lanes.rate[k, j] = 0.0
    _set_source(batch, lanes, i, j, batch.drive[0, i])
    _keep(lanes, j)
    lanes.real[WISH, j] = math.inf
    return resume(batch, lanes, i, j, 0.0, 0.0)


@kernel
@no_type_check
def resume(batch, lanes, i, j, total, conduction):
    """Prepare the first step from the accepted state in lane j, through which these current densities flow."""
    s, real = batch.scalars, lanes.real
    real[TIME, j], real[DRIVE, j] = batch.time[0, i], real[at.OLD_APPLIED, j]  # the drive that the state answers
    if s[at.DRIVEN, i] == at.BY_VOLTAGE:
        real[DRIVE, j] += s[at.RESISTANCE, i] * total
    elif s[at.DRIVEN, i] == at.BY_CURRENT:
        real[DRIVE, j] = total
    real[APPLIED, j] = real[at.OLD_APPLIED, j]
    real[at.APPLIED_SHIFT, j] = 0.0
    lanes.whole[COUNTED, j] = lanes.whole[NEWTON, j]
    _record(batch, lanes, i, j, total, conduction)
    lanes.whole[LEVEL, j] = 1
    lanes.real[LARGEST, j] = math.inf
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
    if batch.scalars[at.DRIVEN, i] != at.BY_CONTACT:
        _close_circuit(batch, lanes, i, j)
    norm = _apply(batch, lanes, i, j)
    whole[NEWTON, j] += 1
    whole[ITERATION, j] += 1
    last = real[LAST, j]
    real[LAST, j] = norm
    if whole[NEWTON, j] > budget:
        whole[STATUS, j] = at.OUT_OF_BUDGET
        return False
    ratio = norm / last if norm < last < math.inf else 1.0
    if norm < batch.scalars[UNIT, i] and norm * ratio < TOLERANCE and real[DAMP, j] == 1.0:
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


@inlined
@no_type_check
def _set_source(batch, lanes, i, j, value):
    """The value of the drive for this solve; without a circuit it is the voltage of the right contact."""
    lanes.real[SOURCE, j] = value
    if batch.scalars[at.DRIVEN, i] == at.BY_CONTACT:
        lanes.real[APPLIED, j] = value


@kernel
@no_type_check
def _close_circuit(batch, lanes, i, j):
    """The update of the contact's voltage V by the circuit's equation, and with it the update of all unknowns.

    R I + V = V_s with |I| <= I_c, or I = I_s with |V| <= V_c. I is linear in V at the linear system's
    solution, and rises with it, so that the limit can be decided there: the circuit's own Newton step is exact.
    """
    s, real, y = batch.scalars, lanes.real, lanes.update
    current, slope = linear_current(batch, lanes, i, j)
    limit, r = s[at.COMPLIANCE, i], s[at.RESISTANCE, i]
    if s[at.DRIVEN, i] == at.BY_VOLTAGE:
        shift = (real[APPLIED, j] + r * current - real[SOURCE, j]) / (1.0 + r * slope)
        if abs(current - slope * shift) > limit:
            shift = (current - math.copysign(limit, current - slope * shift)) / slope
    else:
        shift = (current - real[SOURCE, j]) / slope
        shift = real[APPLIED, j] - min(max(real[APPLIED, j] - shift, -limit), limit)
    shift = min(max(shift, -MAX_RISE), MAX_RISE)
    real[at.APPLIED_SHIFT, j] = shift
    for k in range(y.shape[0]):
        for a in range(4):
            y[k, a, 0, j] -= shift * y[k, a, 2, j]


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
    norm = max(norm, abs(real[at.APPLIED_SHIFT, j]))
    real[APPLIED, j] -= damp * real[at.APPLIED_SHIFT, j]
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
    goal = level  # looks inside lie on the way
    while batch.kind[goal, i] == at.SIDE and goal + 1 < batch.levels[i]:
        goal += 1
    span = batch.time[goal, i] - real[TIME, j]
    if fresh:
        real[SPAN, j] = span
        crossing = real[DRIVE, j] * batch.drive[goal, i] <= 0.0
        real[at.PART_SPAN, j] = span / batch.control[at.CROSSING] if crossing else span
    dt = min(divide(span, min(real[WISH, j], real[at.PART_SPAN, j])), real[LARGEST, j])
    if batch.kind[level, i] == at.SIDE and batch.time[level, i] - real[TIME, j] <= dt * (1.0 + 1e-12):
        goal, dt = level, batch.time[level, i] - real[TIME, j]
        span = dt
        if rung == PREDICTED:
            whole[at.ASIDE, j] = whole[NEWTON, j]
    real[DT, j] = dt
    real[GOAL_TIME, j] = batch.time[goal, i] if dt == span else real[TIME, j] + dt
    rise = batch.drive[goal, i] - real[DRIVE, j]
    real[GOAL_DRIVE, j] = batch.drive[goal, i] if dt == span else real[DRIVE, j] + rise * dt / span
    whole[PARTS, j] = whole[PART, j] = 1
    whole[ITERATION, j] = 0
    whole[RUNG, j] = rung
    real[LAST, j] = math.inf
    real[DAMP, j] = FIRST_DAMP if rung == DAMPED else 1.0
    _set_source(batch, lanes, i, j, real[GOAL_DRIVE, j])
    if rung in (RAMP, FINE_RAMP):
        whole[PARTS, j] = 8 if rung == RAMP else 64
        whole[PART, j] = 0
    weigh(batch, lanes, i, j)
    if rung == PREDICTED and real[BEFORE_DT, j] > 0.0:
        predict(batch, lanes, i, j)
    else:
        for k in range(lanes.u.shape[0]):
            for a in range(4):
                lanes.u[k, a, j] = lanes.old[k, a, j]
        least = LOWERED_BY if rung == LOWERED else -math.inf
        real[W_L, j], real[W_R, j] = max(real[OLD_W_L, j], least), max(real[OLD_W_L + 1, j], least)
        if batch.scalars[at.DRIVEN, i] != at.BY_CONTACT:
            real[APPLIED, j] = real[at.OLD_APPLIED, j]
    pin_contacts(batch, lanes, i, j)
    if whole[PART, j] == 0:
        _ramp(batch, lanes, i, j)
    _prepare(batch, lanes, i, j)
    return True


@kernel
@no_type_check
def _ramp(batch, lanes, i, j):
    """The next part of a drive that is raised in parts."""
    real, whole = lanes.real, lanes.whole
    whole[PART, j] += 1
    share = whole[PART, j] / whole[PARTS, j]
    _set_source(batch, lanes, i, j, real[DRIVE, j] + share * (real[GOAL_DRIVE, j] - real[DRIVE, j]))
    whole[ITERATION, j] = 0
    real[LAST, j] = math.inf
    pin_contacts(batch, lanes, i, j)


@kernel
@no_type_check
def _accept(batch, lanes, i, j):
    """Take the converged step; record, and begin the next one. False at the end of the drive."""
    real, whole = lanes.real, lanes.whole
    arrived = real[GOAL_TIME, j] == batch.time[whole[LEVEL, j], i]
    total, conduction = currents(batch, lanes, i, j)
    if _is_aside(batch, lanes, i, j):
        _record(batch, lanes, i, j, total, conduction)
        _end_look(lanes, j)
        return _begin(batch, lanes, i, j, PREDICTED, False)
    error = local_error(batch, lanes, i, j)
    longest = longest_step(batch, lanes, i, j, error)
    if error > TOO_LARGE * batch.control[at.ACCURACY] and real[DT, j] > SHORTEST * real[SPAN, j]:
        real[WISH, j] = longest
        return _begin(batch, lanes, i, j, PREDICTED, False)
    keep_past(lanes, j)
    real[WISH, j] = next_wish(lanes, j, longest)
    whole[WORST, j] = max(whole[WORST, j], whole[RUNG, j])
    real[at.EARLIER_DT, j] = real[BEFORE_DT, j]
    real[BEFORE_DT, j] = real[DT, j]
    real[TIME, j], real[DRIVE, j] = real[GOAL_TIME, j], real[GOAL_DRIVE, j]
    _keep(lanes, j)
    if arrived:
        _record(batch, lanes, i, j, total, conduction)
        whole[LEVEL, j] += 1
        whole[WORST, j] = 0
        whole[HALVINGS, j] = 0
        real[LARGEST, j] = math.inf
    else:
        real[LARGEST, j] *= 2.0
        whole[HALVINGS, j] = max(whole[HALVINGS, j] - 1, 0)
    return _begin(batch, lanes, i, j, PREDICTED, arrived)


@inlined
@no_type_check
def _is_aside(batch, lanes, i, j):
    """Whether this step is a look inside, to be thrown away."""
    level = lanes.whole[LEVEL, j]
    return batch.kind[level, i] == at.SIDE and lanes.real[GOAL_TIME, j] == batch.time[level, i]


@inlined
@no_type_check
def _end_look(lanes, j):
    """The look is over: its Newton steps are nobody's, and the next level is the goal."""
    lanes.whole[COUNTED, j] += lanes.whole[NEWTON, j] - lanes.whole[at.ASIDE, j]
    lanes.whole[LEVEL, j] += 1


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
    real[at.BEFORE_APPLIED, j] = real[at.OLD_APPLIED, j]
    real[at.OLD_APPLIED, j] = real[APPLIED, j]


@kernel
@no_type_check
def _rescue(batch, lanes, i, j):
    """The next rung of the ladder, or half the step, or the end."""
    real, whole = lanes.real, lanes.whole
    rung = whole[RUNG, j] + 1
    if rung == LOWERED and (real[at.SWITCHED, j] == 0.0 or min(real[OLD_W_L, j], real[OLD_W_L + 1, j]) > LOWERED_BY):
        rung = DAMPED
    short = 0.0 if batch.scalars[at.DRIVEN, i] == at.BY_CURRENT else RAMP_FROM
    if rung in (RAMP, FINE_RAMP) and abs(real[GOAL_DRIVE, j] - real[DRIVE, j]) <= short:
        rung = HALVED
    if rung == HALVED and _is_aside(batch, lanes, i, j):
        _end_look(lanes, j)  # one that fails is not worth more: its profile stays empty
        return _begin(batch, lanes, i, j, PREDICTED, False)
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
def _record(batch, lanes, i, j, total, conduction):
    """Write the level that was reached."""
    real, whole = lanes.real, lanes.whole
    level = whole[LEVEL, j]
    batch.out[level, at.TOTAL, i] = total
    batch.out[level, at.CONDUCTION, i] = conduction
    batch.out[level, at.LOWERING_L, i] = max(real[W_L, j], 0.0)
    batch.out[level, at.LOWERING_R, i] = max(real[W_R, j], 0.0)
    batch.out[level, at.CONTACT, i] = real[APPLIED, j]
    if batch.kind[level, i] == at.SIDE:
        batch.rung[level, i] = whole[RUNG, j]
        row = 0
        for m in range(level):
            row += batch.kind[m, i] == at.SIDE
        for k in range(lanes.u.shape[0]):
            for a in range(4):
                batch.side[row, k, a, i] = lanes.u[k, a, j]
            for a in range(3 if k < lanes.edge.shape[0] else 0):
                batch.side[row, k, 4 + a, i] = lanes.edge[k, 0, a, j]
    else:
        batch.newton[level, i] = whole[NEWTON, j] - whole[COUNTED, j]
        batch.rung[level, i] = whole[WORST, j]
        whole[COUNTED, j] = whole[NEWTON, j]
