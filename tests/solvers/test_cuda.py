"""The CUDA engine in Numba's simulator of a GPU, which has to be chosen before Numba is imported."""

import json
import os
import subprocess
import sys

import pytest

from memflux.device import Device, Devices
from memflux.errors import InvalidValue, MissingDependency
from memflux.solvers.solver import Solver, simulate
from memflux.waveform import Triangle

COMPARISON = """
import dataclasses, json
import numpy as np
from memflux.circuit import Circuit
from memflux.device import Device
from memflux.solvers import batch, cuda, march
from memflux.solvers.control import SolverControl
from memflux.solvers.lanes import allocate
from memflux.solvers.system import build_system
from memflux.space import Space
from memflux.waveform import Triangle

control = SolverControl.preset("fast")
control = dataclasses.replace(control, first_spacing=5e-3, growth=0.5, largest_spacing=8e-2, newton_per_level=40)
devices, drives = Space.preset("9d").sample(2, seed=3)
drive = Triangle(amplitude=3.0, period=4.0, cycles=1)
first, second = Device.preset("S1"), Device.preset("fit-b")
pairs = [
    (first.replace(barrier_lowering=False), drive),
    (second.replace(contact_density="lowered"), drive),
    (Device.preset("S2").replace(vacancy_site_density=0.0), Triangle(amplitude=5.0, period=2.0, cycles=1)),
    *((devices[i], drives[i]) for i in range(2)),
]
looks = np.array([0.0, 0.1])
jobs = [batch.Job(device=v, drive=d, recorded=np.linspace(0.0, 0.6, 12) * float(d.periods()), profiles=looks)
        for v, d in pairs]
jobs[0] = dataclasses.replace(jobs[0], hidden=np.array([0.26 * float(drive.periods())]))
jobs[4] = dataclasses.replace(jobs[4], circuit=Circuit(series_resistance=1e9, compliance=1e-9))
cuda.lane_count = lambda nodes, devices: 3  # fewer lanes than devices: lanes are used again
cuda.SLICE = 40
there = cuda.solve_batch(jobs, control)
lanes = allocate(build_system(first, control).x.size, 1)
here = [batch.solve_device(job, control, march.proceed, lanes) for job in jobs]
cuda.LARGEST_BATCH = 1  # a batch a device
alone = cuda.solve_batch(jobs[:2], control)
poor = dataclasses.replace(control, newton_budget=30, newton_per_level=0)
print(json.dumps({
    "nodes": lanes.u.shape[0],
    "status": [t.status_class for t in here + there + alone],
    "budget": cuda.solve_batch(jobs[:1], poor)[0].status_class,
    "late": cuda.solve_batch(jobs[:1], dataclasses.replace(control, seconds_budget=0.0))[0].status_class,
    "worst": [float(np.abs(a.current - b.current).max() / np.abs(b.current).max()) for a, b in zip(there, here)],
    "alone": [bool(np.array_equal(a.current, b.current)) for a, b in zip(alone, there)],
    "psi": [float(np.abs(a.profiles.psi - b.profiles.psi).max()) for a, b in zip(there, here)],
    "inside": [
        float(np.abs(getattr(a.profiles, j) - getattr(b.profiles, j)).max() / np.abs(getattr(b.profiles, j)).max())
        for a, b in zip(there, here) for j in ("j_n", "j_displacement")
    ],
    "newton": [a.history.equilibrium_newton == b.history.equilibrium_newton
               and bool(np.array_equal(a.history.newton, b.history.newton)) for a, b in zip(there, here)],
}))
"""


@pytest.fixture(scope="module")
def compared():
    """What COMPARISON found in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-c", COMPARISON],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.strip().split("\n")[-1])


def test_kernels_find_what_the_compiled_engine_finds(compared):
    assert 15 <= compared["nodes"] <= 40
    assert set(compared["status"]) == {"solved"}
    assert max(compared["worst"]) < 1e-8
    assert max(compared["psi"]) < 1e-8
    assert max(compared["inside"]) < 1e-6
    assert all(compared["newton"])


def test_a_device_does_not_depend_on_its_batch(compared):
    assert all(compared["alone"])


def test_budgets_end_a_device(compared):
    assert (compared["budget"], compared["late"]) == ("out_of_budget", "out_of_budget")


def test_without_a_device_one_is_told_so():
    if "NUMBA_ENABLE_CUDASIM" in os.environ or _has_device():
        pytest.skip("there is a CUDA device")
    with pytest.raises(MissingDependency, match=r"no CUDA device is available; choose engine = 'compiled'\."):
        simulate(Device(), Triangle(amplitude=1.0, period=1.0, cycles=1), engine="cuda")


def test_published_controls_stay_on_the_processor():
    with pytest.raises(InvalidValue, match="control = 'reference' does not run with engine = 'cuda'"):
        Solver(control="reference", engine="cuda")


@pytest.mark.skipif("MEMFLUX_TEST_CUDA" not in os.environ, reason="needs a GPU; set MEMFLUX_TEST_CUDA=1")
def test_a_gpu_agrees_with_the_processor():
    devices = Devices.of([Device.preset(name) for name in ("S1", "S2", "Ex107")])
    drive = Triangle(amplitude=3.0, period=4.0, cycles=1)
    gpu, cpu = (Solver(control="fast", engine=e, samples=40)(devices, drive).current for e in ("cuda", "compiled"))
    for a, b in zip(gpu, cpu, strict=True):
        assert abs(a - b).max() < 1e-6 * abs(b).max()


def _has_device() -> bool:
    from numba import cuda

    return bool(cuda.is_available())
