"""How a question travels to an endpoint: devices, drive, quantities and cost, as Arrow or JSON.

Programs send an Arrow stream with one column a device field ("barrier_left", ...) and one a drive
field that differs between devices ("drive.amplitude", ...); what is one value for all is JSON in
its metadata. People send that JSON with the columns as lists. Fields that are not given are those
of the model's base device. Everything is checked here, and nothing is unpickled.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from memflux.analysis.quantities import AbstractQuantity, quantity_from_dict
from memflux.contracts import CurveCost
from memflux.device import FIELDS, Device, Devices
from memflux.errors import InvalidValue, check_bool, check_choice, check_integer, check_names, check_number
from memflux.platform.serving.streams import parse_json, read_stream, write_stream
from memflux.waveform import KINDS, Waveform, concatenate, from_dict, same_family

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
MAX_BYTES = 64 * 2**20  # of one request
MAX_DEVICES = 65_536  # in one request
MAX_JSON_DEVICES = 1_000
MAX_VALUES = 2**25  # devices times samples of one request: 256 MiB of currents
MAX_JSON_VALUES = 2**20  # of one request as JSON
MAX_QUANTITIES = 32

DRIVE = "drive."  # prefix of columns: a pulse train and a device both have a "width"
OPTIONS = ("device", "drive", "quantities", "cost", "precision", "bands", "verify", "defer")
ARROW_KEYS = ("count", *OPTIONS)
JSON_KEYS = ("devices", *OPTIONS)
PRECISIONS = ("float64", "float32")
BANDS = ("pointwise", "curve")
MAX_VERIFIED = 64  # devices of one request that the solver answers
T = TypeVar("T")


class TooLarge(InvalidValue):
    """The request is larger than the endpoint takes."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """B devices under one drive or B, and what is asked beyond curves.

    `precision` and `bands` are of curves. The solver answers for the `verify` devices of which the model knows
    least, and with `defer` for all that lie outside its training space.
    """

    devices: Devices
    drive: Waveform
    quantities: tuple[AbstractQuantity, ...] = ()
    cost: CurveCost | None = None
    precision: str = "float64"
    bands: str | None = None
    verify: int = 0
    defer: bool = False

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        if self.bands is not None:
            check_choice("bands", self.bands, BANDS)
        check_integer("verify", self.verify, low=0, high=MAX_VERIFIED)
        check_bool("defer", self.defer)

    def goes_with(self, other: "Question") -> bool:
        """Whether both ask the same of their devices, so that they may be asked together."""
        mine, theirs = ((q.quantities, q.precision, q.bands, q.verify, q.defer) for q in (self, other))
        return mine == theirs and self.cost is other.cost is None and same_family(self.drive, other.drive)

    def check_size(self, samples: int, most: int = MAX_VALUES) -> None:
        """Refuse a question whose curves, `samples` a cycle, hold more than `most` numbers."""
        times = self._times(samples)
        if len(self.devices) * times > most:
            fewer = f"{most // times} such devices" if most >= times else "fewer cycles or samples"
            raise TooLarge(
                f"the request asks for {len(self.devices)} devices at {times} times; ask for at most {most} values in "
                f"one request, that is {fewer}{'' if most == MAX_VALUES else ', or send Arrow'}."
            )

    def curve_bytes(self, samples: int) -> int:
        """Bytes of its curves and of their bands, `samples` a cycle, as they are computed."""
        return 8 * len(self.devices) * self._times(samples) * (1 if self.bands is None else 3)

    def _times(self, samples: int) -> int:
        return self.drive.cycles * samples + 1


def together(questions: Sequence[Question]) -> Question:
    """One question about the devices of all, which `goes_with` each other."""
    first = questions[0]
    if len(questions) == 1:
        return first
    devices = Devices.concatenate([q.devices for q in questions])
    drive = concatenate([q.drive for q in questions], [len(q.devices) for q in questions])
    return dataclasses.replace(first, devices=devices, drive=drive)


def encode(question: Question, base: Device) -> bytes:
    """The question as an Arrow stream; device columns equal to those of `base` stay at home."""
    columns = {}
    for name, row in Devices.of(base).columns().items():
        column = getattr(question.devices, name)
        same = (column == row) | (np.isnan(column) & np.isnan(row) if column.dtype.kind == "f" else False)
        if not same.all():
            columns[name] = pa.array(column.astype(str) if column.dtype.kind in "OU" else column)
    drive = question.drive.to_dict()
    for name in question.drive.bounds:
        if np.ndim(value := getattr(question.drive, name)) > 0:
            columns[DRIVE + name] = pa.array(value)
            del drive[name]
    about: dict[str, object] = {"count": len(question.devices), "device": base.to_dict(), "drive": drive}
    if question.quantities:
        about["quantities"] = [q.to_dict() for q in question.quantities]
    if question.cost is not None:
        about["cost"] = question.cost.to_dict()
    usual = {"precision": "float64", "bands": None, "verify": 0, "defer": False}
    about |= {name: getattr(question, name) for name, value in usual.items() if getattr(question, name) != value}
    return write_stream([columns], about)


def decode(body: bytes, content_type: str, own_device: Device, own_drive: Waveform) -> Question:
    """The question in a request's body, checked; the model's own device and drive fill in what is not given.

    Raises InvalidValue (TooLarge for sizes) with a sentence for whatever is wrong with it.
    """
    if len(body) > MAX_BYTES:
        raise TooLarge(f"the request has {len(body)} bytes; send at most {MAX_BYTES}, in several requests.")
    columns, count, about = _from_arrow(body) if content_type == ARROW else _from_json(body)
    for name, column in columns.items():
        if len(column) != count:
            raise InvalidValue(f"column {name!r} has {len(column)} values for {count} devices; give one a device.")
    own = {name: c for name, c in columns.items() if not name.startswith(DRIVE)}
    changing = {name.removeprefix(DRIVE): c for name, c in columns.items() if name.startswith(DRIVE)}
    base = _checked("device", lambda: _device(about.get("device"), own_device))
    fields = {
        "devices": Devices.repeat(base, count, **own),
        "drive": _checked("drive", lambda: _drive(about.get("drive"), changing, own_drive)).for_batch(count),
        "quantities": _quantities(about.get("quantities", [])),
        "cost": _checked("cost", lambda: _cost(about.get("cost"))),
        **{name: about[name] for name in ("precision", "bands", "verify", "defer") if name in about},
    }
    return _checked("the request", lambda: Question(**fields))


def _from_arrow(body: bytes) -> tuple[dict[str, np.ndarray], int, Mapping[str, Any]]:
    """Columns, number of devices and metadata of an Arrow request."""
    table, about = read_stream(body, _check_schema)
    check_names("key of the metadata", about, ARROW_KEYS)
    count = check_integer("count", about.get("count"), low=1, high=2**40)
    if count > MAX_DEVICES:
        raise TooLarge(f"the request has {count} devices; send at most {MAX_DEVICES}, in several requests.")
    columns = {}
    for name in table.column_names:
        column = table[name]
        if column.null_count:
            raise InvalidValue(f"column {name!r} has {column.null_count} nulls; give every device a value.")
        columns[name] = (column.cast(pa.float64(), safe=False) if _is_number(column.type) else column).to_numpy()
    if "contact_density" in columns:
        columns["contact_density"] = columns["contact_density"].astype(str)
    return columns, count, about


def _check_schema(schema: pa.Schema) -> None:
    drive_fields = {DRIVE + name for kind in KINDS.values() for name in kind.bounds}
    check_names("column of a request", schema.names, [*FIELDS, *sorted(drive_fields)])
    if len(set(schema.names)) != len(schema.names):
        raise InvalidValue(f"the columns {schema.names} repeat a name; send each field once.")
    flags = {"barrier_lowering": pa.types.is_boolean, "contact_density": pa.types.is_string}
    for field in schema:
        if not flags.get(field.name, _is_number)(field.type):
            raise InvalidValue(f"column {field.name!r} is of type {field.type}; send plain numbers, flags or strings.")


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _from_json(body: bytes) -> tuple[dict[str, np.ndarray], int, Mapping[str, Any]]:
    """Columns, number of devices and the rest of {"devices": {field: value or list} or [{...}]}."""
    about = _mapping("the request", parse_json(body))
    check_names("key of a request", about, JSON_KEYS)
    devices = about.get("devices", {})
    whole = _rows(devices) if isinstance(devices, list) else _mapping("devices", devices)
    check_names("device field", whole, FIELDS)
    sizes = {name: len(v) for name, v in whole.items() if isinstance(v, list)}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise InvalidValue(f"the device fields have {sizes} values; give each one value, or as many as devices.")
    count = len(devices) if isinstance(devices, list) else next(iter(sizes.values()), 1)
    if count > MAX_JSON_DEVICES:
        raise TooLarge(f"the request has {count} devices; send at most {MAX_JSON_DEVICES} as JSON, or use Arrow.")
    columns = {name: _column(name, v if isinstance(v, list) else [v] * count) for name, v in whole.items()}
    return columns, count, about


def _rows(devices: Sequence[object]) -> dict[str, list[object]]:
    """Columns from a list of devices, which must all give the same fields."""
    if not devices:
        raise InvalidValue("devices is empty; give at least one device.")
    rows = [_mapping("a device", row) for row in devices]
    names = list(dict.fromkeys(name for row in rows for name in row))
    for i, row in enumerate(rows):
        if missing := [name for name in names if name not in row]:
            raise InvalidValue(f"devices[{i}] lacks {', '.join(missing)}; give all devices the same fields.")
    return {name: [row[name] for row in rows] for name in names}


_KINDS: Mapping[str, tuple[type, str]] = {
    "barrier_lowering": (bool, "truth value"),
    "contact_density": (str, "string"),
}


def _column(name: str, values: Sequence[object]) -> np.ndarray:
    kind, word = _KINDS.get(name, (float, "number"))
    for i, value in enumerate(values):
        number = kind is float and isinstance(value, int | float) and not isinstance(value, bool)
        if not (number or (kind is not float and isinstance(value, kind))):
            raise InvalidValue(f"{name}[{i}] = {str(value)[:40]!r} is not a {word}; send {word}s alone.")
    return _checked(name, lambda: np.array(values, dtype=kind))


def _mapping(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValue(f"{what} is not a JSON object; give names and values in braces.")
    return value


def _checked(what: str, build: Callable[[], T]) -> T:
    """`build()`; what Python says of ragged lists and giant integers becomes an InvalidValue."""
    try:
        return build()
    except InvalidValue:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidValue(f"{what} cannot be read: {error}; give plain numbers in SI units.") from None


def _device(given: object, own: Device) -> Device:
    return own if given is None else Device.from_dict(_mapping("device", given))


def _drive(given: object, changing: Mapping[str, np.ndarray], own: Waveform) -> Waveform:
    """The drive; without "kind" it is the model's own with the given fields changed."""
    plain = {} if given is None else _mapping("drive", given)
    if "kind" not in plain:
        plain = own.to_dict() | plain
    fields = {k: v if k in ("kind", "cycles") else _numbers(k, v) for k, v in plain.items()}
    return from_dict({**fields, **changing})


def _numbers(name: str, value: object) -> float | np.ndarray:
    if isinstance(value, list):
        return _column(name, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise InvalidValue(f"{name} = {str(value)[:40]!r} is no number and no list of numbers; give either in SI units.")


def _quantities(given: object) -> tuple[AbstractQuantity, ...]:
    """From a list of names, or of objects with a name and the parameters that differ."""
    if not isinstance(given, list) or len(given) > MAX_QUANTITIES:
        raise InvalidValue(f"quantities = {str(given)[:80]!r} is not a list of at most {MAX_QUANTITIES} quantities.")
    items = [{"name": item} if isinstance(item, str) else _mapping("a quantity", item) for item in given]
    return tuple(_checked("a quantity", lambda: [quantity_from_dict(item) for item in items]))


def _cost(given: object) -> CurveCost | None:
    if given is None:
        return None
    fields = _mapping("cost", given)
    check_number("floor", fields.get("floor", 1e-15), low=1e-30, high=1.0, unit="A")
    if "target" in fields:
        fields = fields | {"target": _numbers("target", fields["target"])}
    return CurveCost.from_dict(fields)
