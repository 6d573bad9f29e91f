"""ngspice on this machine, for tests: found, or installed where MEMFLUX_TEST_INSTALL=1 or CI lets root do so."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from memflux.netlist import sine_bench

MAY_INSTALL = ("CI", "MEMFLUX_TEST_INSTALL")


def ngspice() -> str:
    """The program; skips the test where there is none."""
    may_install = any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in MAY_INSTALL)
    if shutil.which("ngspice") is None and may_install:
        _install()
    found = shutil.which("ngspice")
    if found is None:
        pytest.skip("ngspice is not installed: apt-get install -y ngspice, as root, or set MEMFLUX_TEST_INSTALL=1")
    return found


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("ngspice is not installed, and cannot be without root and apt-get")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "ngspice"]):
        done = subprocess.run(["apt-get", *words], env=environment, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"apt-get {words[0]} failed: {' '.join(done.stderr.split())[-300:]}")


def run_sine(folder: Path, subcircuit: str, resistance: float, amplitude: float, frequency: float, periods: float):
    """Time, voltage and current [T] of the device of `subcircuit` behind a resistor under a sine."""
    (folder / "deck.cir").write_text(sine_bench(subcircuit, resistance, amplitude, frequency, float(periods)))
    done = subprocess.run([ngspice(), "-b", "deck.cir"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert (folder / "found.txt").exists(), done.stdout + done.stderr
    time, source, device = np.loadtxt(folder / "found.txt").T
    return time, device, (source - device) / resistance
