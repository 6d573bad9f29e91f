"""Crossbars of measured ReRAM cells: three ways to write them, faults, speed, and lines solved exactly.

Cells and bitmaps: Marraccini et al., Nanoscale (2025), doi 10.1039/d5nr02690c.
"""

import dataclasses
import os
import sys
import time
import tracemalloc
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mpmath
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from harness import Row
from measured_loops import REFERENCE
from memflux.analysis.crossbar.analogue import against_imperfections
from memflux.analysis.crossbar.arrays import ARMS, ArraysResult, fill_arrays, stored_network
from memflux.analysis.crossbar.bitmaps import Images, digits_8x8, read_bitmaps
from memflux.analysis.crossbar.cells import CellOptions, Cells, Pulses
from memflux.analysis.crossbar.distributions import PRINTED, SCRIPT
from memflux.analysis.crossbar.faults import against_faults
from memflux.analysis.crossbar.lines import LineNetwork, Lines
from memflux.analysis.crossbar.networks import Quantised, Training, train, train_quantised

BITMAPS = REFERENCE / "reram_statistics" / "digits_5x4.csv"
DEVIATIONS = 4.0  # of a binomial count, between what is measured and what is implied
STARTS = 8
WIRED = 256  # rows and columns


def crossbar_arms(quick: bool) -> Iterator[Row]:
    """crossbar digits: 5x4 digits at 3 bits, three arms"""
    if (images := _bitmaps()) is None:
        return
    arrays = 20 if quick else 100
    _, quantised = train_quantised(images.inputs, images.labels, Training(), 3, starts=STARTS)
    found = {name: fill_arrays(quantised, images, arm, arrays=arrays) for name, arm in ARMS.items()}
    for name, result in found.items():
        yield from _of_arm(name, result, bar=0.99 if name == "spares" else None)
    yield from _rates("as-published", found["as-published"])
    yield from _rates("write-verify", found["write-verify"])
    script = fill_arrays(quantised, images, ARMS["as-published"], distributions=SCRIPT, arrays=arrays)
    yield from _of_arm("as-published, V_SET as the script draws it", script)
    _, rounded = train_quantised(images.inputs, images.labels, Training(), 3, rounding="nearest", starts=STARTS)
    result = fill_arrays(rounded, images, ARMS["spares"], arrays=arrays)
    yield from _of_arm("spares, weights rounded to the nearest", result)
    yield from _by_place(quantised, images, arrays)
    yield from _yields(quantised, images, arrays)
    yield from _rewritten(quantised, images, 5 if quick else 20)


def crossbar_depth(quick: bool) -> Iterator[Row]:
    """crossbar depth: 5x4 digits, 10-10 and 20-20-10 from 2 to 8 bits"""
    if (images := _bitmaps()) is None:
        return
    for hidden in ((10,), (20, 20)):
        name = "-".join(str(n) for n in (*hidden, 10))
        told = {}
        for bits in (3, 8) if quick else (2, 3, 4, 6, 8):
            training = Training(hidden=hidden, epochs=1500 if hidden == (10,) else 600)
            _, quantised = train_quantised(images.inputs, images.labels, training, bits, starts=2 if quick else STARTS)
            told[bits] = quantised.network().accuracy(images.inputs, images.labels)
        note = ", ".join(f"{bits} bits {100 * share:.0f} %" for bits, share in told.items())
        what = f"crossbar digits, {name}: told at 8 bits, faultless cells"
        yield Row(what=what, value=100 * told[8], unit="%", bar=100.0, better="higher", note=note)


