import numpy as np
import pytest

from memflux.analysis.points import Section, spread
from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.space import Parameter, Space


def test_points_are_even_seeded_and_inside():
    space = Space.preset("5d")
    unit = spread(space, 64, seed=0)
    assert unit.shape == (64, 5)
    assert (np.histogram(unit[:, 2], bins=8, range=(0, 1))[0] == 8).all()
    np.testing.assert_array_equal(unit, spread(space, 64, seed=0))
    assert not np.array_equal(unit, spread(space, 64, seed=1))


def test_the_rule_of_the_space_is_kept():
    space = Space.preset("16d")
    unit = spread(space, 100, seed=3)
    assert len(unit) == 100
    assert space.allowed(unit).all()


def test_an_impossible_rule_is_an_error():
    space = Space(
        name="none",
        parameters=(Parameter(name="barrier_left", low=2.0, high=3.0),),
        device=Device(),
        rule="within_gap",
    )
    with pytest.raises(InvalidValue, match="allows almost no point"):
        spread(space, 4, seed=0)


def test_held_points_are_where_their_values_are():
    space = Space.preset("5d-parametric")
    point = Section.of(space, {"mobility_vacancy": 1e-14, "barrier_left": 0.05}).base
    values = space.values(point[None])[0]
    assert values[space.names.index("mobility_vacancy")] == pytest.approx(1e-14)
    assert point[space.names.index("barrier_left")] == 0.0
    assert point[space.names.index("barrier_right")] == 0.5
    with pytest.raises(InvalidValue, match="barrier_left = 1 eV"):
        Section.of(space, {"barrier_left": 1.0})
    with pytest.raises(InvalidValue, match="'barrier' is not a parameter of the space"):
        Section.of(space, {"barrier": 1.0})
