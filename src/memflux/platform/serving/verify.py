"""Answers that physics checks: the devices of which a model knows least are simulated, and come back exact."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.platform.serving.answers import Served
from memflux.platform.serving.replies import Answer
from memflux.platform.serving.wire import MAX_VERIFIED, Question
from memflux.traces import Traces
from memflux.waveform import Waveform

Aside = Callable[[Callable[[], Any]], Awaitable[Any]]
EXACT = "solved by the finite-volume model"


class Fleet(Protocol):
    """Solvers that answer for devices, exactly and slowly."""

    async def solve(self, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces on the phase grid, `samples` a cycle; failed rows have their status."""
        ...


async def verified(
    served: Served, route: str, question: Question, answer: Answer, fleet: Fleet | None, aside: Aside
) -> Answer:
    """The answer with simulated rows in the place of the least certain, flagged in `exact`.

    `aside` runs what would hold up the event loop. Raises InvalidValue for a route without curves, an endpoint without
    solvers, and too many devices.
    """
    if route not in ("predict", "quantities"):
        raise InvalidValue(f"{route} cannot be verified; ask predict or quantities, or leave verify and defer out.")
    if fleet is None:
        raise InvalidValue("this endpoint has no solvers; serve with --solvers, or leave verify and defer out.")
    rows: np.ndarray = await aside(lambda: _rows(served, question))
    exact = np.zeros(len(answer), dtype=bool)
    if rows.size == 0:
        return Answer(arrays={**answer.arrays, "exact": exact}, about=answer.about)
    traces = await fleet.solve(question.devices[rows], question.drive[rows], served.samples)
    exact[rows] = traces.ok
    arrays = {name: array.copy() for name, array in answer.arrays.items()}
    if route == "predict":
        _put_curves(arrays, rows, traces)
    else:
        values = np.stack([np.asarray(q(traces)) for q in question.quantities], axis=1)
        arrays["values"][rows] = np.where(traces.ok[:, None], values, arrays["values"][rows])
        arrays["half_width"][exact] = 0.0
    return Answer(arrays={**arrays, "exact": exact}, about=answer.about)


def _put_curves(arrays: dict[str, np.ndarray], rows: Int[np.ndarray, " K"], traces: Traces) -> None:
    """The simulated curves, which are their own bands; what failed keeps the model's answer and says so."""
    for name in {"current", "low", "high"} & set(arrays):
        arrays[name][rows[traces.ok]] = traces.current[traces.ok]
    for row, ok, status in zip(rows, traces.ok, traces.status, strict=True):
        arrays["status"][row] = EXACT if ok else f"{arrays['status'][row]}; not verified: {status}"


def _rows(served: Served, question: Question) -> Int[np.ndarray, " K"]:
    """All devices outside the training space with `defer`, and the `verify` least certain of the others."""
    outside = ~served.space.contains(question.devices, question.drive)
    chosen = outside & question.defer
    if chosen.sum() > MAX_VERIFIED:
        raise InvalidValue(
            f"{int(chosen.sum())} devices lie outside the training space and at most {MAX_VERIFIED} are simulated a "
            "request; ask for fewer devices at once."
        )
    rest = np.flatnonzero(~chosen)
    doubt = _doubt(served, question, outside)
    worst = rest[np.argsort(-doubt[rest], kind="stable")][: min(question.verify, MAX_VERIFIED - int(chosen.sum()))]
    return np.sort(np.concatenate([np.flatnonzero(chosen), worst]))


def _doubt(served: Served, question: Question, outside: Bool[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """How uncertain the model is of each device: its mean band over its peak, infinite outside; 0 without bands."""
    band = getattr(served, "band", None)
    if not callable(band) or getattr(served, "bands", None) is None:
        return np.where(outside, np.inf, 0.0)
    low, high = band(question.devices, question.drive, "pointwise")
    middle = np.abs(0.5 * (low + high)).max(axis=1)
    width = (high - low).mean(axis=1) / np.where(middle > 0, middle, 1.0)
    return np.where(outside | ~np.isfinite(width), np.inf, width)
