"""The absolute scale of pulse curves."""

import numpy as np
import pytest

from measured_trains import SETTINGS, made_up
from memflux.errors import InvalidValue
from memflux.pulse_curves import PulseCurves
from memflux.pulse_scale import AbsoluteScale


def test_the_range_of_one_device_grows_as_it_was_made():
    curves = made_up(replicates=20, pulses=200, noise=0.0)
    relative = AbsoluteScale.fit(curves).relative_range(SETTINGS, 1)
    assert relative[1] == 1.0
    np.testing.assert_allclose(relative[[0, 3]], (SETTINGS[[0, 3], 0] / 0.1) ** 0.4, rtol=0.15)


def test_a_known_first_current_says_more():
    curves = made_up(replicates=20)
    scale = AbsoluteScale.fit(curves)
    assert scale.deviation[2] < scale.deviation[1]
    begin, span = scale.at(curves.settings, curves.current[:, 0])
    np.testing.assert_array_equal(begin, curves.current[:, 0])
    assert np.median(np.abs(np.log10(span / np.ptp(curves.current, axis=1)))) < 0.1


def test_round_trip():
    scale = AbsoluteScale.fit(made_up())
    again = AbsoluteScale.from_dict(scale.to_dict())
    np.testing.assert_array_equal(again.at(SETTINGS)[1], scale.at(SETTINGS)[1])


def test_a_scale_needs_positive_currents():
    curves = made_up(replicates=1)
    current = curves.current.copy()
    current[:, 0] = -1e-9
    with pytest.raises(InvalidValue, match="begin with a positive current"):
        AbsoluteScale.fit(PulseCurves(ids=curves.ids, settings=curves.settings, current=current))


@pytest.mark.parametrize("first", [0.0, -1e-6, np.nan])
def test_a_first_current_is_positive(first):
    with pytest.raises(InvalidValue, match="first"):
        AbsoluteScale.fit(made_up()).at(SETTINGS, np.full(5, first))
