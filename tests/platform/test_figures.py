import base64

import numpy as np
import pytest

from memflux.platform import figures


@pytest.mark.parametrize(
    ("current", "factor", "unit"),
    [(2e-4, 1e6, "µA"), (3e-9, 1e9, "nA"), (1.5, 1.0, "A"), (0.0, 1.0, "A"), (1e-20, 1e15, "fA")],
)
def test_amperes_get_a_readable_unit(current, factor, unit):
    got, name = figures.ampere_scale(np.array([0.0, -current]))
    assert got == pytest.approx(factor)
    assert name == unit


def test_a_figure_becomes_part_of_a_page_and_is_the_same_twice():
    drawn = [figures.embed(figures.sorted_errors(np.array([0.01, 0.002, 0.03]))) for _ in range(2)]
    head, _, body = drawn[0].partition(",")
    assert head == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(body)[:2000]
    assert drawn[0] == drawn[1]


def test_names_are_what_people_read():
    assert figures.label("mobility_vacancy") == "vacancy mobility"
    assert figures.label("donor_density") == "donor density"
