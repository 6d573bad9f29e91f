"""One period of a neural ODE behind a series resistor, with the derivatives of all it says: compiled, exact.

A device of N states x in (0, 1), driven through a resistor R by a source s (K. Bednarz, B. Garda, Z. Galias, Neural
ODE based modeling of memristive circuits, eqs. 1 and 10):

    dx/dt = r(x, v) (y(x, v) - x)      v + R G(x, v) v = s

A network of x and v, or of v alone, gives the rates r > 0 and the places y in (0, 1) that the states go to. Of x and v,
that is any f(x, v) that keeps the states in their range; of v, any that is linear in them. G is a network of x, or of x
and v, or mixes two conductances. A step freezes r and y: the exponential midpoint rule, of second order, which no rate
makes unstable (Hochbruck and Ostermann, doi 10.1017/S0962492910000048). So the same steps do at 1 Hz and at 100 Hz,
where an explicit rule would have to follow the fastest rate.

The derivatives are carried along with the states, by all weights and by the N start values. The latter give the
derivatives of the periodic orbit; see `orbit`. Weights lie in one vector: layer by layer of the network of r and y,
matrix [inputs, outputs] before bias, then those of G, or the logarithms of its two conductances.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange

FASTEST = 14.0  # of log(r / unit): what a network may say before it has learned
NEWTON = 60  # iterations for the voltage at most; halving alone comes to 1e-18 of the source in as many
LAST = 1e-7  # of the source: a Newton step that small leaves about its square
FIRST = -2.0  # logit of G over the largest, before a voltage is known
PERIODS = 4  # of the device itself, before it is followed in longer strides
GOOD, FAIR = 0.1, 0.5  # of a change: what a stride may be off for a longer one to follow, and to be taken at all
BESIDE = 1e-6  # of a state, for differences
DOUBLINGS = 16  # of a monodromy matrix, by itself: what is left of it says whether an orbit is stable


@njit(cache=True)
@no_type_check
def network(weights, first, sizes, inputs, layers, outputs, by_input, by_weight):
    """Outputs [O] of one network; derivatives [O, I] where `by_input` has rows, [O, P] where `by_weight` has columns.

    Layer by layer forwards, then once backwards for each output: tanh between layers, none after the last.
    """
    depth = len(sizes) - 1
    for i in range(sizes[0]):
        layers[0, i] = inputs[i]
    k = first
    for layer in range(depth):
        a, b = sizes[layer], sizes[layer + 1]
        for j in range(b):
            layers[layer + 1, j] = weights[k + a * b + j]
        for i in range(a):
            for j in range(b):
                layers[layer + 1, j] += layers[layer, i] * weights[k + i * b + j]
        if layer < depth - 1:
            for j in range(b):
                layers[layer + 1, j] = np.tanh(layers[layer + 1, j])
        k += a * b + b
    for j in range(sizes[depth]):
        outputs[j] = layers[depth, j]
    if by_input.shape[0] == 0:
        return
    learns = by_weight.shape[1] > 0
    back, before = np.empty(layers.shape[1]), np.empty(layers.shape[1])
    for o in range(sizes[depth]):
        for j in range(sizes[depth]):
            back[j] = 1.0 if j == o else 0.0
        end = k
        for layer in range(depth - 1, -1, -1):
            a, b = sizes[layer], sizes[layer + 1]
            end -= a * b + b
            for i in range(a):
                value, total = layers[layer, i], 0.0
                for j in range(b):
                    if learns:
                        by_weight[o, end - first + i * b + j] = value * back[j]
                    total += weights[end + i * b + j] * back[j]
                before[i] = total if layer == 0 else total * (1.0 - value * value)
            if learns:
                for j in range(b):
                    by_weight[o, end - first + a * b + j] = back[j]
            for i in range(a):
                back[i] = before[i]
        for i in range(sizes[0]):
            by_input[o, i] = back[i]


@njit(cache=True)
@no_type_check
def divider(weights, first, sizes, scales, x, dx, source, resistance, work, dv):
    """Voltage of a device in the states x, and where `dv` [Q] has columns its derivatives from `dx` [N, Q]."""
    volt, largest = scales
    layers, inputs, outputs, by_input, by_weight = work
    count = len(dv)
    for q in range(count):
        dv[q] = 0.0
    by_voltage = 0.0  # of the conductance
    if len(sizes) == 0:  # G = x / R_ON + (1 - x) / R_OFF, eq. 10
        on, off = largest * np.exp(weights[first]), largest * np.exp(weights[first + 1])
        conductance = x[0] * on + (1.0 - x[0]) * off
        voltage = source / (1.0 + resistance * conductance)
        for q in range(count):
            dv[q] = (on - off) * dx[0, q]
        if count:
            dv[first] += x[0] * on
            dv[first + 1] += (1.0 - x[0]) * off
    else:
        for i in range(len(x)):
            inputs[i] = 2.0 * x[i] - 1.0
        if sizes[0] > len(x):
            across(weights, first, sizes, scales, source, resistance, work)
        network(weights, first, sizes, inputs, layers, outputs, by_input, by_weight)
        share = 1.0 / (1.0 + np.exp(-outputs[0]))
        conductance = largest * share
        slope = conductance * (1.0 - share)
        voltage = source / (1.0 + resistance * conductance)
        if sizes[0] > len(x):
            by_voltage = slope * by_input[0, len(x)] / volt
        for i in range(len(x) if count else 0):
            for q in range(count):
                dv[q] += 2.0 * slope * by_input[0, i] * dx[i, q]
        for p in range(by_weight.shape[1]):
            dv[first + p] += slope * by_weight[0, p]
    for q in range(count):
        dv[q] *= -resistance * voltage / (1.0 + resistance * (conductance + voltage * by_voltage))
    return voltage


@njit(cache=True)
@no_type_check
def across(weights, first, sizes, scales, source, resistance, work):
    """Complete the `inputs` of G, which hold x, by the v for which v (1 + R G(x, v)) = s.

    A root lies between 0 and s for any G > 0: Newton's method, halving where it would leave what is known of it. It
    begins with the memductance of the step before, whose logit is still among the `outputs`.
    """
    volt, largest = scales
    layers, inputs, outputs, by_input, _ = work
    last, none = len(inputs) - 1, np.empty((1, 0))
    low, high, sign = 0.0, abs(source), np.sign(source)
    size = high / (1.0 + resistance * largest / (1.0 + np.exp(-outputs[0])))
    for _ in range(NEWTON):
        inputs[last] = sign * size / volt
        network(weights, first, sizes, inputs, layers, outputs, by_input, none)
        share = 1.0 / (1.0 + np.exp(-outputs[0]))
        drop = resistance * largest * share
        off = size * (1.0 + drop) - abs(source)
        if off > 0.0:
            high = size
        else:
            low = size
        steep = 1.0 + drop * (1.0 + size * (1.0 - share) * sign * by_input[0, last] / volt)
        moved = size - off / steep
        if not low <= moved <= high:
            moved = 0.5 * (low + high)
        done = abs(moved - size) <= LAST * abs(source)
        size = moved
        if done:
            break
    inputs[last] = sign * size / volt


@njit(cache=True)
@no_type_check
def period(weights, shape, start, ends, middles, step, resistance, voltage, by_all, end, by_end):
    """K steps from `start` [N]: `voltage` [K] at their beginnings and `end` [N], of a source `ends` [K], `middles` [K].

    With columns in `by_all` [K, P + N] and `by_end` [N, P + N], their derivatives by weights and start.
    """
    rates, memductance, volt, largest = shape
    scales = (volt, largest)
    n, count = len(start), by_end.shape[1]
    of_rates = 0
    for layer in range(len(rates) - 1):
        of_rates += (rates[layer] + 1) * rates[layer + 1]
    wide = max(rates.max(), memductance.max() if len(memductance) else 0)
    told = rates[0] - 1  # states that the network of rates sees: all or none
    inputs, outputs, by_input = np.empty(told + 1), np.empty(2 * n), np.zeros((2 * n if count else 0, told + 1))
    by_weight = np.empty((2 * n, of_rates if count else 0))
    layers = np.empty((len(rates), wide))
    of_memductance = len(weights) - of_rates if count else 0
    seen = memductance[0] if len(memductance) else n  # by G: the states, or the voltage too
    work = (
        np.empty((max(len(memductance), 1), wide)), np.empty(seen), np.full(1, FIRST),
        np.empty((1 if count or seen > n else 0, seen)), np.empty((1, of_memductance)),
    )  # fmt: skip
    dx, dx_middle, change, dv = (np.zeros((n, count)), np.zeros((n, count)), np.zeros((n, count)), np.zeros(count))
    for i in range(n if count else 0):
        dx[i, len(weights) + i] = 1.0
    x, x_middle, moved = start.copy(), np.empty(n), np.empty(n)
    for k in range(len(ends)):
        for half in range(2):
            here, d_here = (x, dx) if half == 0 else (x_middle, dx_middle)
            source, length = (ends[k], 0.5 * step) if half == 0 else (middles[k], step)
            v = divider(weights, of_rates, memductance, scales, here, d_here, source, resistance, work, dv)
            if half == 0:
                voltage[k] = v
                for q in range(count):
                    by_all[k, q] = dv[q]
            for i in range(told):
                inputs[i] = 2.0 * here[i] - 1.0
            inputs[told] = v / volt
            network(weights, 0, rates, inputs, layers, outputs, by_input, by_weight)
            for i in range(n):
                rate = length * np.exp(min(outputs[i], FASTEST))
                place = 1.0 / (1.0 + np.exp(-outputs[n + i]))
                left = np.exp(-rate)
                moved[i] = place + (x[i] - place) * left
                by_rate = -(x[i] - place) * left * rate if outputs[i] < FASTEST else 0.0
                by_place = (1.0 - left) * place * (1.0 - place)
                by_voltage = (by_rate * by_input[i, told] + by_place * by_input[n + i, told]) / volt
                for q in range(count):
                    change[i, q] = left * dx[i, q] + by_voltage * dv[q]
                for j in range(told):
                    by_state = 2.0 * (by_rate * by_input[i, j] + by_place * by_input[n + i, j])
                    for q in range(count):
                        change[i, q] += by_state * d_here[j, q]
                for p in range(by_weight.shape[1]):
                    change[i, p] += by_rate * by_weight[i, p] + by_place * by_weight[n + i, p]
            to, d_to = (x_middle, dx_middle) if half == 0 else (x, dx)
            for i in range(n):
                to[i] = moved[i]
                for q in range(count):
                    d_to[i, q] = change[i, q]
    for i in range(n):
        end[i] = x[i]
        for q in range(count):
            by_end[i, q] = dx[i, q]


@njit(cache=True)
@no_type_check
def settle(weights, shape, start, ends, middles, step, resistance, towards, known, most, tolerance, voltage):
    """Move `start` [N] to the periodic orbit; what a period still changes, after some `most` periods.

    Where `known`, `towards` [N, N] turns the change over a period into a Newton step. A step that misses hands over
    to the device itself, period after period, whose way `stride` once tries to cut short.
    """
    none, end = np.empty((0, 0)), np.empty(len(start))
    no_end = np.empty((len(start), 0))
    missed, before, itself = np.inf, np.inf, 0
    for _ in range(most):
        period(weights, shape, start, ends, middles, step, resistance, voltage, none, end, no_end)
        change = end - start
        missed = np.abs(change).max()
        if missed < tolerance:
            break
        known = known and missed < 2.0 * before
        before = missed
        if known:
            start[:] = within(start + np.dot(towards, change))
            continue
        start[:] = end
        itself += 1
        if itself == PERIODS:
            stride(weights, shape, start, ends, middles, step, resistance, towards, most, tolerance, voltage)
    return missed


@njit(cache=True)
@no_type_check
def stride(weights, shape, start, ends, middles, step, resistance, towards, most, tolerance, voltage):
    """Move `start` nearer to an orbit that is many periods away, in strides that grow as the way gets straight.

    A stride of h periods solves (1/h + 1 - M) dx = change with the monodromy matrix M: Rosenbrock's method along the
    periods, Newton's where h is large (pseudo-transient continuation, C. T. Kelley and D. E. Keyes,
    doi 10.1137/S0036142996304796). That may end on an orbit which no device stays on: then `start` is left as it was.
    """
    n, home = len(start), start.copy()
    none, no_end, end = np.empty((0, 0)), np.empty((n, 0)), np.empty(n)
    there, back, stays = np.empty(n), np.empty(n), np.eye(n)
    monodromy, length, done, moved = np.empty((n, n)), float(PERIODS), 1, True
    period(weights, shape, start, ends, middles, step, resistance, voltage, none, end, no_end)
    change = end - start
    missed = np.abs(change).max()
    while tolerance <= missed and done < most:
        if moved:
            beside(weights, shape, start, end, ends, middles, step, resistance, voltage, monodromy)
            done += n
        there[:] = within(start + np.linalg.solve((1.0 + 1.0 / length) * stays - monodromy, change))
        if length < 1.0:
            there[:] = end
        period(weights, shape, there, ends, middles, step, resistance, voltage, none, back, no_end)
        done += 1
        foreseen = change - np.dot(stays - monodromy, there - start)
        off = np.abs(back - there - foreseen).max() / missed
        moved = off < FAIR or length < 1.0
        length = length * 4.0 if off < GOOD else length / 4.0 if not moved else max(length, float(PERIODS))
        if moved:
            start[:], end[:], change[:] = there, back, back - there
            missed = np.abs(change).max()
    if missed < tolerance and done > 1:
        towards[:] = np.linalg.inv((1.0 + 1e-9) * stays - monodromy)
        for _ in range(DOUBLINGS):
            monodromy = np.dot(monodromy, monodromy)
        if not np.abs(monodromy).max() < 1.0:
            start[:] = home


@njit(cache=True)
@no_type_check
def beside(weights, shape, start, end, ends, middles, step, resistance, voltage, monodromy):
    """Fill `monodromy` [N, N], the derivatives by `start` of the states `end` a period later, by differences."""
    n = len(start)
    none, no_end, moved = np.empty((0, 0)), np.empty((n, 0)), np.empty(n)
    for j in range(n):
        near = start.copy()
        near[j] += BESIDE if start[j] < 0.5 else -BESIDE
        period(weights, shape, near, ends, middles, step, resistance, voltage, none, moved, no_end)
        for i in range(n):
            monodromy[i, j] = (moved[i] - end[i]) / (near[j] - start[j])


@njit(cache=True)
@no_type_check
def within(x):
    """States in their range."""
    return np.minimum(np.maximum(x, 0.0), 1.0)


@njit(parallel=True, cache=True)
@no_type_check
def orbits(weights, shape, starts, ends, middles, steps, resistance, towards, known, most, tolerance, columns):
    """`settle` and `period` of R records side by side; `starts` [R, N] and `towards` [R, N, N] move to their orbits.

    Voltages [R, K], states at the end [R, N], derivatives [R, K, columns] and [R, N, columns], changes left [R].
    """
    records, n = starts.shape
    voltages, finish = np.empty(ends.shape), np.empty(starts.shape)
    by_all = np.empty((records, ends.shape[1] if columns else 0, columns))
    by_end = np.empty((records, n, columns))
    missed = np.empty(records)
    for r in prange(records):
        missed[r] = settle(
            weights, shape, starts[r], ends[r], middles[r], steps[r], resistance, towards[r], known, most, tolerance,
            voltages[r],
        )  # fmt: skip
        period(
            weights, shape, starts[r], ends[r], middles[r], steps[r], resistance, voltages[r], by_all[r], finish[r],
            by_end[r],
        )  # fmt: skip
    return voltages, finish, by_all, by_end, missed
