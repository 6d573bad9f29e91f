"""Bands of 95 % around the curves of the shipped surrogates: coverage and width on 2,000 fresh devices.

Calibrated on one independent draw of 2,000 devices, scored on another.
"""

from collections.abc import Iterator

import harness
import published
from harness import Row
from memflux import Surrogate
from memflux.training.band_check import check_bands
from memflux.training.bands import KINDS

COVERAGE = 0.95


def five_parametric(quick: bool) -> Iterator[Row]:
    """bands of 5d-parametric"""
    yield from _rows("5d-parametric", quick)


def nine(quick: bool) -> Iterator[Row]:
    """bands of 9d"""
    yield from _rows("9d", quick)


def _rows(name: str, quick: bool) -> Iterator[Row]:
    fresh = published.fresh(name)
    if quick:
        fresh = published.Curves(fresh.devices[:400], fresh.drive[:400], fresh.traces[:400])
    surrogate = Surrogate.load(name).calibrated(*fresh, COVERAGE)
    assert surrogate.bands is not None
    tests = published.tests(name)
    for kind in KINDS:
        check = check_bands(surrogate.bands, surrogate, *tests, surrogate.inputs, surrogate.spread, kind)
        what, percent = f"{name}, {kind}", 100 * check.covered
        note = f"stated {100 * COVERAGE:g} %"
        yield Row(what=f"{what}: coverage, at least", value=percent, unit="%", bar=93, better="higher", note=note)
        yield Row(what=f"{what}: coverage, at most", value=percent, unit="%", bar=97)
        place = f"decile {check.worst_decile + 1} of {check.worst_parameter}"
        yield Row(
            what=f"{what}: coverage in the worst decile of a parameter",
            value=100 * check.worst,
            unit="%",
            bar=88,
            better="higher",
            note=place,
        )
        note = f"error {100 * check.error:.4f} % of the peak"
        yield Row(what=f"{what}: mean width over mean absolute error", value=check.ratio, unit="1", bar=5, note=note)


if __name__ == "__main__":
    harness.run("surrogate_bands", [five_parametric, nine])
