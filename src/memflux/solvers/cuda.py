"""Engine "cuda": thousands of devices side by side on a GPU, one thread a device, in double precision.

The kernels are the scalar source that serves the CPU (newton_step.py, march.py), compiled by numba-cuda.
Arrays have the lane as their last axis, so that neighbouring threads read neighbouring numbers; a lane
whose device is done takes the next one. Import this file only where the engine is asked for.
"""

import time as clock
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
from numba import cuda

from memflux.errors import MissingDependency
from memflux.solvers import batch as packing
from memflux.solvers import lanes as at
from memflux.solvers import march
from memflux.solvers.batch import Job, Plan
from memflux.solvers.compiled import kept
from memflux.solvers.control import PhaseSteps, SolverControl
from memflux.solvers.lanes import Batch, Lanes
from memflux.solvers.system import build_system
from memflux.traces import Trace

SLICE = 200  # linear solves a launch: some tenths of a second, between which the host looks at clock and keyboard
THREADS = 32  # a block; one warp, so that small batches spread over the whole GPU
LANES_PER_MULTIPROCESSOR = 256  # what 248 registers a thread leave room for; more lanes would only wait
MEMORY_SHARE = 0.8  # of the free device memory
LARGEST_BATCH = 2**32  # bytes of a batch, which the host holds as well
IDLE = -1  # in place of a device
_CONFIG: Any = numba.config


class Run(NamedTuple):
    """What a batch on the GPU left besides its results."""

    cost: np.ndarray  # [B] int, Newton steps of the equilibrium
    rest: np.ndarray  # [N, 4, B] unknowns at rest; B = 0 where nobody asked


