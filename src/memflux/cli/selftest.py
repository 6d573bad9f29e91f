"""A few seconds of real work in a process of its own; one JSON line says how it went.

`memflux doctor` runs it with `python -m memflux.cli.selftest`, because a broken MPI or BLAS ends
the process that touches it, and the doctor has to survive that to name it.
"""

import json
import sys
import time

import numpy as np

from memflux.device import Device, Devices
from memflux.errors import MemfluxError
from memflux.metrics import nmae
from memflux.stand_in import StandIn
from memflux.waveform import Triangle

AMPLITUDE = 1.0  # V
SAMPLES = 16  # a cycle


def check_vocabulary() -> str:
    """Devices, a drive, a predictor and a metric, without any solver; a sentence on success."""
    devices = Devices.of([Device.preset("seed"), Device.preset("Ex107")])
    traces = StandIn(samples=SAMPLES)(devices, Triangle(amplitude=AMPLITUDE, period=1.0, cycles=1))
    error = float(np.max(nmae(traces.current, traces.current)))
    if not traces.ok.all() or not np.isfinite(traces.current).all() or error != 0.0:
        raise ArithmeticError(f"a compact model against itself differs by {error:g} and should not differ.")
    return f"{len(devices)} devices, {traces.current.shape[1]} times each"


def check_solver() -> str:
    """One short triangle on the finite-volume model: no current in equilibrium, and its sign follows the drive."""
    from memflux.solvers.solver import Solver, simulate

    trace = simulate(
        Device.preset("Ex107"),
        Triangle(amplitude=AMPLITUDE, period=1.0, cycles=1),
        control="fast",
        samples=SAMPLES,
    )
    if not trace.ok:
        raise ArithmeticError(f"the solve of Ex107 ended with: {trace.status}")
    top, bottom = trace.current[SAMPLES // 4], trace.current[3 * SAMPLES // 4]
    if not (top > 0 > bottom) or abs(trace.current[0]) > 1e-6 * top:
        raise ArithmeticError(f"Ex107 at 0, +1 and -1 V carries {trace.current[0]:g}, {top:g} and {bottom:g} A.")
    return f"Ex107 with engine {Solver().engine}: {top:.3g} A at {AMPLITUDE:g} V"


def run_checks() -> list[dict[str, object]]:
    """Name, whether it went well, seconds and a sentence of each check."""
    rows: list[dict[str, object]] = []
    for name, check in (("vocabulary", check_vocabulary), ("solver", check_solver)):
        began = time.perf_counter()
        try:
            ok, detail = True, check()
        except (MemfluxError, ImportError, ArithmeticError, OSError, RuntimeError, ValueError) as error:
            ok, detail = False, f"{type(error).__name__}: {error}"
        rows.append({"name": name, "ok": ok, "seconds": round(time.perf_counter() - began, 2), "detail": detail})
    return rows


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_checks()) + "\n")
