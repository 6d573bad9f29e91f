"""How devices are packed for the kernels and what is made of the results."""

import dataclasses

import numpy as np
import pytest

from memflux.device import Device
from memflux.solvers import batch, march
from memflux.solvers import lanes as at
from memflux.solvers.control import SolverControl
from memflux.solvers.lanes import allocate
from memflux.solvers.system import build_system
from memflux.waveform import Triangle
from stepping import packed, prescribed

DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=1)


def test_levels_lie_in_order_and_a_look_inside_comes_before_the_level_of_its_time():
    plan = batch.plan_levels(np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.0]), np.array([2.0, 0.0, 1.5, 1.0]))
    np.testing.assert_array_equal(plan.time, [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0])
    np.testing.assert_array_equal(
        plan.kind, [at.RECORDED, at.HIDDEN, at.SIDE, at.RECORDED, at.SIDE, at.SIDE, at.RECORDED]
    )
    np.testing.assert_array_equal(plan.recorded, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(plan.looks, [1.0, 1.5, 2.0])  # t = 0 needs no step


def test_a_level_that_is_there_but_for_rounding_is_not_visited_twice():
    recorded = np.array([0.1 + 0.2, 1.0])
    plan = batch.plan_levels(recorded, np.array([0.0, 0.3, 0.5, 0.5, 1.0 - 1e-15]), batch.NOTHING)
    np.testing.assert_array_equal(plan.time, [0.0, recorded[0], 0.5, 1.0])
    np.testing.assert_array_equal(plan.kind, [at.HIDDEN, at.RECORDED, at.HIDDEN, at.RECORDED])


def test_devices_with_fewer_levels_are_padded():
    systems = [build_system(d, SolverControl.preset("fast")) for d in (Device(), Device.preset("S2"))]
    plans = [batch.plan_levels(np.linspace(0.0, 1.0, n), batch.NOTHING, batch.NOTHING) for n in (3, 5)]
    jobs = [batch.Job(device=Device(), drive=DRIVE, recorded=p.recorded) for p in plans]
    arrays = batch.pack(systems, jobs, plans, SolverControl.preset("fast").steps)
    np.testing.assert_array_equal(arrays.levels, [3, 5])
    assert np.isnan(arrays.time[3:, 0]).all()
    assert arrays.scalars.shape == (at.SCALARS, 2)
    np.testing.assert_array_equal(arrays.scalars[at.BARRIER_L], [0.167, 0.144])
    np.testing.assert_array_equal(arrays.scalars[at.LENGTH], [1e-6, 1e-6])


def test_a_column_of_a_batch_and_a_device_alone_give_the_same_bits():
    """Lane 1 of two, device 1 of three: what a GPU's thread sees."""
    names, levels = ("S1", "S2", "Ex107"), DRIVE.grid(160)[0][:41]
    control = prescribed("fast")
    systems = [build_system(Device.preset(n), control) for n in names]
    plan = batch.plan_levels(levels, batch.NOTHING, batch.NOTHING)
    jobs = [batch.Job(device=Device.preset(n), drive=DRIVE, recorded=levels) for n in names]
    arrays = batch.pack(systems, jobs, [plan] * 3, control.steps)
    lanes = allocate(systems[0].x.size, 2)
    assert march.start(arrays, lanes, 1, 1)
    while march.proceed(arrays, lanes, 1, 1, 100, 10**6):
        pass
    _, alone, lane = packed(Device.preset("S2"), DRIVE, control, levels)
    assert march.start(alone, lane, 0, 0)
    while march.proceed(alone, lane, 0, 0, 10**5, 10**6):
        pass
    np.testing.assert_array_equal(arrays.out[:, :, 1], alone.out[:, :, 0])
    assert np.isnan(arrays.out[:, :, [0, 2]]).all()
    assert (lanes.u[:, :, 0] == 1.0).all()


@pytest.mark.parametrize("status", ["no_equilibrium", "step_underflow", "out_of_budget"])
def test_every_status_has_its_sentence(status):
    system, arrays, _ = packed(Device(), DRIVE, SolverControl.preset("fast"), np.linspace(0.0, 2.0, 5))
    arrays.out[:3] = 1.0
    arrays.out[2, at.CONTACT] = 5.0
    level = 0 if status == "no_equilibrium" else 3
    arrays.summary[at.STATUS], arrays.summary[at.LEVEL], arrays.summary[at.NEWTON] = (
        batch.STATUS.index(status),
        level,
        77,
    )
    job = batch.Job(device=Device(), drive=DRIVE, recorded=np.linspace(0.0, 2.0, 5))
    plan = batch.plan_levels(job.recorded, job.hidden, job.profiles)
    trace = batch.make_trace(arrays, 0, system, job, plan, 7, 0.1)
    assert trace.status_class == status
    assert "77 Newton steps" in trace.status
    if status == "no_equilibrium":
        assert trace.history.newton.size == 0
    else:
        assert "after t = 1 s, 5 V" in trace.status
        assert trace.history.newton.size == 3


def test_the_budget_of_seconds_ends_a_solve_and_keeps_what_was_reached(monkeypatch):
    monkeypatch.setattr(batch, "SLICE", 50)  # Newton steps between two looks at the clock
    control = dataclasses.replace(SolverControl.preset("fast"), seconds_budget=0.0)
    job = batch.Job(device=Device.preset("S2"), drive=DRIVE, recorded=DRIVE.grid(160)[0], keep_state=True)
    lanes = allocate(build_system(job.device, control).x.size, 1)
    trace = batch.solve_device(job, control, march.proceed, lanes)
    assert trace.status_class == "out_of_budget"
    assert "the budget of Newton steps or seconds was spent after t = " in trace.status
    reached = np.isfinite(trace.current)
    assert 5 < reached.sum() < 60
    assert reached[: reached.sum()].all()
    assert trace.state is None
