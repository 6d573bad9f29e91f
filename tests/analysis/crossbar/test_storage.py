import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.analysis.crossbar.cells import CellOptions, Cells
from memflux.analysis.crossbar.distributions import PRINTED, Rates
from memflux.analysis.crossbar.storage import Writing, store, write_verified
from memflux.errors import InvalidValue

MANY = 400_000


def test_attempts_leave_what_the_distributions_imply():
    writing = Writing(attempts=4)
    for redraw in ("never", "resistance"):
        cells = Cells(MANY, options=CellOptions(redraw=redraw), seed=1)
        bits = np.arange(MANY) % 2 == 0
        write_verified(cells, bits, writing)
        wrong = cells.read(writing.pulses) != bits
        implied = Rates.implied(PRINTED, voltage=5.0, threshold=1e4, attempts=4, redrawn=redraw == "resistance")
        for kind, rate in ((bits, implied.ones), (~bits, implied.zeros)):
            assert abs(wrong[kind].mean() - rate) < 5 * np.sqrt(rate / (MANY / 2))


def test_voltages_that_are_drawn_anew_are_cured_by_attempts():
    cells = Cells(20_000, options=CellOptions(redraw="all"), seed=2)
    bits = np.random.default_rng(0).random(20_000) < 0.5
    assert store(cells, bits, Writing(attempts=10)).wrong == 0


@given(st.integers(1, 400), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_bit_has_a_cell_of_its_own_and_what_is_not_wrong_reads_right(count, seed):
    writing = Writing(attempts=2, spares=0.1)
    cells = Cells(writing.cells(count), options=CellOptions(redraw="resistance", working=0.9, shorted=0.5), seed=seed)
    bits = np.random.default_rng(seed).random(count) < 0.5
    stored = store(cells, bits, writing)
    assert np.unique(stored.where).size == count
    assert (stored.read(cells, writing) != bits).sum() == stored.wrong
    assert (stored.wrong == 0) or stored.spares_used == writing.cells(count) - count


def test_spares_take_the_place_of_dead_cells():
    writing = Writing(attempts=3, spares=2.0)
    cells = Cells(writing.cells(2000), options=CellOptions(redraw="resistance", working=0.4), seed=3)
    stored = store(cells, np.ones(2000, dtype=bool), writing)
    assert stored.wrong == 0
    assert stored.spares_used > 2000


def test_a_dead_cell_that_has_the_right_bit_is_left_alone():
    writing = Writing(spares=0.5)
    cells = Cells(writing.cells(1000), options=CellOptions(working=0.0), seed=4)
    stored = store(cells, np.zeros(1000, dtype=bool), writing)
    assert (stored.wrong, stored.spares_used) == (0, 0)


def test_a_later_write_goes_on_where_the_cells_are():
    writing = Writing(attempts=3, spares=0.1)
    cells = Cells(writing.cells(500), options=CellOptions(redraw="resistance"), seed=5)
    random = np.random.default_rng(5)
    for _ in range(3):
        bits = random.random(500) < 0.5
        assert store(cells, bits, writing).wrong == 0


def test_too_few_cells():
    with pytest.raises(InvalidValue, match="make 110"):
        store(Cells(105), np.zeros(100, dtype=bool), Writing(spares=0.1))
    with pytest.raises(InvalidValue, match="attempts = 0"):
        Writing(attempts=0)
    with pytest.raises(InvalidValue, match="spares"):
        Writing(spares=-0.1)
