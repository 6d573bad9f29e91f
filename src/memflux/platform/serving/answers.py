"""The questions that an endpoint takes, and how a model answers each: curves, quantities, gradients, errors."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from memflux.analysis.held_out import half_widths, quantity_errors
from memflux.analysis.quantities import CURVES_AT_ONCE, QUANTITIES, AbstractQuantity, quantities_of
from memflux.contracts import CurveCost
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.platform.serving.replies import Answer
from memflux.platform.serving.wire import Question
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

COVERAGE = 0.95  # of the intervals beside quantities
OUTSIDE, DOUBT = "outside", "doubt"  # arrays by which devices are chosen for the solvers; they do not travel
REMEMBERED = 1_000  # quantities whose errors are kept


class Served(Protocol):
    """What an endpoint asks of a model; `memflux.training.surrogate.Surrogate` has it.

    It may have `band(devices, drive, kind)` and `held_out()` besides, for intervals, and `covers(devices, drive)`.
    """

    @property
    def parameters(self) -> tuple[str, ...]: ...
    @property
    def space(self) -> Space: ...
    @property
    def drive(self) -> Waveform: ...
    @property
    def samples(self) -> int: ...
    @property
    def cycles(self) -> int: ...
    @property
    def test_errors(self) -> Mapping[str, Any]: ...
    def __call__(self, devices: Devices, drive: Waveform) -> Traces: ...
    def value_and_gradient(
        self, devices: Devices, drive: Waveform, cost: CurveCost
    ) -> tuple[np.ndarray, np.ndarray]: ...


class Model:
    """A served model and what was found out of its errors."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._errors: dict[AbstractQuantity, Float[np.ndarray, " N"] | None] = {}

    def errors(self, quantities: Sequence[AbstractQuantity]) -> Float[np.ndarray, "N Q"] | None:
        """Errors of quantities on held-out devices; None without any. Found once a quantity."""
        if len(self._errors) > REMEMBERED:
            self._errors.clear()
        missing = [quantity for quantity in quantities if quantity not in self._errors]
        found = quantity_errors(self.served, missing) if missing else None
        for k, quantity in enumerate(missing):
            self._errors[quantity] = None if found is None else found[:, k]
        columns = [self._errors[quantity] for quantity in quantities]
        return None if any(c is None for c in columns) else np.stack(columns, axis=1)  # type: ignore[arg-type]

    def inside(self, devices: Devices, drive: Waveform) -> Bool[np.ndarray, " B"]:
        """Which devices lie in what the model was trained on, as its traces say it."""
        known = getattr(self.served, "covers", self.served.space.contains)
        return np.asarray(known(devices, drive))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One kind of question."""

    name: str
    summary: str
    answer: Callable[[Model, Question], Answer]
    together: bool  # whether devices of several questions may be asked about at once


def curves(model: Model, question: Question) -> Answer:
    """Currents, with their bands where these are asked for."""
    served, devices, drive = model.served, question.devices, question.drive
    parts = [_said(served(devices[rows], drive[rows])) for rows in chunks(len(devices))]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if question.bands is not None:
        arrays["low"], arrays["high"] = _bands(served, question)
    if question.precision == "float32":
        arrays = {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()}
    about = {"samples": served.samples, "cycles": drive.cycles}
    return Answer(arrays=arrays | doubts(model, question), about=about)


def _said(traces: Traces) -> dict[str, np.ndarray]:
    """What of traces the drive does not determine."""
    columns = {name: getattr(traces, name) for name in ("current", "status_class", "status", "inside")}
    return {name: column for name, column in columns.items() if column is not None}


def quantities(model: Model, question: Question) -> Answer:
    """Numbers of the curves, half widths of the intervals that hold the true ones, and whether a device is inside.

    Half widths are NaN outside the training space and where the model keeps no true curves.
    """
    if not question.quantities:
        raise InvalidValue(f"quantities is empty; ask for one or more of {', '.join(QUANTITIES)}.")
    parts = [_numbers(model, question, rows) for rows in chunks(len(question.devices))]
    values, inside = (np.concatenate(part) for part in zip(*parts, strict=True))
    errors = model.errors(question.quantities)
    half = np.full(values.shape[1], np.nan) if errors is None else half_widths(errors, COVERAGE)
    arrays = {"values": values, "half_width": np.where(inside[:, None], half, np.nan), "inside": inside}
    about = {"quantities": [str(q) for q in question.quantities], "coverage": COVERAGE}
    return Answer(arrays=arrays | doubts(model, question), about=about)


def _numbers(model: Model, question: Question, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Quantities of some devices and which of them lie inside."""
    devices, drive = question.devices[rows], question.drive[rows]
    traces = model.served(devices, drive)
    inside = model.inside(devices, drive) if traces.inside is None else traces.inside
    return quantities_of(traces, question.quantities), inside


def gradient(model: Model, question: Question) -> Answer:
    """A cost of every device and its gradient."""
    if question.cost is None:
        raise InvalidValue("the request has no cost; give its kind and its target.")
    cost, slope = model.served.value_and_gradient(question.devices, question.drive, question.cost)
    return Answer(arrays={"cost": cost, "gradient": slope}, about={"parameters": list(model.served.parameters)})


def errors(model: Model, question: Question) -> Answer:
    """Predicted minus true quantities of the held-out devices that the model keeps, whatever the question's devices."""
    if not question.quantities:
        raise InvalidValue(f"quantities is empty; ask for one or more of {', '.join(QUANTITIES)}.")
    found = model.errors(question.quantities)
    found = np.empty((0, len(question.quantities))) if found is None else found
    return Answer(arrays={"errors": found}, about={"quantities": [str(q) for q in question.quantities]})


ROUTES = (
    Route(name="predict", summary="Current traces of devices", answer=curves, together=True),
    Route(name="quantities", summary="Numbers of curves, with intervals", answer=quantities, together=True),
    Route(name="gradient", summary="A cost of devices and its gradient", answer=gradient, together=False),
    Route(name="errors", summary="Errors of quantities on held-out devices", answer=errors, together=False),
)


def doubts(model: Model, question: Question) -> dict[str, np.ndarray]:
    """Where something is to be verified: which devices lie outside, and how uncertain the model is of the others.

    That is the mean band over the peak; 0 for a model without bands.
    """
    if not (question.verify or question.defer):
        return {}
    served, devices, drive = model.served, question.devices, question.drive
    outside, doubt = ~model.inside(devices, drive), np.zeros(len(devices))
    band: Any = getattr(served, "band", None)
    if question.verify and callable(band) and getattr(served, "bands", None) is not None:
        for rows in chunks(len(devices)):
            low, high = band(devices[rows], drive[rows], "pointwise")
            middle = np.abs(0.5 * (low + high)).max(axis=1)
            doubt[rows] = (high - low).mean(axis=1) / np.where(middle > 0, middle, 1.0)
    return {OUTSIDE: outside, DOUBT: np.where(np.isfinite(doubt), doubt, np.inf)}


def _bands(served: Any, question: Question) -> tuple[np.ndarray, np.ndarray]:
    if not callable(getattr(served, "band", None)):
        raise InvalidValue("bands are asked for and this model has none; leave them out.")
    ends = [
        served.band(question.devices[rows], question.drive[rows], question.bands)
        for rows in chunks(len(question.devices))
    ]
    low, high = (np.concatenate(part) for part in zip(*ends, strict=True))
    return low, high


def chunks(count: int) -> list[slice]:
    """Rows that are answered at once, so that memory is bounded."""
    return [slice(first, first + CURVES_AT_ONCE) for first in range(0, count, CURVES_AT_ONCE)]