def crossbar_faults(quick: bool) -> Iterator[Row]:
    """crossbar faults: 8x8 digits against bits, flips, stuck cells and write failures"""
    rest, tests = digits_8x8()
    network = train(rest.inputs, rest.labels, Training(hidden=(32,), epochs=50 if quick else 200), seed=0)
    found = against_faults(network, tests, arrays=2 if quick else 10)
    yield Row(what="crossbar 8x8: in floating point", value=100 * found.float_accuracy, unit="%", note="64-32-10")
    cells, cured = f"4 bits, {found.arrays} arrays of measured cells", "everything else cured"
    yield from _sweep("bits, cut towards zero as published", found.widths, found.truncated, 4)
    yield from _sweep("bits, rounded", found.widths, found.rounded, 4)
    yield from _sweep("flipped pixels of 64", found.pixels, found.flips, 2, "4 bits")
    yield from _sweep("share stuck in the LRS", found.stuck, found.stuck_accuracy, 0.01, f"{cells}, {cured}")
    yield from _sweep("share of cells that work", found.working, found.working_accuracy, 0.4, f"{cells}, {cured}")
    failing = ", ".join(f"{100 * p:.1f}" for p in found.unset)
    weak = f"{cells}, one pulse; P(V_SET > V) {failing} %"
    yield from _sweep("write pulse in V", found.voltages, found.voltage_accuracy, 5.0, weak)
    analogue = against_imperfections(network, tests, arrays=2 if quick else 5)
    yield from _sweep("analogue, levels of a cell", analogue.levels, analogue.by_level, 8)
    spread = "the deviation of the measured LRS is 1.041"
    yield from _sweep("analogue, deviation of ln G", analogue.spreads, analogue.by_spread, 0.3, spread)
    yield from _sweep(
        "analogue, ohm a segment", analogue.ohms, analogue.by_ohms, 1.0, "differential pairs, 65 x 64 and 33 x 20"
    )


def _sweep(what: str, places: np.ndarray, values: np.ndarray, shown: float, note: str = "") -> Iterator[Row]:
    """One row for a sweep: the value at one place, all of them in the note."""
    told = ", ".join(f"{place:g}: {100 * value:.1f}" for place, value in zip(places, values, strict=True))
    value = float(100 * values[np.flatnonzero(places == shown)[0]])
    yield Row(what=f"crossbar 8x8, {what}: at {shown:g}", value=value, unit="%", note=f"{told}; {note}".strip("; "))


def crossbar_speed(quick: bool) -> Iterator[Row]:
    """crossbar speed: 10^6 cells made, written and read; memory at 10^7"""
    bits = np.random.default_rng(0).random(10**6) < 0.5
    seconds, made = [], []
    for trial in range(3):
        began = time.perf_counter()
        cells = Cells(bits.size, options=CellOptions(redraw="resistance"), seed=trial)
        made.append(time.perf_counter() - began)
        began = time.perf_counter()
        cells.write(bits, Pulses())
        cells.read(Pulses())
        seconds.append(time.perf_counter() - began)
    note = f"one core, best of 3; making them takes another {min(made):.3f} s"
    yield Row(what="crossbar speed: 10^6 cells written and read", value=min(seconds), unit="s", bar=1.0, note=note)
    count = 10**6 if quick else 10**7
    many = np.zeros(count, dtype=bool)
    many[::2] = True
    tracemalloc.start()
    began = time.perf_counter()
    cells = Cells(count, seed=0)
    cells.write(many, Pulses())
    cells.read(Pulses())
    took, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    note = f"{count:g} cells made, written and read in {took:.2f} s; the cells are 19 bytes, the bits that are read 1"
    yield Row(what="crossbar memory: peak a cell", value=peak / count, unit="byte", bar=22.0, note=note)


def crossbar_lines(quick: bool) -> Iterator[Row]:
    """crossbar lines: Kirchhoff's equations of an array with line resistance"""
    size = 64 if quick else WIRED
    conductances, voltages, lines = _wired(size)
    began = time.perf_counter()
    network = LineNetwork(conductances, lines)
    solution = network.solve(voltages[None])
    seconds = time.perf_counter() - began
    what = f"crossbar lines, {size}x{size}"
    note = f"{2 * size**2} unknowns, factorised, solved, refined and bounded; 1 ohm a segment, half of the cells set"
    yield Row(what=f"{what}: time", value=seconds, unit="s", note=note)
    note = "proven: A y >= |residual| for an M-matrix; share of the largest potential"
    yield Row(
        what=f"{what}: bound of the error of every potential", value=solution.bound[0], unit="1", bar=1e-10, note=note
    )
    note = "proven; share of the largest current"
    yield Row(
        what=f"{what}: bound of the error of currents", value=solution.current_bound[0], unit="1", bar=1e-10, note=note
    )
    potential = np.concatenate([solution.rows[0].ravel(), solution.columns[0].ravel()])
    other = _by_incidence(conductances, lines, voltages)
    note = "assembled from an incidence matrix, another order of elimination, refined in extended precision"
    apart = np.abs(other / potential - 1).max()
    yield Row(what=f"{what}: from an independent solution", value=apart, unit="1", bar=1e-10, note=note)
    lost = abs(solution.currents.sum() / solution.sources.sum() - 1)
    yield Row(what=f"{what}: current that is lost", value=lost, unit="1", bar=1e-10, note="sources against columns")
    kept = solution.currents[0] / (voltages @ conductances)
    note = f"in the mean over columns; {kept.min():.2g} to {kept.max():.2g}"
    yield Row(what=f"{what}: current left of the dot product", value=kept.mean(), unit="1", note=note)
    yield from _against_dense()


