"""A part of a file that people write: frozen, unknown keys refused, each mistake worded in one sentence."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic
import yaml

from memflux.errors import InvalidValue, check_names

# YAML 1.1 reads a number with an exponent as text where it has no point or no sign: 1e-6, 1.5e6.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


class Section(pydantic.BaseModel):
    """Base of the parts of a file. Raises InvalidValue, in one sentence, for whatever is wrong with one."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    section_title: ClassVar[str]
    """What messages call this part."""
    section_comments: ClassVar[Mapping[str, str]]
    """What each line is for, a few words."""

    def __init__(self, /, **fields: object) -> None:
        try:
            super().__init__(**fields)
        except pydantic.ValidationError as error:
            raise InvalidValue(_sentence(type(self), error)) from None

    @classmethod
    def fields_from_yaml(cls, path: str | Path, command: str) -> dict[str, Any]:
        """What a file of this kind holds by name; `command` is the one that writes such files. Raises InvalidValue."""
        try:
            fields = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidValue(
                f"{path} cannot be read: {error.strerror}; give the path of a {cls.section_title} file."
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidValue(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
        if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
            raise InvalidValue(f"{path} does not hold 'key: value' lines; see {command} --help.")
        return fields

    def yaml_with_comments(self, heading: str, without: Collection[str] = ()) -> str:
        """The file, each line with its comment, below a heading; fields in `without` are left out."""
        lines = [f"# {heading}"]
        for name, value in self.model_dump(mode="json", exclude=set(without)).items():
            comment = self.section_comments[name]
            if isinstance(value, dict) and value:
                lines += [f"{f'{name}:':<30}  # {comment}"]
                lines += [f"  {line}" for line in yaml.safe_dump(value, sort_keys=False).splitlines()]
            else:
                text = yaml.safe_dump(value, default_flow_style=True, width=10**9).splitlines()[0]
                lines.append(f"{f'{name}: {text}':<30}  # {comment}")
        return "\n".join(lines) + "\n"

    @classmethod
    def read(cls, what: str, value: object) -> Self:
        """This part from the mapping that a file holds under the key `what`."""
        return value if isinstance(value, cls) else cls(**mapping(what, value))


def mapping(what: str, value: object) -> dict[str, object]:
    """`value` as a mapping by name, or InvalidValue."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidValue(f"{what} = {value!r} does not hold 'key: value' lines; write one a name below it.")
    return dict(value)


def number(name: str, value: object) -> float:
    """`value` as a float, also where YAML took it for text; whoever uses it checks its range."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue(f"{name} = {value!r} is not a number; write one, such as 0.15 or 1.5e-6.")
    return float(value)


def _sentence(section: type[Section], error: pydantic.ValidationError) -> str:
    """The first thing that is wrong: a mistyped key ahead of the one that is missing for it."""
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    name = str(first["loc"][0]) if first["loc"] else section.section_title
    if first["type"] == "extra_forbidden":
        try:
            check_names(f"key of a {section.section_title}", [name], section.model_fields)
        except InvalidValue as unknown:
            return str(unknown)
    if first["type"] == "missing":
        comment = section.section_comments[name]
        return f"the {section.section_title} has no {name!r}; add a line '{name}: ...' ({comment})."
    cause = first.get("ctx", {}).get("error")
    return str(cause) if cause is not None else f"{name}: {first['msg']}."
