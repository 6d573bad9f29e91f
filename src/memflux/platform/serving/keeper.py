"""The one writer of what an endpoint's solvers have solved: data sets, one a model and family of drive.

Solvers hand their rows over and wait for nothing; a thread writes what has come while it wrote. What the disk does
not take is held, up to a limit, and tried again.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from memflux.device import Devices
from memflux.errors import InvalidValue, MemfluxError
from memflux.folder import Folder
from memflux.kept import Kept
from memflux.platform.lock import hold
from memflux.rows import Method, Rows, drive_family, free_family, rows_of
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

logger = logging.getLogger(__name__)

PAUSE = 5.0  # s between two writings: a kill loses what came since the last one
MOST_HELD = 2**21  # currents that wait to be written, 50 MB of rows
MOST_OPEN = 16  # data sets that are remembered from one writing to the next

Place = tuple[str, str]  # model, and family of drive as JSON


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A model that devices are solved for."""

    space: Space
    drive: Waveform  # its own
    samples: int  # a cycle


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What became of the rows that a keeper was given."""

    kept: int  # of devices that were new
    lost: int
    reason: str  # why the last of these were


def rows_to_keep(devices: Devices, drive: Waveform, traces: Traces, method: Method) -> Rows:
    """Rows of what was solved; not of failures that may end otherwise the next time. Their index says nothing."""
    # Here, so that replicas, which solve nothing, do without LLVM.
    from memflux.platform.campaigns.shard_work import UNLUCKY, cpu_target

    rows = rows_of(np.zeros(len(devices), np.int64), devices, drive, traces, method, {"cpu_target": cpu_target()})
    return rows[~np.isin(rows.status_class.astype(str), UNLUCKY)]


class Keeper:
    """Writes rows of a model's own family of drive into `folder`/MODEL, and those of another into a folder in it."""

    def __init__(self, folder: str, origins: Mapping[str, Origin], method: Method) -> None:
        """Open what is there; `refusal` says why it cannot be gone on with, and then nothing is kept."""
        self.folder, self.origins, self.method = folder, dict(origins), method
        self._sets: dict[Place, Kept] = {}
        self._held: dict[Place, list[Rows]] = {}
        self._changed = threading.Condition()
        self._over = False
        self._kept, self._lost, self._reason = 0, 0, ""
        self._trouble: dict[Place, str] = {}  # that the disk makes now
        self._locks = contextlib.ExitStack()
        self._refusal = self._begin()
        self._thread = threading.Thread(target=self._run, name="memflux-keeper", daemon=True)
        self._thread.start()

    def refusal(self) -> MemfluxError | None:
        """InvalidValue for a folder of another model, space or number of samples, DataError where it cannot be used."""
        return self._refusal

    def keep(self, model: str, family: Mapping[str, Any], rows: Rows) -> None:
        """Take rows that have one family of drive. They are soon written, or counted as lost."""
        with self._changed:
            held = sum(part.current.size for parts in self._held.values() for part in parts)
            if self._over or self._refusal is not None:
                self._lose(len(rows), str(self._refusal or "the endpoint has ended."))
            elif strange := set(rows.biography["engine"]) - {self.method.engine}:
                self._lose(len(rows), f"{', '.join(strange)} solved them, and {self.method.engine} the others.")
            elif held + rows.current.size > MOST_HELD:
                why = next(iter(self._trouble.values()), "they came faster than they could be written.")
                self._lose(len(rows), why)
            else:
                self._held.setdefault((model, _text(family)), []).append(rows)
                self._changed.notify_all()

    def finish(self) -> Account:
        """Write what is held, and end; nothing is kept from then on."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()
        for place, parts in self._held.items():
            self._lose(sum(map(len, parts)), self._trouble.get(place, "the endpoint has ended."))
        self._held.clear()
        self._locks.close()
        return Account(kept=self._kept, lost=self._lost, reason=self._reason)

    def _begin(self) -> MemfluxError | None:
        """Take the folders of all models; what is wrong with one."""
        try:
            for model, origin in self.origins.items():
                root = Folder.at(f"{self.folder}/{model}")
                root.create()
                self._locks.enter_context(hold(root))
                self._set((model, _text(drive_family(origin.drive))))
        except MemfluxError as error:
            self._locks.close()
            return error
        return None

    def _run(self) -> None:
        over = False
        while not over:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._over)
                over, there = self._over, {place: list(parts) for place, parts in self._held.items()}
            for place, parts in there.items():
                self._write(place, parts)
            with self._changed:
                self._changed.wait_for(lambda: self._over, PAUSE)

    def _write(self, place: Place, parts: list[Rows]) -> None:
        """Write parts that are held; they stay so where the disk is in trouble."""
        rows, kept, trouble, refused = Rows.concatenate(parts), 0, "", ""
        try:
            there = self._set(place)
            before = len(there)
            try:
                there.add(rows)
            finally:
                kept, rows = len(there) - before, there.new(rows)
        except InvalidValue as error:
            refused = str(error)
        except Exception as error:  # noqa: BLE001 - a file system of any kind; the thread must live on
            trouble = str(error)
        if trouble and trouble != self._trouble.get(place):
            logger.warning("solved devices wait to be kept: %s", trouble)
        with self._changed:
            self._kept += kept
            waiting = self._held.pop(place)[len(parts) :]
            if trouble:
                waiting.insert(0, rows)
                self._trouble[place] = trouble
            else:
                self._trouble.pop(place, None)
            if waiting:
                self._held[place] = waiting
            if refused:
                self._lose(len(rows), refused)

    def _lose(self, count: int, reason: str) -> None:
        logger.warning("%d solved devices are not kept: %s", count, reason)
        self._lost, self._reason = self._lost + count, reason

    def _set(self, place: Place) -> Kept:
        """The data set of a place, the last used ones at hand."""
        there = self._sets.pop(place, None)
        if there is None:
            model, family = place
            origin = self.origins[model]
            there = Kept.open(
                f"{self.folder}/{model}{_below(family, _text(drive_family(origin.drive)))}",
                recipe={"kept_for": model},
                space=origin.space,
                drive=json.loads(family),
                samples=origin.samples,
                method=self.method,
            )
        self._sets[place] = there
        if len(self._sets) > MOST_OPEN:
            del self._sets[next(iter(self._sets))]
        return there


def _text(family: Mapping[str, Any]) -> str:
    """A family by all that its drives have in common."""
    return json.dumps(free_family(family), sort_keys=True)


def _below(family: str, own: str) -> str:
    """The folder of a family within that of its model, whose own family has none."""
    if family == own:
        return ""
    fields = json.loads(family)
    name = f"/{fields['kind']}-{fields['cycles']}"
    shape = set(fields) - {"kind", "cycles"}  # as the knots of a piecewise linear drive
    return f"{name}-{hashlib.sha256(family.encode()).hexdigest()[:8]}" if shape else name
