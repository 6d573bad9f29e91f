import numpy as np
import pytest

from memflux.compact import CompactModel
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.traces import Trace, Traces

DEVICES, DRIVE = Space.preset("9d").sample(6, seed=0)
TRACES = CompactModel(samples=16)(DEVICES, DRIVE)


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
    other = CompactModel(samples=8)(DEVICES, DRIVE)
    with pytest.raises(InvalidValue, match="different numbers of times"):
        Traces.stack([TRACES[0], other[0]])
    with pytest.raises(InvalidValue, match="rows has no entries"):
        Traces.stack([])