def solve_batch(jobs: Sequence[Job], control: SolverControl) -> list[Trace]:
    """One trace a device on its levels, as `batch.solve_device` does on a CPU, but for states.

    Times of all devices in one call differ at will. `control.seconds_budget` counts from when a
    device enters its lane to when it leaves. Raises MissingDependency without a CUDA device or numba-cuda.
    """
    check_cuda()
    plans = [packing.plan_levels(job.recorded, job.hidden, job.profiles) for job in jobs]
    nodes = build_system(jobs[0].device, control).x.size
    width = lane_count(nodes, len(jobs))
    free = float(cuda.current_context().get_memory_info()[0]) * MEMORY_SHARE - width * lane_bytes(nodes)
    size = max(1, int(min(free, LARGEST_BATCH) // device_bytes(nodes, plans)))
    traces = []
    for first in range(0, len(jobs), size):
        part = slice(first, first + size)
        traces += _solve_part(jobs[part], plans[part], control, width)
    return traces


def check_cuda() -> None:
    """MissingDependency where nothing could run."""
    if not cuda.is_available():
        raise MissingDependency("no CUDA device is available; choose engine = 'compiled'.")
    if getattr(cuda, "implementation", "") == "Built-in" and not _CONFIG.ENABLE_CUDASIM:
        raise MissingDependency(  # Numba's own CUDA target, frozen since, fails on min and max of two numbers
            "engine = 'cuda' needs the package numba-cuda; "
            "pip install 'numba-cuda[cu12]', or choose engine = 'compiled'."
        )


def lane_bytes(nodes: int) -> int:
    """Device memory of one lane."""
    return sum(a.nbytes for a in at.allocate(nodes, 1))


def device_bytes(nodes: int, plans: list[Plan]) -> int:
    """Memory of one device in a batch: its inputs and results, 8 bytes a number (see `Batch`)."""
    levels = max(p.time.size for p in plans)
    looks = max(p.looks.size for p in plans)
    return 8 * (at.SCALARS + 2 * nodes + levels * (5 + at.OUTPUTS) + 7 * nodes * looks + at.WHOLES + 2)


def lane_count(nodes: int, devices: int) -> int:
    """Lanes to run: as many as are resident at once, and fit into half the free memory."""
    context = cuda.current_context()
    multiprocessors = getattr(context.device, "MULTIPROCESSOR_COUNT", 1)  # Numba's simulator has none
    fitting = 0.5 * float(context.get_memory_info()[0]) / lane_bytes(nodes)
    return max(1, int(min(devices, multiprocessors * LANES_PER_MULTIPROCESSOR, fitting)))


def _solve_part(jobs: Sequence[Job], plans: list[Plan], control: SolverControl, width: int) -> list[Trace]:
    """The devices that fit into memory together."""
    assert isinstance(control.steps, PhaseSteps)
    systems = [build_system(job.device, control) for job in jobs]
    began = clock.perf_counter()
    batch = packing.pack(systems, jobs, plans, control.steps)
    keep_rest = any(np.any(job.profiles <= 0.0) for job in jobs)
    run, batch = _run(batch, control, min(width, len(jobs)), keep_rest)
    seconds = (clock.perf_counter() - began) / len(jobs)
    traces = []
    for i, (system, job, plan) in enumerate(zip(systems, jobs, plans, strict=True)):
        trace = packing.make_trace(batch, i, system, job, plan, int(run.cost[i]), seconds)
        first = packing.first_look(run.rest[:, :, i] if run.rest.size else np.empty(run.rest.shape[:2]))
        traces.append(packing.with_profiles(trace, batch, i, system, plan, job.profiles, first))
    return traces


def _run(batch: Batch, control: SolverControl, width: int, keep_rest: bool) -> tuple[Run, Batch]:
    """All devices of a batch through their drives; returns the batch with its results on the host."""
    nodes, count = batch.volume.shape
    there = Batch(*(_upload(a) for a in batch))
    lanes = Lanes(*(_device_array((*a.shape[:-1], width), a.dtype) for a in at.allocate(nodes, 1)))
    budget = _upload(control.newton_budget + control.newton_per_level * batch.levels.astype(np.int64))
    run = Run(cost=np.zeros(count, dtype=np.int64), rest=np.empty((nodes, 4, count if keep_rest else 0)))
    holder = np.full(width, IDLE)
    entered = np.zeros(width)
    blocks = -(-width // THREADS)
    waiting = 0  # the next device
    while True:
        fresh = np.flatnonzero(holder == IDLE)[: count - waiting]
        holder[fresh] = np.arange(waiting, waiting + fresh.size)
        waiting += fresh.size
        if (holder == IDLE).all():
            break
        held = _upload(holder)
        if fresh.size:
            _enter[blocks, THREADS](there, lanes, held, _upload(np.isin(np.arange(width), fresh)))
            run.cost[holder[fresh]] = _download(lanes.whole)[at.NEWTON, fresh]
            if keep_rest:
                run.rest[:, :, holder[fresh]] = _download(lanes.old)[:, :, fresh]
        _continue[blocks, THREADS](there, lanes, held, budget, SLICE)
        entered[fresh] = clock.perf_counter()  # only now: the first launch compiles
        whole = _download(lanes.whole)
        late = clock.perf_counter() - entered > control.seconds_budget
        whole[at.STATUS, late & (whole[at.STATUS] == at.RUNNING)] = at.OUT_OF_BUDGET
        done = (holder != IDLE) & (whole[at.STATUS] != at.RUNNING)
        batch.summary[:, holder[done]] = whole[:, done]
        holder[done] = IDLE
    results = {name: _download(getattr(there, name)) for name in ("out", "newton", "rung")}
    if batch.side.size:
        results["side"] = _download(there.side)
    return run, batch._replace(**results)


def _device_array(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    return np.empty(shape, dtype) if _CONFIG.ENABLE_CUDASIM else cuda.device_array(shape, dtype)


def _upload(array: np.ndarray) -> Any:
    """The array on the device, an empty one as a place-holder; in Numba's simulator the functions take NumPy's."""
    array = np.ascontiguousarray(array) if array.size else np.zeros((1,) * array.ndim, array.dtype)
    return array.copy() if _CONFIG.ENABLE_CUDASIM else cuda.to_device(array)


def _download(array: Any) -> np.ndarray:
    return array.copy() if _CONFIG.ENABLE_CUDASIM else array.copy_to_host()


def _launched(function: Callable[..., Any]) -> Any:
    """The kernel, compiled where it is first launched; its machine code is kept beside that of the CPU."""
    with kept() as cached:
        return cuda.jit(cache=cached)(function)


@_launched
@no_type_check
def _enter(batch, lanes, holder, fresh):
    """Put the devices of the lanes marked in `fresh` [W] at rest."""
    j = cuda.grid(1)
    if j < holder.size and fresh[j]:
        march.start(batch, lanes, holder[j], j)


@_launched
@no_type_check
def _continue(batch, lanes, holder, budget, steps):
    """Take every lane that has something to do on by up to `steps` linear solves."""
    j = cuda.grid(1)
    if j < holder.size and holder[j] >= 0 and lanes.whole[at.STATUS, j] == at.RUNNING:
        i = holder[j]
        march.proceed(batch, lanes, i, j, steps, budget[i])
