"""What stands between source and device, and what is refused."""

import pytest

from memflux.circuit import Circuit
from memflux.errors import InvalidValue


def test_the_default_is_no_circuit():
    assert Circuit().plain
    assert not Circuit(series_resistance=1.0).plain
    assert not Circuit(compliance=1e-6).plain
    assert not Circuit(source="current").plain


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "charge"}, "source = 'charge'"),
        ({"series_resistance": -1.0}, "series_resistance = -1"),
        ({"series_resistance": float("nan")}, "series_resistance"),
        ({"compliance": 0.0}, "compliance = 0"),
        ({"compliance": float("inf")}, "compliance"),
        ({"source": "current", "compliance": -1.0}, "compliance = -1 V"),
        ({"source": "current", "series_resistance": 50.0}, "series_resistance = 50 Ohm does nothing"),
    ],
)
def test_what_no_circuit_can_be_is_refused_by_name(fields, words):
    with pytest.raises(InvalidValue, match=words):
        Circuit(**fields)
