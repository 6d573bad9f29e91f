"""The questions that an endpoint takes, and how a model answers each: curves, quantities, gradients, errors."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from memflux.analysis.held_out import half_widths, quantity_errors
from memflux.analysis.quantities import CURVES_AT_ONCE, QUANTITIES, AbstractQuantity, evaluate
from memflux.contracts import CurveCost
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.platform.serving.replies import Answer
from memflux.platform.serving.wire import Question
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

COVERAGE = 0.95  # of the intervals beside quantities
REMEMBERED = 1_000  # quantities whose errors are kept


class Served(Protocol):
    """What an endpoint asks of a model; `memflux.training.surrogate.Surrogate` has it.

    It may have `band(devices, drive, kind)` and `held_out()` besides, for intervals.
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
        for quantity in quantities:
            if quantity not in self._errors:
                if len(self._errors) >= REMEMBERED:
                    self._errors.clear()
                found = quantity_errors(self.served, [quantity])
                self._errors[quantity] = None if found is None else found[:, 0]
        columns = [self._errors[quantity] for quantity in quantities]
        return None if any(c is None for c in columns) else np.stack(columns, axis=1)  # type: ignore[arg-type]


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
    parts = [served(devices[rows], drive[rows]) for rows in _chunks(len(devices))]
    arrays: dict[str, np.ndarray] = {
        "current": np.concatenate([p.current for p in parts]),
        "status_class": np.concatenate([p.status_class for p in parts]),
        "status": np.concatenate([p.status for p in parts]),
    }
    if all(p.inside is not None for p in parts):
        arrays["inside"] = np.concatenate([p.inside for p in parts])
    if question.bands is not None:
        arrays["low"], arrays["high"] = _bands(served, question)
    if question.precision == "float32":
        arrays = {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()}
    return Answer(arrays=arrays, about={"samples": served.samples, "cycles": drive.cycles})


def quantities(model: Model, question: Question) -> Answer:
    """Numbers of the curves, half widths of the intervals that hold the true ones, and whether a device is inside.

    Half widths are NaN outside the training space and where the model keeps no true curves.
    """
    if not question.quantities:
        raise InvalidValue(f"quantities is empty; ask for one or more of {', '.join(QUANTITIES)}.")
    values = evaluate(model.served, question.devices, question.drive, question.quantities)
    inside = model.served.space.contains(question.devices, question.drive)
    errors = model.errors(question.quantities)
    half = np.full(values.shape[1], np.nan) if errors is None else half_widths(errors, COVERAGE)
    return Answer(
        arrays={"values": values, "half_width": np.where(inside[:, None], half, np.nan), "inside": inside},
        about={"quantities": [str(q) for q in question.quantities], "coverage": COVERAGE},
    )


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


def _bands(served: Any, question: Question) -> tuple[np.ndarray, np.ndarray]:
    if not callable(getattr(served, "band", None)):
        raise InvalidValue("bands are asked for and this model has none; leave them out.")
    ends = [
        served.band(question.devices[rows], question.drive[rows], question.bands)
        for rows in _chunks(len(question.devices))
    ]
    low, high = (np.concatenate(part) for part in zip(*ends, strict=True))
    return low, high


def _chunks(count: int) -> list[slice]:
    """Rows that are answered at once, so that memory is bounded."""
    return [slice(first, first + CURVES_AT_ONCE) for first in range(0, count, CURVES_AT_ONCE)]
