"""Designs: evenly spread at every size, and any share of one can be made alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import qmc

from memflux.designs import BITS, DESIGNS, INDEX_BITS, at, owen, sample, van_der_corput
from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.space import Parameter, Space

SPREAD = ("sobol", "latin-hypercube")


def points(design: str, count: int, seed: int = 0, first: int = 0, preset: str = "9d") -> np.ndarray:
    """Coordinates in the unit cube [B, P]."""
    space = Space.preset(preset)
    return space.coordinates(*sample(space, design, count, seed, first))


def cells(unit: np.ndarray, each: int) -> np.ndarray:
    """The number of the interval, of `each` equal ones, that each coordinate lies in."""
    return np.clip(np.floor(unit * each + 1e-9), 0, each - 1).astype(int)


@pytest.mark.parametrize("design", DESIGNS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**63 - 1), first=st.integers(0, 2**20), count=st.integers(0, 40), cut=st.integers(0, 40))
def test_any_share_is_part_of_the_whole(design, seed, first, count, cut):
    space = Space.preset("16d")
    whole, drive = sample(space, design, count, seed, first)
    skip = min(cut, count)
    share, share_drive = sample(space, design, count - skip, seed, first + skip)
    for name, column in share.columns().items():
        np.testing.assert_array_equal(column, getattr(whole, name)[skip:])
    np.testing.assert_array_equal(share_drive.period, drive.period[skip:])


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("preset", ["5d-parametric", "16d"])
def test_a_sample_is_a_prefix_of_a_larger_one(design, preset):
    np.testing.assert_array_equal(points(design, 20, preset=preset), points(design, 77, preset=preset)[:20])


@pytest.mark.parametrize("design", DESIGNS)
def test_devices_far_out_can_be_drawn(design):
    first = 10**6 if design == "sobol" else 10**12
    unit = points(design, 3, first=first)
    np.testing.assert_array_equal(unit[1:], points(design, 2, first=first + 1))
    assert len(np.unique(unit)) == unit.size


def test_the_published_design_is_that_of_the_space():
    space = Space.preset("9d")
    devices, _ = sample(space, "published", 10, 3, 5)
    same, _ = space.sample(10, 3, 5)
    np.testing.assert_array_equal(devices.barrier_left, same.barrier_left)


@pytest.mark.parametrize(
    ("design", "barriers"),
    [
        ("published", [0.16253525352535256, 0.11096609660966097]),
        ("sobol", [0.09283452336316614, 0.1627774309790801]),
        ("latin-hypercube", [0.10074169114009136, 0.1545967659729206]),
    ],
)
def test_draws_are_those_of_every_earlier_version(design, barriers):
    """Data sets grow over years: a change here would mix two designs in one folder."""
    devices, _ = sample(Space.preset("5d-parametric"), design, 2, seed=7, first=1000)
    np.testing.assert_allclose(devices.barrier_left, barriers, rtol=1e-14)


@pytest.mark.parametrize("design", SPREAD)
@pytest.mark.parametrize("power", [0, 1, 2, 3, 6, 9])
def test_every_aligned_block_is_a_latin_hypercube(design, power):
    size = 2**power
    unit = points(design, 1024, seed=7, first=2048)
    for start in range(0, 1024, size):
        strata = np.sort(cells(unit[start : start + size], size), axis=0)
        np.testing.assert_array_equal(strata, np.repeat(np.arange(size)[:, None], 9, axis=1))


@pytest.mark.parametrize("design", DESIGNS)
def test_pairs_of_parameters_are_independent(design):
    unit = points(design, 4096, seed=1)
    correlation = np.corrcoef(unit.T) - np.eye(9)
    assert np.abs(correlation).max() < 5.0 / np.sqrt(4096)
    two = cells(unit, 16)
    for a in range(9):
        for b in range(a):
            seen = np.bincount(16 * two[:, a] + two[:, b], minlength=256)
            # 256 cells of 16 points each: spread more evenly than chance, or as chance has it, never less
            assert stats.chisquare(seen).pvalue > 1e-5


def test_pairs_of_a_latin_hypercube_have_no_hidden_structure():
    """Over many keys, the cell that a point has in one parameter says nothing about its cell in another."""
    keys = np.random.default_rng(0).integers(0, 2**63, (2, 4000)).astype(np.uint64)
    index = np.arange(8, 12, dtype=np.uint64)[:, None]
    points = owen(van_der_corput(owen(index, keys[0], INDEX_BITS)), keys[1], BITS)
    cell = (points >> np.uint64(BITS - 2)).astype(int)  # [4 points, 4000 parameters], four cells each
    orders = np.unique(cell, axis=1, return_counts=True)[1]
    # 24 orders of four cells; 16 of them keep pairs of neighbours in different halves, all equally likely
    assert len(orders) == 16
    assert stats.chisquare(orders).pvalue > 1e-3
    table = np.bincount((4 * cell[:, :2000] + cell[:, 2000:]).ravel(), minlength=16)
    assert stats.chisquare(table).pvalue > 1e-3


@pytest.mark.parametrize(("design", "bar"), [("latin-hypercube", 0.9), ("sobol", 0.3)])
def test_discrepancy_is_below_that_of_independent_draws(design, bar):
    random = np.random.default_rng(0)
    chance = np.mean([qmc.discrepancy(random.random((512, 2))) for _ in range(8)])
    ours = np.mean([qmc.discrepancy(np.clip(points(design, 512, seed=s)[:, 2:4], 0, 1)) for s in range(8)])
    assert ours < bar * chance


@pytest.mark.parametrize("design", SPREAD)
def test_a_smooth_mean_is_found_with_fewer_points(design):
    """The mean of a sum of squares: additive, so that a Latin hypercube has a smaller error as well."""
    errors = [np.mean((points(design, 256, seed=s) ** 2).sum(axis=1)) - 3.0 for s in range(20)]
    independent = np.sqrt(9 * 4 / 45 / 256)
    assert np.sqrt(np.mean(np.square(errors))) < 0.05 * independent


@pytest.mark.parametrize("design", DESIGNS)
def test_seeds_and_spaces_differ(design):
    first, second = points(design, 64, seed=0), points(design, 64, seed=1)
    assert (np.std(first - second, axis=0) > 0.1).all()  # no constant shift of the one gives the other
    assert not np.allclose(first[:, :2], points(design, 64, seed=0, preset="2d"))
    assert len({tuple(points(d, 1)[0]) for d in DESIGNS}) == 3


@pytest.mark.parametrize("design", SPREAD)
def test_coordinates_reach_from_zero_to_just_below_one(design):
    parameter = Parameter(name="electron_affinity", low=0.0, high=1.0)  # eV, so that the value is the coordinate
    space = Space(name="unit", parameters=(parameter,), device=Device())
    unit = sample(space, design, 4096, seed=2)[0].electron_affinity
    assert unit.min() >= 0.0
    assert unit.max() < 1.0
    assert stats.kstest(unit, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("design", DESIGNS)
def test_the_rule_holds_in_every_design(design):
    space = Space.preset("16d")
    devices, drive = sample(space, design, 300, seed=0)
    assert space.contains(devices, drive).all()
    free, _ = sample(Space.preset("16d-raw"), design, 300, seed=0)
    assert 0.3 < np.mean(np.maximum(free.barrier_left, free.vacancy_offset) < free.band_gap) < 0.8


@pytest.mark.parametrize("design", DESIGNS)
def test_a_rule_that_nothing_keeps_is_given_up(design, monkeypatch):
    monkeypatch.setattr("memflux.space.ATTEMPTS", 20)
    length = Parameter(name="length", low=1e-6, high=2e-6)
    space = Space(name="none", parameters=(length,), device=Device(band_gap=0.2), rule="within_gap")
    with pytest.raises(InvalidValue, match="3 of 3 draws broke the rule 'within_gap' 20 times; widen the space"):
        sample(space, design, 3, seed=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sobel", 1, 0), "design = 'sobel' is not known; choose one of published, sobol, latin-hypercube. Did you"),
        (("sobol", -1, 0), "count = -1 is out of range"),
        (("sobol", 1, 0, 2**32), "first = 4294967296 is out of range; give a whole number from 0 to 4294967295"),
        (("latin-hypercube", 1, -1), "seed = -1 is out of range"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        sample(Space.preset("2d"), *arguments)


@pytest.mark.parametrize("design", DESIGNS)
def test_draws_can_be_had_by_their_indices(design):
    space = Space.preset("5d")
    devices, drive = sample(space, design, 40, 7)
    index = np.array([31, 8, 30])
    some, wave = at(space, design, index, 7)
    np.testing.assert_array_equal(space.coordinates(some, wave), space.coordinates(devices[index], drive[index]))
