"""Named numbers that summarise a curve, asked of any predictor in bounded memory.

The formulas live in `memflux.metrics`; here they get names, so that an endpoint can compute them
where the curves are made and send B numbers instead of B curves.
"""

import abc
import contextlib
import dataclasses
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from memflux import metrics
from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue, check_bool, check_choice, check_integer, check_names, check_number
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

CURVES_AT_ONCE = 8_192  # 320 samples in float64, voltage and time included: some 60 MB
POINTS_AT_ONCE = 65_536  # numbers only: what an endpoint answers at full speed


class AbstractQuantity(abc.ABC):
    """A number of a curve as data: a name and parameters, so that it travels to an endpoint.

    Subclasses are frozen dataclasses that check their fields, and stand in QUANTITIES.
    """

    __slots__ = ()
    name: ClassVar[str]

    @abc.abstractmethod
    def __call__(self, traces: Traces) -> Float[np.ndarray, " B"]:
        """The number of every row; NaN where it is not defined, without a warning: analyses count them."""

    def __str__(self) -> str:
        """The name, with the parameters that are not the default: `quantity_from_text` reads it back."""
        changed = [f"{f.name}={getattr(self, f.name):g}" for f in _fields(self) if getattr(self, f.name) != f.default]
        return self.name + (f"({', '.join(changed)})" if changed else "")

    def to_dict(self) -> dict[str, object]:
        """Name and parameters, JSON-ready."""
        return {"name": self.name} | {f.name: getattr(self, f.name) for f in _fields(self)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Symmetry(AbstractQuantity):
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
class OnOffRatio(AbstractQuantity):
    """R of one cycle (arXiv 2505.13882, eq. 10) read at `voltage`; see `metrics.on_off_ratio`.

    NaN where the drive does not sweep through `voltage`.
    """

    name: ClassVar[str] = "on_off_ratio"
    voltage: float = 5.0  # V
    cycle: int = -1

    def __post_init__(self) -> None:
        check_number("voltage", self.voltage, low=1e-9, high=1e4, unit="V")
        check_integer("cycle", self.cycle, low=-1000, high=1000)

    def __call__(self, traces: Traces) -> np.ndarray:
        """R of every row, [B]."""
        with _quiet():
            return np.asarray(metrics.on_off_ratio(traces, voltage=self.voltage, cycle=self.cycle))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Nonlinearity(AbstractQuantity):
    """|I(V)| / |I(V/2)| of one sweep of one cycle, V being `voltage`; see `metrics.nonlinearity`."""

    name: ClassVar[str] = "nonlinearity"
    voltage: float = 5.0  # V
    cycle: int = -1
    down: bool = False

    def __post_init__(self) -> None:
        check_number("voltage", self.voltage, low=1e-9, high=1e4, unit="V")
        check_integer("cycle", self.cycle, low=-1000, high=1000)
        check_bool("down", self.down)

    def __call__(self, traces: Traces) -> np.ndarray:
        """The non-linearity of every row, [B]."""
        with _quiet():
            return np.asarray(metrics.nonlinearity(traces, voltage=self.voltage, cycle=self.cycle, down=self.down))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LoopArea(AbstractQuantity):
    """Area of the hysteresis loop of one cycle, in W or normalised; see `metrics.loop_area`."""

    name: ClassVar[str] = "loop_area"
    cycle: int = -1
    normalised: bool = False
    signed: bool = False

    def __post_init__(self) -> None:
        check_integer("cycle", self.cycle, low=-1000, high=1000)
        check_bool("normalised", self.normalised)
        check_bool("signed", self.signed)

    def __call__(self, traces: Traces) -> np.ndarray:
        """The area of every row, [B]."""
        area = metrics.loop_area(traces, cycle=self.cycle, normalised=self.normalised, signed=self.signed)
        return np.asarray(area)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Energy(AbstractQuantity):
    """Energy [J] that the device takes up in one cycle; see `metrics.energy`."""

    name: ClassVar[str] = "energy"
    cycle: int = -1

    def __post_init__(self) -> None:
        check_integer("cycle", self.cycle, low=-1000, high=1000)

    def __call__(self, traces: Traces) -> np.ndarray:
        """The energy of every row, [B]."""
        return np.asarray(metrics.energy(traces, cycle=self.cycle))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _SwitchingVoltage(AbstractQuantity):
    """What SET and RESET have in common: a cycle, the least factor that counts, and the polarity that is looked at."""

    cycle: int = -1
    window: float = 1.1
    polarity: int = 0  # 1, -1, or 0: whichever switches more

    def __post_init__(self) -> None:
        check_integer("cycle", self.cycle, low=-1000, high=1000)
        check_number("window", self.window, low=metrics.LEAST_WINDOW, high=metrics.LARGEST_WINDOW)
        check_integer("polarity", self.polarity, low=-1, high=1)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SetVoltage(_SwitchingVoltage):
    """Voltage [V] above which half of the rise of the current comes about; see `metrics.set_voltage`.

    NaN where the current rises by less than the factor `window`.
    """

    name: ClassVar[str] = "set_voltage"

    def __call__(self, traces: Traces) -> np.ndarray:
        """The SET voltage of every row, [B]."""
        found = metrics.set_voltage(traces, cycle=self.cycle, window=self.window, polarity=self.polarity)
        return np.asarray(found)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResetVoltage(_SwitchingVoltage):
    """Voltage [V] above which half of the fall of the current comes about; see `metrics.reset_voltage`.

    NaN where the current falls by less than the factor `window`.
    """

    name: ClassVar[str] = "reset_voltage"

    def __call__(self, traces: Traces) -> np.ndarray:
        """The RESET voltage of every row, [B]."""
        found = metrics.reset_voltage(traces, cycle=self.cycle, window=self.window, polarity=self.polarity)
        return np.asarray(found)


QUANTITIES: Mapping[str, AbstractQuantity] = {
    q.name: q for q in (Symmetry(), OnOffRatio(), Nonlinearity(), LoopArea(), Energy(), SetVoltage(), ResetVoltage())
}

# A name of QUANTITIES, one of the descriptions above with other parameters, or one's own function.
Quantity = str | AbstractQuantity | Callable[[Traces], np.ndarray]


def quantity_from_dict(fields: Mapping[str, Any]) -> AbstractQuantity:
    """The inverse of `AbstractQuantity.to_dict`; what is left out has its default. InvalidValue for anything else."""
    usual = QUANTITIES[check_choice("quantity", fields.get("name"), QUANTITIES)]
    given = {name: value for name, value in fields.items() if name != "name"}
    check_names(f"parameter of {usual.name}", given, [f.name for f in _fields(usual)])
    for f in _fields(usual):
        if f.name in given and type(f.default) is float:  # JSON writes 3 for 3.0
            given[f.name] = check_number(f.name, given[f.name], low=-math.inf, high=math.inf)
    return dataclasses.replace(usual, **given)  # type: ignore[type-var]


def quantity_from_text(text: str) -> AbstractQuantity:
    """The quantity that is written so: `symmetry`, or with parameters `on_off_ratio(voltage=3)`."""
    name, bracket, rest = text.partition("(")
    if bracket and not rest.endswith(")"):
        raise InvalidValue(f"quantity = {text!r} has no closing bracket; write for example on_off_ratio(voltage=3).")
    usual = QUANTITIES[check_choice("quantity", name.strip(), QUANTITIES)]
    kinds = {f.name: type(f.default) for f in _fields(usual)}
    given = {}
    for part in filter(None, (p.strip() for p in rest[:-1].split(","))):
        key, _, value = (p.strip() for p in part.partition("="))
        check_names(f"parameter of {usual.name}", [key], kinds)
        given[key] = _parsed(key, value, kinds[key])
    return quantity_from_dict({"name": usual.name, **given})


def _parsed(name: str, text: str, kind: type) -> object:
    """The number in `text` as a float, a whole number or a flag of 0 or 1."""
    try:
        number = float(text)
        if kind is not float and kind(number) != number:
            raise ValueError
        return kind(number)
    except (ValueError, OverflowError):
        wanted = {float: "a number", int: "a whole number", bool: "0 or 1"}[kind]
        raise InvalidValue(f"{name} = {text!r} is not {wanted}; give one, as in on_off_ratio(voltage=3).") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning of drives that are too small: analyses count what is undefined."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*do not sweep through.*", category=UserWarning)
        yield


