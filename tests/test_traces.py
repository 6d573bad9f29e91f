import dataclasses

import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.traces import Profiles, Trace, Traces

DEVICES, DRIVE = Space.preset("9d").sample(6, seed=0)
TRACES = StandIn(samples=16)(DEVICES, DRIVE)


def test_rows_and_slices():
    one, some = TRACES[4], TRACES[1:3]
    assert isinstance(one, Trace)
    np.testing.assert_array_equal(one.current, TRACES.current[4])
    assert one.period == DRIVE.period[4]
    assert len(some) == 2
    np.testing.assert_array_equal(some.period, DRIVE.period[1:3])
    assert [t.ok for t in TRACES] == [True] * 6


def test_stacking_is_the_inverse_of_taking_apart():
    again = Traces.stack(list(TRACES))
    np.testing.assert_array_equal(again.current, TRACES.current)
    np.testing.assert_array_equal(again.time, TRACES.time)
    assert again.cycles == 2


def test_batches_are_joined_as_they_were():
    again = Traces.concatenate([TRACES[:2], TRACES[2:3], TRACES[3:]])
    for field in dataclasses.fields(Traces):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(TRACES, field.name))


def test_what_one_batch_lacks_the_whole_lacks_and_histories_stay():
    rich = dataclasses.replace(TRACES, conduction=TRACES.current, inside=np.ones(6, dtype=bool), history=(None,) * 6)
    assert Traces.concatenate([rich, rich]).inside.shape == (12,)
    whole = Traces.concatenate([rich, TRACES])
    assert whole.conduction is None
    assert whole.inside is None
    assert len(whole.history) == 12
    with pytest.raises(InvalidValue, match="different numbers of times"):
        Traces.concatenate([TRACES, StandIn(samples=8)(DEVICES, DRIVE)])
    with pytest.raises(InvalidValue, match="batches has no entries"):
        Traces.concatenate([])


def test_cycles_share_their_ends():
    first, last = TRACES.cycle(0), TRACES.cycle(-1)
    assert first.current.shape == last.current.shape == (6, 17)
    np.testing.assert_array_equal(first.current[:, -1], last.current[:, 0])
    one = TRACES[2].cycle(1)
    np.testing.assert_allclose(one.current, last.current[2])


@pytest.mark.parametrize("index", [2, -3])
def test_a_cycle_that_is_not_there_is_refused(index):
    with pytest.raises(InvalidValue, match=f"cycle = {index} is out of range"):
        TRACES.cycle(index)
    with pytest.raises(InvalidValue, match=f"cycle = {index} is out of range"):
        TRACES[0].cycle(index)


def test_traces_of_different_grids_do_not_stack():
    other = StandIn(samples=8)(DEVICES, DRIVE)
    with pytest.raises(InvalidValue, match="different numbers of times"):
        Traces.stack([TRACES[0], other[0]])
    with pytest.raises(InvalidValue, match="rows has no entries"):
        Traces.stack([])


def sweep():
    """One cycle by hand: a resistor of 2 Ohm, and two looks inside of a slab of three nodes."""
    time = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    voltage = np.array([0.0, 1.0, 0.0, -1.0, 0.0])
    rows = np.ones((2, 3))
    profiles = Profiles(
        time=np.array([1.0, 3.0]),
        voltage=np.array([1.0, -1.0]),
        lowering_left=np.zeros(2),
        lowering_right=np.zeros(2),
        x=np.array([0.0, 1.0, 3.0]),
        psi=np.array([[0.0, 0.5, 1.0], [0.0, -0.5, -1.0]]),
        phi_n=np.array([[0.0, 0.5, 1.0], [0.0, -0.5, -1.0]]),
        phi_p=0.0 * rows,
        phi_x=np.array([[0.0, 0.1, 0.2], [0.0, 0.1, 0.2]]),
        n=rows,
        p=rows,
        vacancy=rows,
        j_n=np.array([[4.0, 4.0], [-4.0, -4.0]]),
        j_p=np.zeros((2, 2)),
        j_x=np.array([[1.0, 0.0], [1.0, 0.0]]),
        j_displacement=np.array([[-1.0, 0.0], [-1.0, 0.0]]),
    )
    return Trace(time=time, voltage=voltage, current=0.5 * voltage, period=4.0, cycles=1, profiles=profiles)


def test_power_and_energy_are_what_the_drive_delivers():
    t = sweep()
    np.testing.assert_allclose(t.power, [0.0, 0.5, 0.0, 0.5, 0.0])
    np.testing.assert_allclose(t.energy, [0.0, 0.25, 0.5, 0.75, 1.0])
    one = TRACES[0].cycle()
    assert one.energy[0] == 0.0
    assert one.energy[-1] == pytest.approx(TRACES[0].energy[-1] - TRACES[0].energy[16])


def test_energy_ends_where_the_trace_does():
    current = np.array([0.0, 0.5, np.nan, np.nan, np.nan])
    t = dataclasses.replace(sweep(), current=current, status_class="step_underflow")
    np.testing.assert_allclose(t.energy, [0.0, 0.25, np.nan, np.nan, np.nan])
    empty = dataclasses.replace(t, time=np.empty(0), voltage=np.empty(0), current=np.empty(0))
    assert empty.energy.size == 0


def test_what_follows_from_a_look_inside():
    inside = sweep().profiles
    np.testing.assert_allclose(inside.edges, [0.5, 2.0])
    np.testing.assert_allclose(inside.field, [[-0.5, -0.25], [0.5, 0.25]])
    np.testing.assert_allclose(inside.j_total, [[4.0, 4.0], [-4.0, -4.0]])
    np.testing.assert_allclose(inside.dissipation, [[2.1, 1.0], [2.1, 1.0]])  # (4 V/2 + 0.1)/m; 4 V/2 over 2 m


def test_looks_are_found_by_their_time():
    inside = sweep().profiles
    chosen = inside.at([3.0, 1.0, 1.1])
    np.testing.assert_array_equal(chosen.time, [3.0, 1.0, 1.0])
    np.testing.assert_array_equal(chosen.j_n[:, 0], [-4.0, 4.0, 4.0])
    np.testing.assert_array_equal(chosen.x, inside.x)


def test_chosen_times_of_a_later_cycle_are_not_of_the_first():
    time = np.array([9.0, 10.0, 11.0])
    trace = Trace(time=time, voltage=np.ones(3), current=np.ones(3), period=8.0, cycles=2)
    assert len(trace.cycle(0)) == 0
    np.testing.assert_array_equal(trace.cycle(1).time, time)
    np.testing.assert_array_equal(trace.cycle(1).cycle(0).time, time)


def test_fewer_samples_a_cycle_are_some_of_those_there_are():
    devices, drive = Space.preset("5d-parametric").sample(3, seed=0)
    traces = StandIn(samples=40)(devices, drive)
    few = traces.on_grid(8)
    np.testing.assert_array_equal(few.time, drive.grid(8)[0][None].repeat(3, axis=0))
    np.testing.assert_array_equal(few.current, traces.current[:, ::5])
    np.testing.assert_array_equal(traces.on_grid(40).current, traces.current)
    with pytest.raises(
        InvalidValue, match="samples = 12 is no even share of the 80 steps of 2 cycles; give a divisor of 40"
    ):
        traces.on_grid(12)
    with pytest.raises(InvalidValue, match="samples = 80 is out of range"):
        traces.on_grid(80)
