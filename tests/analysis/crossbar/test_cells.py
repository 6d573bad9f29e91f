import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.analysis.crossbar import cells as source
from memflux.analysis.crossbar.cells import CellOptions, Cells, Pulses
from memflux.analysis.crossbar.distributions import LN10, PRINTED, SCRIPT, Distributions, Rates
from memflux.errors import InvalidValue

MANY = 400_000
PULSES = Pulses()
# switches at 1 V; 100 ohm and 1 Mohm
IDEAL = Distributions(
    set_mu=0.0, set_sigma=0.0, reset_mu=0.0, reset_sigma=0.0, lrs_mu=np.log(100.0), lrs_sigma=0.0,
    hrs_mean=6.0, hrs_deviation=0.0,
)  # fmt: skip


def all_of(cells, bit):
    return np.full(len(cells), bit)


def agrees(rate, count, expected):
    """Within five deviations of the binomial distribution."""
    return abs(rate - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("variant", [PRINTED, SCRIPT], ids=["printed", "script"])
def test_moments_of_what_is_drawn(variant):
    cells = Cells(MANY, variant, seed=1)
    for values, mu, sigma in (
        (cells.v_set, variant.set_mu, variant.set_sigma),
        (cells.v_reset, variant.reset_mu, variant.reset_sigma),
        (cells.lrs, variant.lrs_mu, variant.lrs_sigma),
        (cells.hrs, variant.hrs_mean * LN10, variant.hrs_deviation * LN10),
    ):
        logs = np.log(values.astype(np.float64))
        assert abs(logs.mean() - mu) < 5 * sigma / np.sqrt(MANY)
        assert logs.std() == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("working", [1.0, 0.4])
def test_one_pulse_fails_as_often_as_the_distributions_imply(working):
    cells = Cells(MANY, options=CellOptions(working=working, shorted=0.3), seed=2)
    bits = np.arange(MANY) % 2 == 0
    cells.write(bits, PULSES)
    wrong = cells.read(PULSES) != bits
    implied = Rates.implied(PRINTED, voltage=5.0, threshold=1e4, working=working, shorted=0.3)
    assert agrees(wrong[bits].mean(), MANY / 2, implied.ones)
    assert agrees(wrong[~bits].mean(), MANY / 2, implied.zeros)


def test_reset_fails_as_often_as_implied():
    cells = Cells(MANY, seed=3)
    cells.write(all_of(cells, True), PULSES)
    was_low = cells.low.copy()
    cells.write(all_of(cells, False), PULSES)
    assert agrees(cells.low[was_low].mean(), was_low.sum(), PRINTED.reset_fails(5.0))


@given(st.integers(1, 300), st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_ideal_cells_read_what_was_last_written(count, seed, times):
    cells = Cells(count, IDEAL, seed=seed)
    random = np.random.default_rng(seed)
    for _ in range(times):
        bits = random.random(count) < 0.5
        cells.write(bits, PULSES)
        assert np.array_equal(cells.read(PULSES), bits)
        assert cells.resistance() == pytest.approx(np.where(bits, 100.0, 1e6), rel=1e-5)


def test_a_pulse_below_the_switching_voltage_changes_nothing():
    cells = Cells(10, IDEAL)
    cells.write(all_of(cells, True), Pulses(voltage=0.9))
    assert not cells.read(PULSES).any()
    assert not cells.cycles.any()


def test_twenty_cycles_and_then_stuck_in_the_low_state():
    cells = Cells(5, IDEAL)
    for _ in range(20):
        cells.write(all_of(cells, True), PULSES)
        assert cells.read(PULSES).all()
        assert not cells.stuck.any()
        cells.write(all_of(cells, False), PULSES)
        assert not cells.read(PULSES).any()
    cells.write(all_of(cells, True), PULSES)
    cells.write(all_of(cells, False), PULSES)
    assert cells.read(PULSES).all()
    assert cells.stuck.all()


def test_pulses_that_switch_nothing_do_not_wear():
    cells = Cells(5, IDEAL)
    for _ in range(50):
        cells.write(all_of(cells, True), PULSES)
    assert (cells.cycles == 1).all()


def test_without_an_end_of_endurance():
    cells = Cells(5, IDEAL, CellOptions(endurance=None))
    for _ in range(40):
        cells.write(all_of(cells, True), PULSES)
        cells.write(all_of(cells, False), PULSES)
    assert not cells.read(PULSES).any()


@pytest.mark.parametrize(("compliance", "kept"), [(0.0, 0.0), (10e-6, 0.0), (31.6e-6, 0.5), (100e-6, 1.0), (1e-3, 1.0)])
def test_retention_grows_with_the_compliance(compliance, kept):
    cells = Cells(20_000, IDEAL, seed=4)
    cells.write(all_of(cells, True), Pulses(compliance=compliance))
    assert cells.read(PULSES).mean() == pytest.approx(kept, abs=0.02)


def test_dead_and_worn_cells_stay_as_they_are():
    cells = Cells(10_000, options=CellOptions(working=0.4, shorted=0.5, worn=0.5, redraw="all"), seed=5)
    dead = np.isinf(cells.v_set)
    assert dead.mean() == pytest.approx(0.6, abs=0.02)
    assert cells.stuck[~dead].mean() == pytest.approx(0.5, abs=0.03)
    fixed = dead | cells.stuck
    before = cells.read(PULSES)
    for bit in (True, False):
        cells.write(all_of(cells, bit), Pulses(voltage=100.0))
        assert np.array_equal(cells.low[fixed], before[fixed] | cells.low[fixed])
        assert np.array_equal(cells.read(PULSES)[dead], before[dead])
    assert np.isinf(cells.resistance()[dead & ~cells.low]).all()


@pytest.mark.parametrize(("redraw", "resistances", "voltages"), [("never", 0, 0), ("resistance", 1, 0), ("all", 1, 1)])
def test_what_is_drawn_anew(redraw, resistances, voltages):
    cells = Cells(100, options=CellOptions(redraw=redraw), seed=6)
    old = (cells.lrs.copy(), cells.hrs.copy(), cells.v_set.copy())
    strong = Pulses(voltage=900.0)
    cells.write(all_of(cells, True), strong)
    cells.write(all_of(cells, False), strong)
    changed = [(a != b).all() for a, b in zip(old, (cells.lrs, cells.hrs, cells.v_set), strict=True)]
    assert changed == [bool(resistances), bool(resistances), bool(voltages)]


def test_blocks_and_indices_give_what_one_piece_gives(monkeypatch):
    bits = np.random.default_rng(0).random(1000) < 0.5
    whole = Cells(1000, seed=7)
    whole.write(bits, PULSES)
    monkeypatch.setattr(source, "BLOCK", 64)
    parts, order = Cells(1000, seed=7), np.random.default_rng(1).permutation(1000)
    parts.write(bits[order], PULSES, order)
    assert np.array_equal(parts.read(PULSES), whole.read(PULSES))
    assert np.array_equal(parts.read(PULSES, order), whole.read(PULSES)[order])
    assert np.array_equal(parts.read(PULSES, slice(3, 200)), whole.read(PULSES)[3:200])


def test_the_seed_decides_everything():
    one, same, other = (Cells(100, seed=s) for s in (8, 8, 9))
    assert np.array_equal(one.lrs, same.lrs)
    assert not np.array_equal(one.lrs, other.lrs)


def test_bytes_a_cell():
    assert Cells(1000).nbytes == 19_000


def test_misuse_is_one_sentence():
    cells = Cells(10)
    for bits in (np.ones(9, dtype=bool), np.ones(11, dtype=bool)):
        with pytest.raises(InvalidValue, match="one truth value a cell"):
            cells.write(bits, PULSES)
    with pytest.raises(InvalidValue, match="the cells are 0 to 9"):
        cells.read(PULSES, np.array([10]))
    with pytest.raises(InvalidValue, match="has a step"):
        cells.read(PULSES, slice(0, 10, 2))
    with pytest.raises(InvalidValue, match="count = 0"):
        Cells(0)
    with pytest.raises(InvalidValue, match="count"):
        Cells(10**12)
    with pytest.raises(InvalidValue, match="seed"):
        Cells(10, seed=-1)
    with pytest.raises(InvalidValue, match="Did you mean 'never'"):
        CellOptions(redraw="nevr")
    with pytest.raises(InvalidValue, match="needs an endurance"):
        CellOptions(worn=0.1, endurance=None)
    for name in ("voltage", "compliance", "threshold"):
        with pytest.raises(InvalidValue, match=name):
            dataclasses.replace(PULSES, **{name: float("nan")})
