"""How the answers of analyses are written: one JSON object a file, arrays as lists, NaN as null."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from memflux.errors import DataError, check_names


class AbstractResult:
    """What every result can: to a dictionary or a file, and back. Subclasses are frozen dataclasses."""

    __slots__ = ()
    KIND: ClassVar[str]  # the entry "kind" of what is written
    ARRAYS: ClassVar[tuple[str, ...]]  # names of the fields that hold arrays

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names, and "kind"; JSON-ready, NaN is None."""
        return {"kind": self.KIND} | {name: _plain(getattr(self, name)) for name in _names(type(self))}

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` to a file, whole or not at all; DataError where that cannot be done."""
        target = Path(path)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        text = json.dumps(self.to_dict(), allow_nan=False, indent=1)
        try:
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(target)
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error.strerror}; choose a folder that can be.") from None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; DataError for another kind or missing fields, InvalidValue for unknown ones."""
        rest = dict(fields)
        kind = rest.pop("kind", None)
        if kind != cls.KIND:
            raise DataError(f"kind = {kind!r} where a {cls.KIND!r} result is expected; open the file of that analysis.")
        known = _names(cls)
        check_names(f"field of a {cls.KIND} result", rest, known)
        if missing := [name for name in known if name not in rest]:
            raise DataError(f"the {cls.KIND} result has no {', '.join(missing)}; run the analysis again.")
        return cls(**{name: _field(rest[name], name in cls.ARRAYS) for name in known})

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """The inverse of `to_json`; DataError where the file is missing or damaged."""
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; give the JSON file of an analysis.") from None
        except ValueError:
            raise DataError(f"{path} is not JSON; give the JSON file of an analysis.") from None
        if not isinstance(fields, dict):
            raise DataError(f"{path} holds no JSON object; give the JSON file of an analysis.")
        if fields.get("kind") != cls.KIND:
            raise DataError(f"{path} holds no {cls.KIND!r} result; give the JSON file of that analysis.")
        return cls.from_dict(fields)


def _names(cls: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists, what is not finite as None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _field(value: Any, is_array: bool) -> Any:
    if value is None:
        return None
    if is_array:
        return np.array(value, dtype=np.float64)  # null becomes NaN
    return tuple(value) if isinstance(value, list) else value
