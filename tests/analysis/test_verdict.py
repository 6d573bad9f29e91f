"""Sentences say what the numbers do."""

import numpy as np

from memflux.analysis import verdict

NAMES = ("a", "b", "c")


def test_widths_make_three_groups():
    said = verdict.widths(NAMES, np.array([0.05, 0.9, 0.3]))
    assert said == (
        "The sweep determines a (± 0.014 of its range).",
        "The sweep constrains c (± 0.087 of its range).",
        "The sweep does not determine b (± 0.26 of its range).",
    )


def test_ties_are_named_once_and_only_where_they_matter():
    correlation = np.array([[1.0, 0.95, -0.99], [0.95, 1.0, 0.5], [-0.99, 0.5, 1.0]])
    information, directions = np.array([0.5, 4.0, 1e4]), np.eye(3)
    said = verdict.combinations(NAMES, correlation, np.array([0.5, 0.5, 0.5]), information, directions)
    assert said[0] == "a, b and c are known in combination alone (correlation of magnitude 0.50 to 0.99)."
    assert said[1] == "Known best: 1.00 c (± 0.01, in parts of the ranges)."
    assert said[2] == "Known least: 1.00 a (unknown, in parts of the ranges)."
    narrow = verdict.combinations(NAMES, correlation, np.full(3, 0.05), information, directions)
    assert not any("in combination alone" in sentence for sentence in narrow)


def test_misfit_and_missing_bands():
    assert verdict.misfit(1.0, 1.0, band=True) == ()
    said = verdict.misfit(9.0, 3.0, band=False)
    assert "3 times as large" in said[0]
    assert "no calibrated band" in said[1]


def test_other_devices_count_where_they_are_apart():
    best = np.array([0.5, 0.5])
    assert verdict.others(np.array([[0.51, 0.5]]), best) == ()
    assert verdict.others(np.zeros((0, 2)), best) == ()
    assert verdict.others(np.array([[0.9, 0.5]]), best)[0].startswith("1 other end of the fit")
    assert verdict.others(np.array([[0.9, 0.5], [0.1, 0.5]]), best)[0].startswith("2 other ends")


def test_the_next_sweep():
    drive = {"amplitude": 2.0, "period": 1.0}
    said = verdict.further(NAMES, np.array([0.05, 1.0, 0.2]), drive, np.array([0.05, 0.1, 0.1]))
    assert said == (
        "A further sweep with amplitude 2 and period 1 would narrow b from ± 0.29 to ± 0.029, "
        "c from ± 0.058 to ± 0.029 of the range.",
    )
    assert "No further sweep" in verdict.further(NAMES, np.full(3, 0.05), drive, np.full(3, 0.01))[0]


def test_short_chains():
    assert verdict.chain(400, 20.0, 10.0) == ()
    assert "ask for more steps" in verdict.chain(100, 20.0, 10.0)[0]
