"""The file of questions: named analyses, in one YAML document."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import pydantic

from memflux.errors import DataError, InvalidValue, check_choice
from memflux.platform.asking.fit import Fit
from memflux.platform.asking.questions import AbstractAnalysis, Map, Morris, Optimise, Pareto, Sobol
from memflux.platform.section import Section, mapping

ANALYSES: Mapping[str, type[AbstractAnalysis]] = {
    kind.command: kind for kind in (Sobol, Morris, Map, Optimise, Pareto, Fit)
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class Questions(Section):
    """What one model is asked. Raises InvalidValue, in one sentence, for whatever is wrong with one of them."""

    section_title: ClassVar[str] = "file of questions"
    section_comments: ClassVar[Mapping[str, str]] = {"analyses": "a list of analyses, each with a name"}

    analyses: tuple[AbstractAnalysis, ...]
    """Each of another name."""

    @pydantic.field_validator("analyses", mode="before")
    @classmethod
    def _each(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or not value:
            raise InvalidValue("analyses is not a list of one or more; see memflux ask new.")
        found = tuple(_read(number, part) for number, part in enumerate(value, 1))
        names = [part.name.lower() for part in found]  # some file systems do not know capitals
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InvalidValue(f"name = {repeated[0]!r} is that of two analyses; give each its own.")
        return found

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a file of questions; InvalidValue says what in it is wrong."""
        return cls(**cls.fields_from_yaml(path, "memflux ask new"))


def _read(number: int, value: object) -> AbstractAnalysis:
    """One entry of the list; words may be joined by - as in options, or by _."""
    if isinstance(value, AbstractAnalysis):
        return value
    fields = {key.replace("-", "_"): part for key, part in mapping(f"analysis {number}", value).items()}
    name = fields.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidValue(f"name = {name!r} of analysis {number} cannot name a file; write letters, digits, - and _.")
    try:
        kind = ANALYSES[check_choice("analysis", fields.pop("analysis", None), ANALYSES)]
        return kind.read(name, fields)
    except (InvalidValue, DataError) as error:
        raise InvalidValue(f"analysis {name!r}: {error}") from None
