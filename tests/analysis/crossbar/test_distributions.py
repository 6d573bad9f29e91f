import json

import numpy as np
import pytest

from memflux.analysis.crossbar.distributions import PRINTED, SCRIPT, Distributions, Rates, read_distributions
from memflux.errors import DataError, InvalidValue

FLAT = {"set_mu": 0.2, "set_sigma": 0.7, "reset_mu": 0.0, "reset_sigma": 0.8}


def test_rates_that_the_printed_distributions_imply():
    assert PRINTED.set_fails(5.0) == pytest.approx(0.035, abs=5e-4)
    assert PRINTED.reset_fails(-5.0) == pytest.approx(0.022, abs=5e-4)
    assert PRINTED.lrs_above(10e3) == pytest.approx(0.0023, abs=1e-4)
    assert PRINTED.hrs_below(10e3) == pytest.approx(0.0039, abs=1e-4)


def test_the_script_sets_every_cell_at_5_volts():
    assert SCRIPT.set_fails(5.0) < 1e-11
    assert SCRIPT.reset_fails(5.0) == pytest.approx(PRINTED.reset_fails(5.0), rel=0.1)


def test_without_spread_every_cell_is_the_same():
    cells = Distributions(set_mu=0.0, set_sigma=0.0, reset_mu=0.0, reset_sigma=0.0)
    assert cells.set_fails(0.99) == 1.0
    assert cells.set_fails(1.01) == 0.0
    assert cells.set_fails(0.0) == 1.0


def test_more_attempts_help_only_where_something_is_redrawn():
    once = Rates.implied(PRINTED, voltage=5.0, threshold=1e4)
    again = Rates.implied(PRINTED, voltage=5.0, threshold=1e4, attempts=5)
    redrawn = Rates.implied(PRINTED, voltage=5.0, threshold=1e4, attempts=5, redrawn=True)
    assert again == once
    assert PRINTED.set_fails(5.0) < redrawn.ones < once.ones
    assert redrawn.zeros < 0.1 * once.zeros


def test_dead_cells_hold_the_bit_that_they_are():
    rates = Rates.implied(PRINTED, voltage=5.0, threshold=1e4, working=0.0, shorted=0.25)
    assert (rates.ones, rates.zeros) == pytest.approx((0.75, 0.25))


def test_from_a_flat_file(tmp_path):
    path = tmp_path / "cells.json"
    path.write_text(json.dumps(FLAT))
    assert read_distributions(path) == Distributions(**FLAT)


def test_the_numbers_in_the_source_are_those_of_the_collection(reference_data):
    path = reference_data / "reram_statistics" / "device_distributions.json"
    assert read_distributions(path, "printed") == PRINTED
    assert read_distributions(path, "script") == SCRIPT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[1]", "no JSON object"),
        ("{}", "give an object with set_mu"),
        (json.dumps(FLAT | {"colour": 1}), "give an object with"),
        (json.dumps(FLAT | {"set_sigma": -1}), "set_sigma = -1 is out of range"),
        (json.dumps(FLAT | {"set_mu": "a"}), "not a number"),
        (json.dumps(FLAT | {"set_mu": 10**400}), "give an object with"),
        ('{"repository_script": {}}', "does not hold the distributions"),
        ('{"repository_script": 3, "paper": 4}', "does not hold the distributions"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, text, words):
    path = tmp_path / "cells.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_distributions(path)


def test_a_missing_file_and_an_unknown_variant(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_distributions(tmp_path / "none.json")
    with pytest.raises(InvalidValue, match="Did you mean 'printed'"):
        read_distributions(tmp_path / "none.json", "print")


def test_numbers_have_to_be_finite():
    with pytest.raises(InvalidValue, match="not finite"):
        Distributions(set_mu=np.nan, set_sigma=1.0, reset_mu=0.0, reset_sigma=1.0)