def _against_dense() -> Iterator[Row]:
    """Arrays that dense elimination with 40 digits can do."""
    worst = 0.0
    for ohms in (1e-2, 1.0, 100.0):
        conductances, voltages, _ = _wired(7)
        lines = Lines(row=ohms, column=ohms)
        found = LineNetwork(conductances, lines).solve(voltages[None]).currents[0]
        with mpmath.workdps(40):
            incidence, edges, source = _edges(conductances, lines, voltages)
            dense = incidence.toarray()
            weighted = mpmath.matrix(dense.T.tolist()) * mpmath.diag([mpmath.mpf(g) for g in edges])
            matrix = weighted * mpmath.matrix(dense.tolist())
            potential = mpmath.lu_solve(matrix, weighted * mpmath.matrix([mpmath.mpf(v) for v in source]))
            exact = np.array([float(potential[k] * mpmath.mpf(1 / ohms)) for k in range(2 * 49 - 7, 2 * 49)])
        worst = max(worst, np.abs(found / exact - 1).max())
    note = "dense elimination with 40 digits; 0.01, 1 and 100 ohm a segment"
    yield Row(what="crossbar lines, 7x7: error of each current", value=worst, unit="1", bar=1e-10, note=note)


def _of_arm(name: str, result: ArraysResult, bar: float | None = None) -> Iterator[Row]:
    arrays = result.accuracy.size
    accuracy = (
        f"accuracy {100 * result.accuracy.mean():.1f} % in the mean, {100 * result.accuracy.min():.0f} % in the worst"
    )
    note = f"of {arrays}; {accuracy}; {result.cells} cells, {result.spares_used.mean():.1f} spares used"
    share = result.flawless / arrays
    yield Row(what=f"crossbar digits, {name}: arrays that tell all ten", value=100 * share, unit="%",
              bar=None if bar is None else 100 * bar, better="higher", note=note)  # fmt: skip
    assert result.flips is not None
    assert result.flip_map is not None
    assert result.ideal_flips is not None
    always, never = (result.flip_map == 1.0).sum(), (result.flip_map == 0.0).sum()
    note = (
        f"of 200 flips {always} told in every array, {never} in none; "
        f"faultless cells tell {200 * result.ideal_flips:.0f}; "
        f"{result.flips_ambiguous} are another digit's bitmap"
    )
    yield Row(
        what=f"crossbar digits, {name}: single-pixel flips told", value=100 * result.flips.mean(), unit="%", note=note
    )


def _rates(name: str, result: ArraysResult) -> Iterator[Row]:
    for kind, count, wrong, implied in (
        ("ones", result.ones, result.ones_wrong, result.ones_implied),
        ("zeros", result.zeros, result.zeros_wrong, result.zeros_implied),
    ):
        assert implied is not None
        apart = abs(wrong - implied) / np.sqrt(implied * (1 - implied) / count)
        note = f"{100 * wrong:.3f} % of {count} read back wrong, the distributions imply {100 * implied:.3f} %"
        what = f"crossbar digits, {name}: {kind}, measured from implied"
        yield Row(what=what, value=apart, unit="deviations", bar=DEVIATIONS, note=note)


def _by_place(quantised: Quantised, images: Images, arrays: int) -> Iterator[Row]:
    """Which of the wrong bits do the harm: those of the sign, or the others."""
    right = quantised.to_bits().reshape(-1, quantised.bits)
    for what, cured in (("sign bits", slice(1, None)), ("other bits", slice(0, 1))):
        accuracy = []
        for array in range(arrays):
            found, _ = stored_network(quantised, ARMS["as-published"], seed=array)
            bits = found.to_bits().reshape(right.shape)
            bits[:, cured] = right[:, cured]
            network = quantised.with_bits(bits.ravel()).network()
            accuracy.append(network.accuracy(images.inputs, images.labels))
        what = f"crossbar digits, as-published, wrong {what} alone: accuracy"
        yield Row(what=what, value=100 * float(np.mean(accuracy)), unit="%", note=f"mean of {arrays} arrays")


