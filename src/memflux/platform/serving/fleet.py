"""Solvers beside an endpoint, that simulate what a model should not be believed about, and a keeper of their work."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.rows import Method, drive_family
from memflux.traces import Traces
from memflux.waveform import Waveform

if TYPE_CHECKING:
    from memflux.platform.serving.keeper import Origin

logger = logging.getLogger(__name__)

NAMESPACE = "memflux"
SOLVER, KEEPER = "memflux-solver-", "memflux-keeper-"  # names of actors begin so
CRASHED = "crashed"
PENDING = 64  # calls that may wait in one actor
PATIENCE = 120.0  # s
WITHIN = 60.0  # s, a keeper begins, and ends


class Solving:
    """One solver in a process of its own."""

    def __init__(self, keeper: str | None = None) -> None:
        self._keeper = keeper  # name of its actor

    def solve(self, model: str, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces on the phase grid, `samples` a cycle; the keeper gets them too."""
        from memflux.solvers.solver import Solver

        traces = Solver(samples=samples)(devices, drive)
        if self._keeper is not None:
            try:
                self._hand_over(self._keeper, model, devices, drive, traces)
            except (ValueError, ray.exceptions.RayError) as error:  # the answer goes out all the same
                logger.warning("%d solved devices are not kept: %s", len(devices), error)
        return traces

    def method(self) -> Method:
        """What solves here, as data sets say it."""
        from memflux.solvers.batch import VERSION
        from memflux.solvers.solver import Solver

        solver = Solver()
        return Method(control=solver.control, engine=solver.engine, solver_version=VERSION)

    def _hand_over(self, keeper: str, model: str, devices: Devices, drive: Waveform, traces: Traces) -> None:
        from memflux.platform.serving.keeper import rows_to_keep

        rows = rows_to_keep(devices, drive, traces, self.method())
        if len(rows):
            ray.get_actor(keeper, namespace=NAMESPACE).keep.remote(model, drive_family(drive), rows)


def start_solvers(count: int, keeper: str | None = None) -> list[str]:
    """Names of `count` new actors of one CPU each, which Ray starts again when they die. Older ones are ended.

    What they solve goes to the `keeper` of that name, too.
    """
    stop_solvers()
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=1)(Solving)
    names = [f"{SOLVER}{uuid.uuid4().hex}" for _ in range(count)]
    for name in names:
        actor.options(name=name, namespace=NAMESPACE, lifetime="detached", max_pending_calls=PENDING).remote(keeper)
    return names


def stop_solvers() -> None:
    """End all solvers of this Ray."""
    for actor in _actors(SOLVER):
        ray.kill(actor)


def start_kept_solvers(count: int, folder: str, origins: "Mapping[str, Origin]") -> list[str]:
    """Names of `count` new solvers whose work a `Keeper` on this machine keeps in `folder`; it takes no CPU.

    Raises what `Keeper.refusal` says.
    """
    from memflux.platform.serving.keeper import Keeper

    name = f"{KEEPER}{uuid.uuid4().hex}"
    solvers = start_solvers(count, name)
    method: Any = ray.get(ray.get_actor(solvers[0], namespace=NAMESPACE).method.remote(), timeout=WITHIN)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=-1)(Keeper).options(
        name=name, namespace=NAMESPACE, lifetime="detached", max_pending_calls=PENDING, scheduling_strategy=here
    )
    keeper = actor.remote(folder, dict(origins), method)
    refusal = ray.get(keeper.refusal.remote(), timeout=WITHIN)
    if refusal is not None:
        ray.kill(keeper)
        raise refusal
    return solvers


def stop_keeper() -> None:
    """End the keeper of this Ray, once it has written what it holds; a warning where something is lost."""
    for actor in _actors(KEEPER):
        try:
            account = ray.get(actor.finish.remote(), timeout=WITHIN)
        except ray.exceptions.RayError as error:
            logger.warning("what the keeper of solved devices held is lost: %s", _reason(error))
        else:
            if account.lost:
                logger.warning("%d solved devices are not kept: %s", account.lost, account.reason)
        ray.kill(actor)


def _actors(prefix: str) -> list[Any]:
    """The actors of ours whose names begin so."""
    found = []
    for entry in ray.util.list_named_actors(all_namespaces=True):
        if entry["namespace"] == NAMESPACE and entry["name"].startswith(prefix):
            with contextlib.suppress(ValueError):  # somebody else has ended it
                found.append(ray.get_actor(entry["name"], namespace=NAMESPACE))
    return found


class RayFleet:
    """The solvers of these names, each with its share of the devices; see `verify.Fleet`."""

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise InvalidValue("names has no entries; start at least one solver.")
        self._names = tuple(names)
        self._next = 0

    async def solve(self, model: str, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces [B, T]; those without an answer have the status class "crashed", and why."""
        parts = [rows for rows in np.array_split(np.arange(len(devices)), len(self._names)) if rows.size]
        first, self._next = self._next, self._next + 1  # so that single devices take turns
        names = [self._names[(first + k) % len(self._names)] for k in range(len(parts))]
        asked = [
            _ask(name, model, devices[rows], drive[rows], samples) for name, rows in zip(names, parts, strict=True)
        ]
        return Traces.concatenate(await asyncio.gather(*asked))


async def _ask(name: str, model: str, devices: Devices, drive: Waveform, samples: int) -> Traces:
    """The traces of one solver; where it fails, dies or takes too long, rows that say so."""
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return _lost(devices, drive, samples, "there is no solver left")
    answer: Any = None
    try:
        answer = actor.solve.remote(model, devices, drive, samples)
        return await asyncio.wait_for(answer, PATIENCE)
    except TimeoutError:
        ray.cancel(answer)
        return _lost(devices, drive, samples, f"no solver was done within {PATIENCE:g} s")
    except ray.exceptions.PendingCallsLimitExceeded:
        return _lost(devices, drive, samples, "the solvers are busy; try again")
    except (ray.exceptions.RayActorError, ray.exceptions.RayTaskError, ray.exceptions.OutOfMemoryError) as error:
        return _lost(devices, drive, samples, f"the solver failed: {_reason(error)[:200]}")


def _reason(error: Exception) -> str:
    """The last line of what Ray says."""
    return (str(error).strip().splitlines() or ["no reason given"])[-1]


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
