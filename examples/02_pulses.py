"""Potentiation and depression: trains of reset and set pulses on one device, each going on where the last ended.

    .venv/bin/python examples/02_pulses.py --out runs/pulses --count 500

Writes the current of every read as CSV and PNG. A resistor and a compliance current stand before the
device, as they do on a probe station. Pulse lengths: Spetzler et al. (2024), doi 10.1002/aelm.202300635.
"""

import argparse
from pathlib import Path

import numpy as np

from memflux import Circuit, Device, PulseTrain, State, simulate
from memflux.platform.figures import read_currents

RESET = PulseTrain(amplitude=-5.0, width=7e-3, ramp=3e-3, rest=2e-3)
SET = PulseTrain(amplitude=2.0, width=3e-3, ramp=3e-3, rest=2e-3)


def main(
    out: str = "runs/pulses",
    count: int = 500,
    trains: int = 2,
    series_resistance: float = 100.0,
    compliance: float = 1e-2,
    control: str = "accurate",
    engine: str = "auto",
) -> np.ndarray:
    """Read currents [A], one after every pulse: `trains` trains of `count` pulses, reset first."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    device = Device.preset("S1")
    circuit = Circuit(series_resistance=series_resistance, compliance=compliance)
    state: State | None = None
    reads = []
    for k in range(trains):
        shape = (RESET, SET)[k % 2]
        drive = PulseTrain(amplitude=shape.amplitude, width=shape.width, ramp=shape.ramp, rest=shape.rest, cycles=count)
        trace = simulate(
            device,
            drive,
            control=control,
            engine=engine,
            samples=8,  # and every corner of the pulses; steps between them as the error asks
            at=drive.read_times(),
            circuit=circuit,
            state=state,
        )
        assert trace.ok, trace.status
        assert trace.history is not None
        state = trace.state
        reads.append(trace.current)
        print(
            f"{count} pulses of {shape.amplitude:+g} V: read {trace.current[0]:.4g} to {trace.current[-1]:.4g} A, "
            f"{trace.history.newton_steps} Newton steps, {trace.history.wall_time:.2f} s"
        )
    currents = np.concatenate(reads)
    np.savetxt(folder / "reads.csv", currents, header="read current [A]", comments="")
    names = [f"{(RESET, SET)[k % 2].amplitude:+g} V" for k in range(trains)]
    read_currents(reads, names).savefig(folder / "reads.png", dpi=160)
    return currents


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/pulses")
    parser.add_argument("--count", type=int, default=500, help="pulses of a train")
    parser.add_argument("--trains", type=int, default=2, help="trains, reset and set in turn")
    arguments = parser.parse_args()
    main(out=arguments.out, count=arguments.count, trains=arguments.trains)
