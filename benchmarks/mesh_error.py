"""Spatial error of set S2 on the published grid and on that of the default control.

Second cycle, 160 implicit Euler levels a cycle for all; against 1063 nodes with the second-order
contact field. |I| at all levels above 1 % of the peak.
"""

import dataclasses
import time
from collections.abc import Iterator

import numpy as np

import harness
from harness import Row
from memflux import Device, Solver, Triangle
from memflux.solvers.control import SolverControl
from memflux.solvers.solver import make_engine
from memflux.solvers.system import build_system
from memflux.solvers.transient import solve_transient

DEVICE = Device.preset("S2")
DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=2)
ACCURATE = SolverControl.preset("accurate")
FINE = dataclasses.replace(ACCURATE, first_spacing=2.5e-5, largest_spacing=5e-3)
PUBLISHED = dataclasses.replace(ACCURATE, first_spacing=5e-4, largest_spacing=2e-2, gauss_contact=False)


def second_cycle(control: SolverControl) -> tuple[np.ndarray, int]:
    """|I| [A] of the second cycle and the number of nodes."""
    system = build_system(DEVICE, control)
    engine = make_engine(Solver().engine, system.x.size)
    trace = solve_transient(DRIVE, control, engine, system, DRIVE.grid(160)[0])
    engine.close()
    assert trace.ok, trace.status
    return np.abs(trace.cycle().current), system.x.size


GRIDS = ((1e-4, 3e-2), (1.25e-4, 1.5e-2), (1.25e-4, 1e-2))  # first and largest spacing


def spatial_error(quick: bool) -> Iterator[Row]:
    """deviation from the fine mesh"""
    truth, _ = second_cycle(FINE)
    counts = truth > 0.01 * truth.max()
    tried = [
        ("published grid, one-sided field", PUBLISHED, None),
        ("published grid, Gauss's law", dataclasses.replace(PUBLISHED, gauss_contact=True), None),
        ("accurate", ACCURATE, 3.5),  # half of what the published grid is off
    ]
    for first, largest in () if quick else GRIDS:
        control = dataclasses.replace(ACCURATE, first_spacing=first, largest_spacing=largest)
        tried.append((f"spacings {first:g}, {largest:g}", control, None))
    for name, control, bar in tried:
        began = time.perf_counter()
        current, nodes = second_cycle(control)
        seconds = time.perf_counter() - began
        error = 100 * np.abs(current / truth - 1)[counts]
        note = f"{nodes} nodes, {seconds:.2f} s; 95 %: {np.percentile(error, 95):.2g} %"
        yield Row(what=f"S2, median |I| error, {name}", value=float(np.median(error)), unit="%", bar=bar, note=note)


if __name__ == "__main__":
    harness.run("mesh_error", [spatial_error])
