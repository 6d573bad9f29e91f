"""Errors of the spectral surrogates of the published spaces, on 2,000 fresh devices each.

nMAE in amperes, with the published one (on scaled currents) beside. The floor is the part of the
solver's curve that is not smooth in the device: what no smooth model can learn.
"""

import time
from collections.abc import Iterator

import numpy as np

import harness
import published
from harness import Measurement, Row
from memflux import Solver, Space, Surrogate
from memflux.metrics import nmae
from memflux.training.evaluate import Evaluation, evaluate, felt

# space: curves, bar of the mean [%], published mean of the scaled error [%]
SPACES = {
    "2d": (10_000, 0.05, 0.4),
    "4d": (10_000, 0.06, 0.4),
    "5d": (20_000, 0.07, 0.4),
    "7d": (20_000, 0.10, 0.7),
    "9d": (20_000, 0.12, 0.9),
}
MEDIAN_PUBLISHED = 0.3  # %, of the scaled error
FELT = {"on_off_ratio": "abs(dR)", "symmetry": "abs(dS)", "log10_peak": "abs(dlog10 peak)"}  # as the rows name them


def five_parametric(quick: bool) -> Iterator[Row]:
    """spectral, 5D-parametric, 4,000 curves"""
    count = 400 if quick else 4000
    published.dataset("5d-parametric", count)
    published.tests("5d-parametric")
    began = time.perf_counter()
    surrogate = published.trained("5d-parametric", count)
    seconds = surrogate.record["seconds"]
    result = _evaluation(surrogate, "5d-parametric")
    error = 100 * result.nmae
    name = f"spectral, 5D-parametric, {count} curves"
    note = f"scaled {_scaled(result)}; {result.rows.size} devices; {time.perf_counter() - began:.0f} s with the test"
    yield Row(what=f"{name}: mean nMAE", value=error.mean(), unit="%", bar=0.08, note=note)
    yield Row(what=f"{name}: 99th percentile", value=np.percentile(error, 99), unit="%", bar=0.6)
    yield Row(what=f"{name}: training", value=seconds / 60, unit="min", bar=5.0, note="one thread")
    yield from _floor("5d-parametric", 8 if quick else 40)


def of_space(name: str) -> Measurement:
    """The measurement of one space, so that --only finds each."""
    count, bar, beside = SPACES[name]

    def measure(quick: bool) -> Iterator[Row]:
        yield from _space(name, 400 if quick else count, bar, beside)

    measure.__doc__ = f"spectral, {name}, {count} curves"
    return measure


def _space(name: str, count: int, bar: float, beside: float) -> Iterator[Row]:
    surrogate = published.trained(name, count)
    result = _evaluation(surrogate, name)
    error = 100 * result.nmae
    note = f"scaled {_scaled(result)}, published {beside} %; 99 % {np.percentile(error, 99):.3f} %"
    yield Row(what=f"spectral, {name}, {count} curves: mean nMAE", value=error.mean(), unit="%", bar=bar, note=note)
    yield Row(
        what=f"spectral, {name}, {count} curves: median nMAE",
        value=float(np.median(error)),
        unit="%",
        bar=MEDIAN_PUBLISHED / 2,
        note=f"half of the published {MEDIAN_PUBLISHED} %",
    )
    if name == "9d":
        yield from _felt(surrogate)


def _felt(surrogate: Surrogate) -> Iterator[Row]:
    """What designs feel: errors of on-off ratio, symmetry and peak."""
    devices, drive, traces = published.tests("9d")
    errors = felt(surrogate(devices, drive), traces).to_dict()
    for name, short in FELT.items():
        far = errors[name]["p99"]
        assert far is not None  # the drives of this space reach 5 V
        yield Row(what=f"9d, 99th percentile of {short}", value=far, unit="1", bar=0.01)


def _floor(name: str, count: int) -> Iterator[Row]:
    """Second difference of the curve over a step of 1e-5 of each parameter's range, all moved at once."""
    space, step = Space.preset(name), 1e-5
    unit = np.random.default_rng(0).uniform(0.1, 0.9, (count, len(space.names)))
    solve = Solver(engine="compiled")
    low, middle, high = (solve(*space.build(unit + k * step)).current for k in (-1, 0, 1))
    noise = nmae(0.5 * (low + high), middle)
    yield Row(what=f"floor of {name}: not smooth in the device", value=100 * noise.mean(), unit="%", note="mean nMAE")


def _evaluation(surrogate: Surrogate, name: str) -> Evaluation:
    return evaluate(surrogate, *published.tests(name), surrogate.published)


def _scaled(result: Evaluation) -> str:
    assert result.nmae_scaled is not None
    return f"{100 * result.nmae_scaled.mean():.3f} %"


if __name__ == "__main__":
    harness.run("surrogate_accuracy", [five_parametric, *map(of_space, SPACES)])