def _yields(quantised: Quantised, images: Images, arrays: int) -> Iterator[Row]:
    """What a yield of 40 % does to an array of cells that nobody tested."""
    for spares in (0.05, 0.5, 1.0):
        arm = ARMS["spares"]
        options = dataclasses.replace(arm.options, working=0.4)
        arm = dataclasses.replace(arm, options=options, writing=dataclasses.replace(arm.writing, spares=spares))
        result = fill_arrays(quantised, images, arm, arrays=arrays, flips=False)
        used = f"{result.spares_used.mean():.0f} spares used of {result.cells} cells"
        note = f"accuracy {100 * result.accuracy.mean():.1f} %; {used}"
        what = f"crossbar digits, yield 40 %, {100 * spares:.0f} % spares: arrays that tell all ten"
        yield Row(what=what, value=100 * result.flawless / arrays, unit="%", note=note)


def _rewritten(quantised: Quantised, images: Images, arrays: int) -> Iterator[Row]:
    """What the endurance of 20 cycles does to an array that held other contents before."""
    told = {}
    for rewrites in (20, 40, 60, 80, 100):
        arm = dataclasses.replace(ARMS["spares"], rewrites=rewrites)
        told[rewrites] = fill_arrays(quantised, images, arm, arrays=arrays, flips=False).flawless / arrays
    note = ", ".join(f"after {k}: {100 * share:.0f} %" for k, share in told.items())
    what = "crossbar digits, spares: arrays that tell all ten after 40 random contents"
    yield Row(
        what=what, value=100 * told[40], unit="%", note=f"{note}; a random content sets a quarter of the cells anew"
    )


def _wired(size: int) -> tuple[np.ndarray, np.ndarray, Lines]:
    """Conductances of measured cells of which half are set, 0.1 V at every row, 1 ohm a segment."""
    cells = Cells(size * size, PRINTED, seed=0)
    cells.low[:] = np.random.default_rng(0).random(size * size) < 0.5
    conductances = 1.0 / cells.resistance().astype(np.float64)
    return conductances.reshape(size, size), np.full(size, 0.1), Lines()


def _edges(conductances: np.ndarray, lines: Lines, voltages: np.ndarray) -> tuple[sp.csr_array, np.ndarray, np.ndarray]:
    """Kirchhoff's equations as edges: incidence [E, 2 M N], conductances [E] and source voltages [E]."""
    rows, columns = conductances.shape
    chain_of_columns = sp.eye_array(columns) - sp.eye_array(columns, k=-1)  # to the cell before, or to the source
    chain_of_rows = sp.eye_array(rows) - sp.eye_array(rows, k=1)  # to the cell below, or to ground
    one = sp.eye_array(rows * columns)
    none = sp.csr_array((rows * columns, rows * columns))
    along = sp.kron(sp.eye_array(rows), chain_of_columns)
    down = sp.kron(chain_of_rows, sp.eye_array(columns))
    incidence = sp.block_array([[one, -one], [along, none], [none, down]]).tocsr()
    cells = rows * columns
    edges = np.concatenate([conductances.ravel(), np.full(cells, 1 / lines.row), np.full(cells, 1 / lines.column)])
    source = np.zeros(3 * cells)
    source[cells + np.arange(rows) * columns] = voltages
    return incidence, edges, source


def _by_incidence(conductances: np.ndarray, lines: Lines, voltages: np.ndarray) -> np.ndarray:
    """Potentials by D^T G (D u - v) = 0, refined with residuals in extended precision."""
    incidence, edges, source = _edges(conductances, lines, voltages)
    factors = splu((incidence.T @ (sp.diags_array(edges) @ incidence)).tocsc(), permc_spec="MMD_AT_PLUS_A")
    wide = incidence.astype(np.longdouble)
    potential = np.zeros(incidence.shape[1], dtype=np.longdouble)
    for _ in range(6):
        residual = wide.T @ (edges * (source - wide @ potential))
        potential += factors.solve(residual.astype(np.float64))
    return potential.astype(np.float64)


def _bitmaps() -> Images | None:
    if not BITMAPS.is_file():
        sys.stderr.write(f"the 5x4 digits are left out: there is no {BITMAPS}; set MEMFLUX_REFERENCE_DATA.\n")
        return None
    return read_bitmaps(BITMAPS)


ROWS = (crossbar_arms, crossbar_depth, crossbar_faults, crossbar_speed, crossbar_lines)
