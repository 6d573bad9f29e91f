"""Solvers beside an endpoint: Ray actors that simulate what a model should not be believed about."""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.traces import Traces
from memflux.waveform import Waveform

NAMESPACE = "memflux"
CRASHED = "crashed"
PENDING = 64  # calls that may wait in one solver
PATIENCE = 120.0  # s


class Solving:
    """One solver in a process of its own."""

    def solve(self, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces on the phase grid, `samples` a cycle."""
        from memflux.solvers.solver import Solver

        return Solver(samples=samples)(devices, drive)


def start_solvers(count: int) -> list[str]:
    """Names of `count` new actors of one CPU each, which Ray starts again when they die. Older ones are ended."""
    stop_solvers()
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=1)(Solving)
    names = [f"memflux-solver-{uuid.uuid4().hex}" for _ in range(count)]
    for name in names:
        actor.options(name=name, namespace=NAMESPACE, lifetime="detached", max_pending_calls=PENDING).remote()
    return names


def stop_solvers() -> None:
    """End all solvers of this Ray."""
    for entry in ray.util.list_named_actors(all_namespaces=True):
        if entry["namespace"] == NAMESPACE and entry["name"].startswith("memflux-solver-"):
            with contextlib.suppress(ValueError):  # somebody else has ended it
                ray.kill(ray.get_actor(entry["name"], namespace=NAMESPACE))


class RayFleet:
    """The solvers of these names, each with its share of the devices; see `verify.Fleet`."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise InvalidValue("names has no entries; start at least one solver.")
        self._names = tuple(names)
        self._next = 0

    async def solve(self, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces [B, T]; those without an answer have the status class "crashed", and why."""
        parts = [rows for rows in np.array_split(np.arange(len(devices)), len(self._names)) if rows.size]
        first, self._next = self._next, self._next + 1  # so that single devices take turns
        names = [self._names[(first + k) % len(self._names)] for k in range(len(parts))]
        asked = [_ask(name, devices[rows], drive[rows], samples) for name, rows in zip(names, parts, strict=True)]
        return _joined(await asyncio.gather(*asked))


async def _ask(name: str, devices: Devices, drive: Waveform, samples: int) -> Traces:
    """The traces of one solver; where it fails, dies or takes too long, rows that say so."""
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return _lost(devices, drive, samples, "there is no solver left")
    answer: Any = None
    try:
        answer = actor.solve.remote(devices, drive, samples)
        return await asyncio.wait_for(answer, PATIENCE)
    except TimeoutError:
        ray.cancel(answer)
        return _lost(devices, drive, samples, f"no solver was done within {PATIENCE:g} s")
    except ray.exceptions.PendingCallsLimitExceeded:
        return _lost(devices, drive, samples, "the solvers are busy; try again")
    except (ray.exceptions.RayActorError, ray.exceptions.RayTaskError, ray.exceptions.OutOfMemoryError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        return _lost(devices, drive, samples, f"the solver failed: {reason[:200]}")


def _lost(devices: Devices, drive: Waveform, samples: int, reason: str) -> Traces:
    """Rows of devices that no solver answered for."""
    time, voltage = drive.grid(samples)
    shape = (len(devices), time.shape[-1])
    return Traces(
        time=np.broadcast_to(time, shape),
        voltage=np.broadcast_to(voltage, shape),
        current=np.full(shape, np.nan),
        period=np.broadcast_to(np.asarray(drive.periods(), dtype=np.float64), shape[:1]),
        cycles=drive.cycles,
        status_class=np.full(shape[0], CRASHED, dtype=object),
        status=np.full(shape[0], reason, dtype=object),
    )


def _joined(parts: Sequence[Traces]) -> Traces:
    def whole(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Traces(
        time=whole("time"),
        voltage=whole("voltage"),
        current=whole("current"),
        period=whole("period"),
        cycles=parts[0].cycles,
        status_class=whole("status_class"),
        status=whole("status"),
    )
