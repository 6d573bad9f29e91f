"""Solvers beside an endpoint: Ray actors that simulate what a model should not be believed about."""

import asyncio
from collections.abc import Sequence

import numpy as np
import ray

from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.traces import Traces
from memflux.waveform import Waveform

NAMESPACE = "memflux"
CRASHED = "crashed"


class Solving:
    """One solver in a process of its own."""

    def solve(self, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces on the phase grid, `samples` a cycle."""
        from memflux.solvers.solver import Solver

        return Solver(samples=samples)(devices, drive)


def start_solvers(count: int) -> list[str]:
    """Names of `count` new actors of one CPU each, which Ray starts again when they die."""
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=1)(Solving)
    names = [f"memflux-solver-{k}" for k in range(count)]
    for name in names:
        actor.options(name=name, namespace=NAMESPACE, lifetime="detached").remote()
    return names


def stop_solvers() -> None:
    """End all solvers of this Ray."""
    for entry in ray.util.list_named_actors(all_namespaces=True):
        if entry["namespace"] == NAMESPACE and entry["name"].startswith("memflux-solver-"):
            ray.kill(ray.get_actor(entry["name"], namespace=NAMESPACE))


class RayFleet:
    """The solvers of these names, each with its share of the devices; see `verify.Fleet`."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise InvalidValue("names has no entries; start at least one solver.")
        self._names = tuple(names)
        self._next = 0

    async def solve(self, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces [B, T]; devices whose solver died twice have the status class "crashed"."""
        parts = [rows for rows in np.array_split(np.arange(len(devices)), len(self._names)) if rows.size]
        first, self._next = self._next, self._next + 1  # so that single devices take turns
        names = [self._names[(first + k) % len(self._names)] for k in range(len(parts))]
        asked = [_ask(name, devices[rows], drive[rows], samples) for name, rows in zip(names, parts, strict=True)]
        return _joined(await asyncio.gather(*asked))


async def _ask(name: str, devices: Devices, drive: Waveform, samples: int) -> Traces:
    try:
        return await ray.get_actor(name, namespace=NAMESPACE).solve.remote(devices, drive, samples)
    except (ray.exceptions.RayActorError, ValueError):
        return _lost(devices, drive, samples)


def _lost(devices: Devices, drive: Waveform, samples: int) -> Traces:
    """Rows of devices whose solver is gone."""
    time, voltage = drive.grid(samples)
    shape = (len(devices), time.shape[-1])
    return Traces(
        time=np.broadcast_to(time, shape),
        voltage=np.broadcast_to(voltage, shape),
        current=np.full(shape, np.nan),
        period=np.broadcast_to(np.asarray(drive.periods(), dtype=np.float64), shape[:1]),
        cycles=drive.cycles,
        status_class=np.full(shape[0], CRASHED, dtype=object),
        status=np.full(shape[0], "the solver died of it, or is not there", dtype=object),
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
