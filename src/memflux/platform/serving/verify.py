"""Answers that physics checks: the devices of which a model knows least are simulated, and come back exact."""

from typing import Protocol

import numpy as np
from jaxtyping import Int

from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.platform.serving.answers import DOUBT, OUTSIDE
from memflux.platform.serving.replies import Answer
from memflux.platform.serving.wire import MAX_VERIFIED, Question, TooLarge
from memflux.traces import SOLVED, Traces
from memflux.waveform import Waveform

EXACT = "solved by the finite-volume model"
MOST_SAMPLES = 2**17  # of all devices that are simulated for one question


class Fleet(Protocol):
    """Solvers that answer for devices, exactly and slowly."""

    async def solve(self, model: str, devices: Devices, drive: Waveform, samples: int) -> Traces:
        """Traces on the phase grid, `samples` a cycle; failed rows have their status. `model` is who is verified."""
        ...


def check_verifiable(route: str, question: Question, fleet: Fleet | None) -> None:
    """Refuse, before anything is computed, what cannot be verified."""
    if not (question.verify or question.defer):
        return
    if route not in ("predict", "quantities"):
        raise InvalidValue(f"{route} cannot be verified; ask predict or quantities, or leave verify and defer out.")
    if fleet is None:
        raise InvalidValue("this endpoint has no solvers; serve with --solvers, or leave verify and defer out.")


async def verified(model: str, samples: int, question: Question, answer: Answer, fleet: Fleet) -> Answer:
    """The answer with simulated rows in the place of the least certain, flagged in `exact`.

    Raises InvalidValue where more devices lie outside than a question may have simulated, or too many samples.
    """
    rows = _rows(question, answer)
    if rows.size * (question.drive.cycles * samples + 1) > MOST_SAMPLES:
        raise TooLarge(
            f"{rows.size} devices of such a drive are too many to simulate; verify fewer, or ask for fewer cycles."
        )
    arrays = {name: array for name, array in answer.arrays.items() if name not in (OUTSIDE, DOUBT)}
    arrays["exact"] = np.zeros(len(answer), dtype=bool)
    if rows.size:
        traces = await fleet.solve(model, question.devices[rows], question.drive[rows], samples)
        arrays["exact"][rows] = traces.ok
        (_put_curves if "current" in arrays else _put_numbers)(arrays, rows, traces, question)
    return Answer(arrays=arrays, about=answer.about)


def _rows(question: Question, answer: Answer) -> Int[np.ndarray, " K"]:
    """All devices outside the training space with `defer`, and the `verify` least certain of the others."""
    outside, doubt = answer.arrays[OUTSIDE], answer.arrays[DOUBT]
    chosen = outside & question.defer
    count = int(chosen.sum())
    if count > MAX_VERIFIED:
        raise InvalidValue(
            f"{count} devices lie outside the training space and at most {MAX_VERIFIED} are simulated a request; ask "
            "for fewer devices at once."
        )
    rest = np.flatnonzero(~chosen)
    order = np.argsort(-np.where(outside, np.inf, doubt)[rest], kind="stable")
    worst = rest[order][: min(question.verify, MAX_VERIFIED - count)]
    return np.sort(np.concatenate([np.flatnonzero(chosen), worst]))


def _put_curves(arrays: dict[str, np.ndarray], rows: Int[np.ndarray, " K"], traces: Traces, _: Question) -> None:
    """The simulated curves, which are their own bands; what failed keeps the model's answer and says so."""
    done = rows[traces.ok]
    for name in {"current", "low", "high", "status", "status_class"} & set(arrays):
        arrays[name] = arrays[name].copy()
    for name in {"current", "low", "high"} & set(arrays):
        arrays[name][done] = traces.current[traces.ok]
    arrays["status_class"][done] = SOLVED
    for row, ok, status in zip(rows, traces.ok, traces.status, strict=True):
        arrays["status"][row] = EXACT if ok else f"{arrays['status'][row]}; not verified: {status}"


def _put_numbers(
    arrays: dict[str, np.ndarray], rows: Int[np.ndarray, " K"], traces: Traces, question: Question
) -> None:
    """Quantities of the simulated curves, without an interval."""
    values = np.stack([np.asarray(q(traces)) for q in question.quantities], axis=1)
    for name, exact in (("values", values), ("half_width", np.zeros_like(values))):
        arrays[name] = arrays[name].copy()
        arrays[name][rows[traces.ok]] = exact[traces.ok]
