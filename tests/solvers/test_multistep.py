"""How levels are divided, what is kept of the past, and which steps are taken back."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.device import Device
from memflux.solvers import lanes as at
from memflux.solvers import march, multistep
from memflux.solvers.compiled import kernel
from memflux.solvers.control import PhaseSteps, SolverControl
from memflux.waveform import Triangle
from stepping import packed, prescribed, solved

SWEEP = Triangle(amplitude=10.0, period=8.0, cycles=1)
DEVICE = Device.preset("S2")


@kernel
def divided(span, longest):
    """`divide`, which is inlined elsewhere."""
    return multistep.divide(span, longest)


@settings(deadline=None)  # the first call compiles
@given(span=st.floats(1e-9, 1e3), parts=st.floats(0.05, 40.0))
def test_a_span_is_divided_into_no_more_steps_than_it_takes(span, parts):
    longest = span / parts
    rest, steps = span, []
    while rest > 0.0:
        steps.append(divided(rest, longest))
        rest = rest - steps[-1] if steps[-1] < rest else 0.0
    assert len(steps) <= np.ceil(parts * (1 + 1e-12))
    assert max(steps) <= longest * (1 + 1e-12) / (1.0 - multistep.REST)
    assert sum(steps) == pytest.approx(span)


@settings(deadline=None)
@given(parts=st.floats(0.5, 12.0), nudge=st.floats(0.0, 1e-6))
def test_the_first_step_is_a_continuous_function_of_the_longest(parts, nudge):
    """But for rests that are taken along."""
    before, after = divided(1.0, 1.0 / parts), divided(1.0, 1.0 / (parts + nudge))
    assert abs(after - before) <= nudge / multistep.BLEND + 1e-12 or max(before, after) == 1.0


def test_equal_parts_but_where_their_number_changes():
    assert divided(1.0, 2.0) == 1.0
    assert divided(1.0, 1.0) == 1.0
    assert divided(1.0, 0.5) == pytest.approx(0.5)
    assert divided(1.0, 1.0 / 1.9) == pytest.approx(0.5)
    assert divided(1.0, 1.0 / 2.9) == pytest.approx(1.0 / 3.0)
    assert 0.5 < divided(1.0, 1.0 / 1.2) < 1.0


def in_the_middle():
    """A lane whose step has converged and waits to be accepted."""
    _, batch, lanes = packed(DEVICE, SWEEP, SolverControl.preset("fast"), SWEEP.grid(160)[0])
    assert march.start(batch, lanes, 0, 0)
    assert march.proceed(batch, lanes, 0, 0, 60, 10**6)
    multistep.currents(batch, lanes, 0, 0)
    return batch, lanes


def test_a_vanishing_step_is_as_good_as_none():
    _, lanes = in_the_middle()
    past = [array.copy() for array in (lanes.flux, lanes.rate)]
    ages = lanes.real[[at.AGE, at.AGE_SQUARED], 0].copy()
    lanes.real[at.WISH, 0], lanes.real[at.SPAN, 0], lanes.real[at.DT, 0] = 0.05, 0.05, 1e-12
    lanes.edge[:, 0, 2, 0] = lanes.instant[:, 0]  # nothing changes in no time
    multistep.keep_past(lanes, 0)
    np.testing.assert_allclose(lanes.flux, past[0], rtol=1e-6, atol=1e-9 * np.abs(past[0]).max())
    np.testing.assert_allclose(lanes.rate, past[1], rtol=1e-6, atol=1e-9 * np.abs(past[1]).max())
    np.testing.assert_allclose(lanes.real[[at.AGE, at.AGE_SQUARED], 0], ages, rtol=1e-6)


def test_of_whole_steps_only_the_last_is_past():
    _, lanes = in_the_middle()
    dt = lanes.real[at.DT, 0]
    lanes.real[at.WISH, 0] = lanes.real[at.SPAN, 0] = dt
    mean, before = lanes.upper[:-1, 0, multistep.MEAN, 0].copy(), lanes.instant[:, 0].copy()
    multistep.keep_past(lanes, 0)
    np.testing.assert_array_equal(lanes.flux[:, 0], mean)
    np.testing.assert_allclose(lanes.rate[:, 0] * dt, lanes.instant[:, 0] - before, rtol=1e-12)
    assert lanes.real[at.AGE, 0] == pytest.approx(dt / 2)
    assert lanes.real[at.AGE_SQUARED, 0] == pytest.approx(dt**2 / 3)


def test_weights_are_those_of_variable_step_bdf2():
    """Differences of densities, as textbooks have them: (1 + 2r)/(1 + r), 1 + r, r^2/(1 + r)."""
    for r in (0.2, 1.0, 3.0):
        _, lanes = in_the_middle()
        lanes.real[at.DT, 0], lanes.real[at.AGE, 0] = r, 0.5
        b = float(past_share_of(lanes))
        # n2 - n1 = dt [(1 - b) J2 + b (n1 - n0)/dt0]
        lead = (1 + 2 * r) / (1 + r)
        assert 1 / (1 - b) == pytest.approx(lead)
        assert (1 + b * r) / (1 - b) == pytest.approx(1 + r)


@kernel
def past_share_of(lanes):
    """`past_share`, which is inlined elsewhere."""
    return multistep.past_share(lanes, 0)


def manufactured_error(steps, kept):
    """Root mean square error of n' = -20 (n - sin 3t) + 3 cos 3t, n(0) = 0, whose solution is sin 3t.

    `steps` [s]; `kept`: the level's span as a multiple of each, above 2 where a short step keeps some of the past.
    """
    lanes = at.allocate(2, 1)
    real, n, t, errors = lanes.real[:, 0], 0.0, 0.0, []
    lanes.instant[0, 0] = -3.0  # the flux is -n'
    for dt, span in zip(steps, kept * steps, strict=True):
        real[at.DT], real[at.WISH], real[at.SPAN] = dt, span, span
        t += dt
        b = past_share_of(lanes)
        # n_new - n = -dt [(1 - b) J_new + b J_past], J_new = 20 (n_new - sin) - 3 cos
        known = -20.0 * np.sin(3 * t) - 3.0 * np.cos(3 * t)
        new = (n - dt * ((1 - b) * known + b * lanes.flux[0, 0])) / (1.0 + 20.0 * dt * (1 - b))
        flux = 20.0 * new + known
        lanes.upper[0, 0, multistep.MEAN, 0] = (1 - b) * flux + b * lanes.flux[0, 0]
        lanes.edge[0, 0, 2, 0] = flux
        multistep.keep_past(lanes, 0)
        n = new
        errors.append(n - np.sin(3 * t))
    return np.sqrt(np.mean(np.square(errors)))


@pytest.mark.parametrize("pattern", ["even", "alternating", "random", "with short rests"])
def test_a_manufactured_problem_is_solved_to_second_order(pattern):
    errors = []
    for count in (200, 400, 800):
        weights = {
            "even": np.ones(count),
            "alternating": np.tile([1.0, 2.0], count // 2),
            "random": np.random.default_rng(1).uniform(0.5, 1.5, count),
            "with short rests": np.tile([1.0, 1.0, 1.0, 0.1], count // 4),
        }[pattern]
        kept = np.where(weights == 0.1, 10.0, 1.0)
        errors.append(manufactured_error(2.0 * weights / weights.sum(), kept))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders.mean() == pytest.approx(2.0, abs=0.1)
    assert errors[-1] < 1e-4


def test_steps_with_too_large_an_error_are_taken_back():
    """A tight tolerance on few levels: what is accepted stays within eight of it."""
    steps = PhaseSteps(local_error=0.005, crossing_parts=1)
    control = dataclasses.replace(prescribed("fast"), steps=steps)
    _, batch, lanes = packed(DEVICE, SWEEP, control, SWEEP.grid(20)[0])
    assert march.start(batch, lanes, 0, 0)
    time, back = 0.0, 0
    dt = lanes.real[at.DT, 0]
    more = True
    while more:
        more = march.proceed(batch, lanes, 0, 0, 1, 10**6)
        moved, shorter = lanes.real[at.TIME, 0] > time, lanes.real[at.DT, 0] < dt
        back += not moved and shorter and lanes.whole[at.RUNG, 0] == march.PREDICTED
        time, dt = lanes.real[at.TIME, 0], lanes.real[at.DT, 0]
    assert lanes.whole[at.STATUS, 0] == at.SOLVED
    assert back > 0
    fine = solved(DEVICE, SWEEP, prescribed("fast"), SWEEP.grid(2000)[0])
    error = np.abs(batch.out[:, at.TOTAL, 0] * DEVICE.area - fine.current[::100])
    assert error.max() < 0.02 * np.abs(fine.current).max()
