"""Pulse programming on measured HfO2/TiO2 memristors: perceptrons, bands, header and controller.

Published: Spetzler et al., APL Mach. Learn. 3, 026103 (2025), doi 10.1063/5.0251113. Recipes were chosen on validation
parts, the controller's constants on devices simulated from the curves of these. "5 x 5-fold" is five-fold
cross-validation five times, dealt by different seeds; in each fold training, validation and test are 3:1:1.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

from harness import Row
from measured_loops import REFERENCE
from memflux.analysis.programming import Comparison, Rules, compare
from memflux.analysis.pulse_devices import DevicePool
from memflux.pulse_curves import PulseCurves
from memflux.training.pulse_folds import folds
from memflux.training.pulse_header import quantise, write_header
from memflux.training.pulse_mlp import ARCHITECTURES
from memflux.training.pulse_model import PulseModel, train_model
from memflux.training.pulse_study import (
    FRACTIONS,
    FoldErrors,
    absolute_errors,
    band_coverage,
    cross_validate,
    learning_curve,
    mean_curve,
    replicate_scatter,
    residuals,
)
from memflux.training.pulse_training import RECIPES

MEASURED = REFERENCE / "measured_hfo2_tio2_pulse"
BARS = {"curves": (0.0078, 0.0012), "settings": (0.0090, 0.0012)}  # pooled MSE, median over curves
OF_ROWS = 0.0065
PUBLISHED = "published 0.006 to 0.008"
A1 = ARCHITECTURES["A1"]


def _curves() -> PulseCurves | None:
    if MEASURED.is_dir():
        return PulseCurves.read(MEASURED)
    sys.stderr.write(f"pulses are left out: there is no {MEASURED}; set MEMFLUX_REFERENCE_DATA.\n")
    return None


def pulse_accuracy(quick: bool) -> Iterator[Row]:
    """pulse A1: errors on curves and settings never seen, beside baselines; bands; amperes"""
    if (curves := _curves()) is None:
        return
    for split, (bar, bar_of_median) in BARS.items():
        parts = folds(curves, split, repetitions=1 if quick else 5)
        fitted, found = cross_validate(curves, parts, A1, RECIPES["summed"])
        error = residuals(fitted, curves)
        valid = FoldErrors.of(error, parts.validation).pooled
        note = f"folds {found.of_fold.min():.4f} to {found.of_fold.max():.4f}, validation parts {valid:.5f}"
        yield Row(what=f"pulse A1, split by {split}: MSE", value=found.pooled, unit="1", bar=bar, note=note)
        what = f"pulse A1, split by {split}: median curve"
        yield Row(what=what, value=found.median, unit="1", bar=bar_of_median)
        base = mean_curve(curves, parts)
        note = f"median curve {base.median:.5f}"
        yield Row(what=f"pulse, split by {split}: MSE of the mean curve", value=base.pooled, unit="1", note=note)
        share = 100 * band_coverage(curves, parts, error)
        yield Row(what=f"pulse A1, split by {split}: test pulses in the 90 % band", value=share, unit="%")
        amperes = absolute_errors(curves, parts, fitted)
        note = f"{100 * amperes.unknown_device:.1f} % without the device's first read current"
        what = f"pulse A1, split by {split}: median mean absolute error in A, of the peak"
        yield Row(what=what, value=100 * amperes.known_first, unit="%", note=note)
    what, note = "pulse: replicate scatter, MSE", "unbiased variance among curves of one setting"
    yield Row(what=what, value=replicate_scatter(curves), unit="1", note=note)


def pulse_rows(quick: bool) -> Iterator[Row]:
    """pulse A1, row split as published: it leaks"""
    if (curves := _curves()) is None:
        return
    parts = folds(curves, "rows", repetitions=1 if quick else 5)
    _, found = cross_validate(curves, parts, A1, RECIPES["summed-rows"])
    note = f"{PUBLISHED}; folds {found.of_fold.min():.4f} to {found.of_fold.max():.4f}; leaks"
    yield Row(what="pulse A1, split by rows: MSE", value=found.pooled, unit="1", bar=OF_ROWS, note=note)


def pulse_published_recipe(quick: bool) -> Iterator[Row]:
    """pulse A1, published recipe: one 5-fold of rows"""
    if quick or (curves := _curves()) is None:
        return
    parts = folds(curves, "rows")
    _, found = cross_validate(curves, parts, A1, RECIPES["published"])
    note = f"{PUBLISHED}; 1,000 epochs of increments; folds {found.of_fold.min():.4f} to {found.of_fold.max():.4f}"
    yield Row(what="pulse A1, published recipe, split by rows: MSE", value=found.pooled, unit="1", note=note)


def pulse_amount(quick: bool) -> Iterator[Row]:
    """pulse A1 to A3: error against amount of data, operations, energy"""
    if (curves := _curves()) is None:
        return
    for name, config in ARCHITECTURES.items():
        note = f"{config.parameters} parameters, {config.operations} operations at 9.3 pJ"
        yield Row(what=f"pulse {name}: energy of an inference", value=1e9 * config.energy(), unit="nJ", note=note)
    chosen = {"A1": A1} if quick else ARCHITECTURES
    for name, config in chosen.items():
        for split in ("rows", "curves"):
            some = (0.01, 1.0) if quick else FRACTIONS
            some = tuple(f for f in some if split == "rows" or f >= 0.03)
            found = learning_curve(curves, folds(curves, split), config, RECIPES["summed"], some)
            note = ", ".join(f"{100 * f:g} %: {errors.pooled:.4f}" for f, errors in found.items())
            what = f"pulse {name}, split by {split}: MSE against the share of the data"
            yield Row(what=what, value=found[1.0].pooled, unit="1", note=note)


def pulse_header(quick: bool) -> Iterator[Row]:
    """pulse int8 header: compiled, beside the perceptron"""
    if (curves := _curves()) is None:
        return
    model = train_model(curves, A1, RECIPES["summed"])
    with tempfile.TemporaryDirectory() as folder:
        written = write_header(model, Path(folder) / "pulses.h")
        compiled = _compiled(model, Path(folder))
    note = f"{written.bytes_of_weights} bytes of weights; mean {written.mean_difference:.5f}; all settings of training"
    what = "pulse A1, int8: largest difference of the scaled current"
    yield Row(what=what, value=written.largest_difference, unit="1", note=note)
    difference = np.abs(compiled - quantise(model).increments(_rows(model))).max()
    yield Row(what="pulse A1, int8: compiled C to NumPy, largest difference", value=difference, unit="1", bar=1e-9)


def pulse_controller(quick: bool) -> Iterator[Row]:
    """pulse controller: write-verify by the model beside the best fixed setting"""
    if (curves := _curves()) is None:
        return
    count, found = 200 if quick else 1000, list[Comparison]()
    for seed in range(1 if quick else 5):
        model = train_model(curves, A1, RECIPES["summed"], seed=seed)
        held = curves.take(np.isin(curves.ids, model.record["test_curves"]))
        targets = np.random.default_rng(seed).uniform(0.05, 0.95, count)
        found.append(compare(DevicePool.bootstrap(held, count, seed), model, targets, Rules(), seed))
    gains = np.array([each.gain for each in found])
    ours, best = (np.mean([getattr(c, n).pulses.mean() for c in found]) for n in ("verified", "fewest_pulses"))
    reached = 100 * np.mean([c.verified.reached.mean() for c in found])
    fixed = 100 * np.mean([c.fewest_pulses.reached.mean() for c in found])
    note = (
        f"{ours:.1f} and {best:.1f} pulses, {reached:.1f} and {fixed:.1f} % reached; "
        f"{len(found)} splits of {count} devices: {gains[:, 0].min():.2f} to {gains[:, 0].max():.2f}"
    )
    what = "pulse controller: times fewer pulses than the best fixed setting"
    yield Row(what=what, value=best / ours, unit="1", bar=2.0, better="higher", note=note)
    note = f"{gains[:, 1].min():.2f} to {gains[:, 1].max():.2f}; missed ones at the largest cost in both"
    what = "pulse controller: times less energy than the best fixed setting"
    yield Row(what=what, value=np.exp(np.log(gains[:, 1]).mean()), unit="1", note=note)
    loop = 100 * np.mean([c.opened.reached.mean() for c in found])
    error = np.sqrt(np.mean([c.opened.summary["rms error"] ** 2 for c in found]))
    note = f"root mean square error {error:.3f} after {np.mean([c.opened.pulses.mean() for c in found]):.1f} pulses"
    yield Row(what="pulse controller, open loop: within 2 %", value=loop, unit="%", note=note)


def _rows(model: PulseModel) -> np.ndarray:
    """Inputs of every increment at every setting of training."""
    number = np.arange(model.pulses - 1, dtype=np.float64)
    return np.column_stack([np.tile(number, len(model.settings)), np.repeat(model.settings, number.size, axis=0)])


def _compiled(model: PulseModel, folder: Path) -> np.ndarray:
    """Increments as the C compiler has them."""
    (folder / "main.c").write_text(
        '#include "pulses.h"\n#include <stdio.h>\nint main(void) { float x[6]; while (scanf("%f %f %f %f %f %f", x, '
        'x + 1, x + 2, x + 3, x + 4, x + 5) == 6) printf("%.9g\\n", pulse_increment(x[0], x[1], x[2], x[3], x[4], '
        "x[5])); return 0; }\n"
    )
    subprocess.run(["cc", "-std=c99", "-O2", "main.c", "-o", "main"], cwd=folder, check=True)
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in _rows(model))
    answer = subprocess.run([folder / "main"], input=text, capture_output=True, text=True, check=True)
    return np.array(answer.stdout.split(), dtype=np.float64)


ROWS = (pulse_accuracy, pulse_rows, pulse_published_recipe, pulse_amount, pulse_header, pulse_controller)