def _fields(quantity: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(quantity)


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
    """What to call a quantity in results: as it is written, or the name of one's own function."""
    function = resolve(quantity)
    if isinstance(function, AbstractQuantity):
        return str(function)
    return getattr(function, "__name__", type(function).__name__)


def evaluate(
    predictor: Predictor, devices: Devices, drive: Waveform, quantities: Sequence[Quantity]
) -> Float[np.ndarray, "B Q"]:
    """Quantities of B devices; NaN where a device was not answered or the quantity is undefined.

    A predictor with a method `quantities(devices, drive, asked) -> [B, Q]`, as an endpoint's client
    has, computes the registered ones itself; `asked` holds names, or descriptions where parameters
    differ from the default. Otherwise curves are asked for, a bounded number at once.
    """
    functions = [resolve(q) for q in quantities]
    known = tuple(q for q in functions if isinstance(q, AbstractQuantity))
    remote = getattr(predictor, "quantities", None)
    if callable(remote) and len(known) == len(functions):
        asked = tuple(q.name if q == QUANTITIES[q.name] else q for q in known)
        return _checked(np.asarray(remote(devices, drive, asked)), len(devices), len(asked), "the predictor")
    drive = drive.for_batch(len(devices))
    values = np.empty((len(devices), len(functions)))
    for first in range(0, len(devices), CURVES_AT_ONCE):
        part = slice(first, min(first + CURVES_AT_ONCE, len(devices)))
        values[part] = quantities_of(predictor(devices[part], drive[part]), functions)
    return values


def quantities_of(traces: Traces, quantities: Sequence[Quantity]) -> Float[np.ndarray, "B Q"]:
    """Quantities of B curves; NaN where a device was not answered or the quantity is undefined."""
    values = np.empty((len(traces), len(quantities)))
    for column, function in enumerate(map(resolve, quantities)):
        answer = _checked(np.asarray(function(traces))[..., None], len(traces), 1, label(function))
        values[:, column] = np.where(traces.ok, answer[:, 0], np.nan)
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
