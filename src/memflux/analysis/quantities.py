"""Named numbers that summarise a curve, asked of any predictor in bounded memory.

The formulas live in `memflux.metrics`; here they get names, so that an endpoint can compute them
where the curves are made and send B numbers instead of B curves.
"""

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from memflux import metrics
from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue, check_bool, check_choice, check_integer, check_number
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

CURVES_AT_ONCE = 8_192  # 320 samples in float64, voltage and time included: some 60 MB
POINTS_AT_ONCE = 65_536  # numbers only: what an endpoint answers at full speed


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Symmetry:
    """S of one cycle (arXiv 2505.13882, eq. 11), 1 for a symmetric curve; see `metrics.symmetry`."""

    name: ClassVar[str] = "symmetry"
    cycle: int = -1
    signed: bool = False

    def __post_init__(self) -> None:
        check_integer("cycle", self.cycle, low=-1000, high=1000)
        check_bool("signed", self.signed)

    def __call__(self, traces: Traces) -> np.ndarray:
        """S of every row, [B]."""
        return np.asarray(metrics.symmetry(traces, cycle=self.cycle, signed=self.signed))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OnOffRatio:
    """R of one cycle (arXiv 2505.13882, eq. 10) read at `voltage`; see `metrics.on_off_ratio`.

    NaN where the drive does not sweep through `voltage`, without a warning: analyses count them.
    """

    name: ClassVar[str] = "on_off_ratio"
    voltage: float = 5.0  # V
    cycle: int = -1

    def __post_init__(self) -> None:
        check_number("voltage", self.voltage, low=1e-9, high=1e4, unit="V")
        check_integer("cycle", self.cycle, low=-1000, high=1000)

    def __call__(self, traces: Traces) -> np.ndarray:
        """R of every row, [B]."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*do not sweep through.*", category=UserWarning)
            return np.asarray(metrics.on_off_ratio(traces, voltage=self.voltage, cycle=self.cycle))


QUANTITIES: Mapping[str, Symmetry | OnOffRatio] = {q.name: q for q in (Symmetry(), OnOffRatio())}

# A name of QUANTITIES, one of the descriptions above with other parameters, or one's own function.
Quantity = str | Symmetry | OnOffRatio | Callable[[Traces], np.ndarray]


def resolve(quantity: Any) -> Callable[[Traces], np.ndarray]:
    """The function Traces -> [B] that a quantity stands for; InvalidValue for an unknown name."""
    if isinstance(quantity, str):
        return QUANTITIES[check_choice("quantity", quantity, QUANTITIES)]
    if not callable(quantity) or inspect.isclass(quantity):
        raise InvalidValue(
            f"quantity = {quantity!r} is neither a name nor a function of Traces; "
            f"give {', '.join(QUANTITIES)} or a function that returns one number a device."
        )
    return quantity


def label(quantity: Quantity) -> str:
    """What to call a quantity in results: its name, with the parameters that are not the default."""
    function = resolve(quantity)
    if not isinstance(function, Symmetry | OnOffRatio):
        return getattr(function, "__name__", type(function).__name__)
    usual = QUANTITIES[function.name]
    changed = [
        f"{f.name}={getattr(function, f.name):g}"
        for f in dataclasses.fields(function)
        if getattr(function, f.name) != getattr(usual, f.name)
    ]
    return function.name + (f"({', '.join(changed)})" if changed else "")


def evaluate(
    predictor: Predictor, devices: Devices, drive: Waveform, quantities: Sequence[Quantity]
) -> Float[np.ndarray, "B Q"]:
    """Quantities of B devices; NaN where a device was not answered or the quantity is undefined.

    A predictor with a method `quantities(devices, drive, asked) -> [B, Q]`, as an endpoint's client
    has, computes the registered ones itself; `asked` holds names, or descriptions where parameters
    differ from the default. Otherwise curves are asked for, a bounded number at once.
    """
    functions = [resolve(q) for q in quantities]
    known = tuple(q for q in functions if isinstance(q, Symmetry | OnOffRatio))
    remote = getattr(predictor, "quantities", None)
    if callable(remote) and len(known) == len(functions):
        asked = tuple(q.name if q == QUANTITIES[q.name] else q for q in known)
        return _checked(np.asarray(remote(devices, drive, asked)), len(devices), len(asked), "the predictor")
    drive = drive.for_batch(len(devices))
    values = np.empty((len(devices), len(functions)))
    for first in range(0, len(devices), CURVES_AT_ONCE):
        part = slice(first, min(first + CURVES_AT_ONCE, len(devices)))
        traces = predictor(devices[part], drive[part])
        for column, function in enumerate(functions):
            answer = _checked(np.asarray(function(traces))[..., None], len(traces), 1, label(function))
            values[part, column] = np.where(traces.ok, answer[:, 0], np.nan)
    return values


def at_points(
    predictor: Predictor,
    space: Space,
    unit: Float[np.ndarray, "B P"],
    quantities: Sequence[Quantity],
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "B Q"]:
    """`evaluate` at points of the unit cube of `space`; `progress(done, all)` after each part."""
    values = np.empty((len(unit), len(quantities)))
    for first in range(0, len(unit), POINTS_AT_ONCE):
        part = slice(first, min(first + POINTS_AT_ONCE, len(unit)))
        values[part] = evaluate(predictor, *space.build(unit[part]), quantities)
        if progress is not None:
            progress(part.stop, len(unit))
    return values


def _checked(values: np.ndarray, rows: int, columns: int, source: str) -> np.ndarray:
    """Values [rows, columns] as float64 with NaN for what is not finite."""
    if values.shape != (rows, columns):
        raise InvalidValue(
            f"{source} answered with shape {values.shape} for {rows} devices; return one number a device and quantity."
        )
    values = values.astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)
