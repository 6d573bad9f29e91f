"""Compact models of the measured tungsten SDC memristor, beside the published fits, and from the FV model to ngspice.

Published: K. Bednarz, B. Garda, Z. Galias, Neural ODE based modeling of memristive circuits, Tables I and II.
Records: doi 10.3390/en17020467, mean loops, the paper's 14 for the fit and 4 for validation.
"""

import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

import measured_loops
from harness import Row
from memflux import Device, Surrogate
from memflux.analysis.compact_fit import fit_device
from memflux.analysis.loop_fit import LoopFit, fit_loops
from memflux.analysis.memristor_march import march, periodic
from memflux.compact import MODELS, model_class
from memflux.loops import Loops, loop_error
from memflux.netlist import sine_bench, spice

# L_b of validation and of all records: the published values (first version), and the bars
PUBLISHED: Mapping[str, tuple[float, float]] = {"mms": (5.30e-2, 7.24e-2), "gmms": (4.19e-2, 3.58e-2)}
BARS: Mapping[str, tuple[float, float]] = {"mms": (2.7e-2, 3.9e-2), "gmms": (3.3e-2, 3.6e-2)}
EFFORT: Mapping[str, tuple[int, int]] = {  # generations, restarts
    "mms": (80, 2), "gmms": (80, 2), "vteam": (60, 1), "yakopcic": (35, 1), "ion-drift": (60, 1),
}  # fmt: skip
MMS_SECONDS = 60.0  # s; published: 20.4 min
TABLE: Mapping[str, tuple[float, float]] = {  # Table I: L_b of GMMS and MMS
    "0.5V_1Hz": (5.21e-2, 7.86e-2), "0.5V_5Hz": (3.70e-2, 5.59e-2), "0.5V_10Hz": (3.43e-2, 6.44e-2),
    "0.5V_20Hz": (4.24e-2, 7.96e-2), "0.5V_50Hz": (4.71e-2, 8.29e-2), "0.5V_100Hz": (1.18e-1, 2.10e-1),
    "1.0V_1Hz": (1.20e-2, 3.08e-2), "1.0V_5Hz": (1.19e-2, 3.37e-2), "1.0V_10Hz": (1.36e-2, 3.93e-2),
    "1.0V_20Hz": (1.84e-2, 4.43e-2), "1.0V_50Hz": (5.86e-2, 8.91e-2), "1.0V_100Hz": (5.45e-2, 7.45e-2),
    "1.5V_1Hz": (1.77e-2, 9.95e-2), "1.5V_5Hz": (1.73e-2, 7.88e-2), "1.5V_10Hz": (1.56e-2, 5.24e-2),
    "1.5V_20Hz": (1.96e-2, 5.09e-2), "1.5V_50Hz": (1.87e-2, 8.90e-2), "1.5V_100Hz": (5.63e-2, 4.87e-2),
}  # fmt: skip
CELLS = 100  # of a memoryless table
NGSPICE = 1e-3  # of the peak, between ngspice and the march

records = functools.cache(measured_loops.measured)


@functools.cache
def _fitted(key: str, quick: bool) -> LoopFit:
    generations, restarts = (30, 1) if quick else EFFORT[key]
    data = records()
    return fit_loops(model_class(key), data.training, data.validation, generations=generations, restarts=restarts)


def memoryless(quick: bool) -> Iterator[Row]:
    """sdc baselines: tables without memory, single cycles"""
    data = records()
    pooled = [_table(data.training, loops) for loops in (data.validation, data.every)]
    alone = np.concatenate([_table(data.every[k : k + 1], data.every[k : k + 1]) for k in range(len(data.every))])
    note = f"i(v_s) in {CELLS} cells; pooled over the 14 records"
    yield Row(what="sdc, memoryless table: L_b, validation", value=pooled[0].mean(), unit="1", note=note)
    yield Row(what="sdc, memoryless table: L_b, all", value=pooled[1].mean(), unit="1", note=note)
    yield Row(
        what="sdc, a memoryless table a record: L_b, all", value=alone.mean(), unit="1", note="hysteresis is below"
    )
    note = "a single cycle against the mean of its record"
    yield Row(what="sdc, cycle-to-cycle floor: L_b, all", value=data.floor.mean(), unit="1", note=note)


def _table(known: Loops, asked: Loops) -> np.ndarray:
    """L_b of `asked` by the mean current of `known` in cells of the source's voltage."""
    edges = np.linspace(-1.0001, 1.0001, CELLS + 1) * np.abs(known.source).max()
    cells = np.digitize(known.source.ravel(), edges)
    count = np.bincount(cells, minlength=CELLS + 2)
    means = np.bincount(cells, known.current.ravel(), CELLS + 2) / np.maximum(count, 1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    filled = count[1:-1] > 0
    current = np.interp(asked.source, centres[filled], means[1:-1][filled])
    return loop_error(asked.source - asked.series_resistance * current, current, asked)


def compact_models(quick: bool) -> Iterator[Row]:
    """sdc compact models: five fits, their errors and times"""
    for kind in MODELS:
        began = time.perf_counter()
        found = _fitted(kind.KEY, quick)
        seconds = time.perf_counter() - began
        bars = BARS.get(kind.KEY, (None, None))
        values = ", ".join(f"{p.name} {found.model[p.name]:.4g} {p.unit}" for p in kind.parameters())
        ends = f"; at an end of its range: {', '.join(found.at_bounds)}" if found.at_bounds else ""
        unsettled = int((found.periods == 0).sum())
        ends += f"; {unsettled} records without a periodic state" if unsettled else ""
        published = "published {:.3g} / {:.3g} (validation / all); ".format(*PUBLISHED[kind.KEY]) if bars[0] else ""
        for which, bar in zip(("validation", "all"), bars, strict=True):
            note = published + (
                values + ends if which == "validation" else f"fitted records {found.mean_error('training'):.4g}"
            )
            yield Row(
                what=f"sdc, {kind.KEY}: L_b, {which}", value=found.mean_error(which), unit="1", bar=bar, note=note
            )
        note = (
            f"{found.seconds_global:.1f} s global, {found.seconds_local:.1f} s local, {found.evaluations} evaluations"
        )
        note += "; published 20.4 min" if kind.KEY == "mms" else "; published 8.4 min" if kind.KEY == "gmms" else ""
        limit = MMS_SECONDS if kind.KEY == "mms" else None
        yield Row(what=f"sdc, {kind.KEY}: time of the fit", value=seconds, unit="s", bar=limit, note=note)


def each_record(quick: bool) -> Iterator[Row]:
    """sdc records: L_b of GMMS and MMS beside Table I"""
    ours = {key: dict(zip(_fitted(key, quick).names, _fitted(key, quick).errors, strict=True)) for key in PUBLISHED}
    floors = dict(zip(records().every.names, records().floor, strict=True))
    for name, published in TABLE.items():
        held = ", validation" if name in measured_loops.VALIDATION else ""
        note = f"published {published[0]:.3g}; MMS {ours['mms'][name]:.3g}, published {published[1]:.3g}"
        note += f"; floor {floors[name]:.2g}"
        yield Row(what=f"sdc, gmms, {name}{held}: L_b", value=ours["gmms"][name], unit="1", note=note)


def evaluation(quick: bool) -> Iterator[Row]:
    """sdc evaluation: time of all 18 periodic states"""
    every = records().every
    for key in PUBLISHED:
        model = _fitted(key, quick).compact
        seconds = []
        for _ in range(2 if quick else 10):
            began = time.perf_counter()
            periodic(model, every.source, every.frequency, every.series_resistance)
            seconds.append(time.perf_counter() - began)
        note = "median; 1000 steps a period, to the periodic state" + ("; published 0.0536 s" if key == "mms" else "")
        yield Row(what=f"sdc, {key}: all 18 trajectories", value=np.median(seconds), unit="s", note=note)


def in_ngspice(quick: bool) -> Iterator[Row]:
    """sdc export: the fitted models as SPICE, run by ngspice"""
    if shutil.which("ngspice") is None:
        yield Row(
            what="export: models that ngspice ran",
            value=0,
            unit="1",
            bar=len(MODELS),
            better="higher",
            note="no ngspice",
        )
        return
    resistance, frequency, periods = records().every.series_resistance, 5.0, 2
    for kind in MODELS:
        fitted = _fitted(kind.KEY, quick)
        with tempfile.TemporaryDirectory() as folder:
            deck = sine_bench(spice(fitted.compact, fitted.notes()), resistance, 1.0, frequency, float(periods), 20_000)
            (Path(folder) / "deck.cir").write_text(deck)
            subprocess.run(["ngspice", "-b", "deck.cir"], cwd=folder, capture_output=True, timeout=300, check=False)
            theirs, source, device = np.loadtxt(Path(folder) / "found.txt").T
        step = 1.0 / (200_000 * frequency)
        ours = step * np.arange(int(periods / (frequency * step)) + 1)
        mine = march(fitted.compact, np.sin(2 * np.pi * frequency * ours)[None], step, resistance, 0.0).current[0]
        off = np.interp(ours, theirs, (source - device) / resistance) - mine
        root, largest = (float(part) / np.abs(mine).max() for part in (np.sqrt(np.mean(off**2)), np.abs(off).max()))
        note = (
            f"largest {largest:.2g}, which a jump within microseconds makes; 1 V, 5 Hz, two periods from the off state"
        )
        what = f"export, {kind.KEY}: ngspice against our march, rms of the current over its peak"
        yield Row(what=what, value=root, unit="1", bar=NGSPICE, note=note)


def from_device(quick: bool) -> Iterator[Row]:
    """device to circuit: the compact model nearest to a surrogate of the FV model"""
    device, surrogate = Device.preset("seed"), Surrogate.load("9d")
    generations = 5 if quick else 60
    for about, amplitudes, periods in (("wide box", (5.0, 10.0), (4.0, 16.0)), ("narrow box", (8.0, 10.0), (7.0, 9.0))):
        began = time.perf_counter()
        found = fit_device(surrogate, device, amplitudes, periods, points=2, generations=generations)
        box = f"{amplitudes[0]:g} to {amplitudes[1]:g} V, {periods[0]:g} to {periods[1]:g} s"
        others = ", ".join(f"{key} {errors['validation']:.3g}" for key, errors in found.tried.items())
        note = f"{found.fit.model['model']}; {box}; {others}; {time.perf_counter() - began:.1f} s"
        value = found.fit.mean_error("validation")
        yield Row(what=f"device to circuit, {about}: held-out L_b", value=value, unit="1", note=note)


ROWS = (memoryless, compact_models, each_record, evaluation, in_ngspice, from_device)
