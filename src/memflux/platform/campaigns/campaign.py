"""The campaign file: which devices to simulate, and how, in one YAML document."""

import dataclasses
from pathlib import Path
from typing import Any, Self

import pydantic
import yaml

from memflux.device import CONTACT_DENSITIES
from memflux.errors import InvalidValue, check_choice, check_integer, check_names
from memflux.space import PRESETS, Space

DESIGNS = ("published",)
CONTROLS = ("accurate", "fast")
ENGINES = ("auto", "petsc", "compiled", "compact")
NOT_IN_THE_RECIPE = ("workers",)  # how it is run; rows do not depend on it
_CHOICES = {
    "space": tuple(PRESETS),
    "design": DESIGNS,
    "control": CONTROLS,
    "engine": ENGINES,
    "contact_density": CONTACT_DENSITIES,
}
_RANGES = {
    "count": (1, 10**9),
    "seed": (0, 2**63 - 1),
    "samples": (8, 1_000_000),
    "shard_size": (1, 2**16),
    "workers": (1, 100_000),
}


class Campaign(pydantic.BaseModel):
    """What to simulate. Row i depends on everything here but `count`, `shard_size` and `workers`, and on i.

    Raises InvalidValue, in one sentence, for unknown keys and for values out of range.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    space: str
    """Preset of the design space that devices and drives are drawn from."""
    count: int
    """Devices wanted. It may grow later: what is there stays."""
    seed: int = 0
    """Seed of the draws."""
    design: str = "published"
    """How points are drawn: "published" is independent and uniform, on 10,000 values a parameter."""
    samples: int = 160
    """Samples a cycle, on a common grid of phase."""
    control: str = "accurate"
    """Step control of the solver: "accurate" or "fast"."""
    engine: str = "auto"
    """"auto", "petsc" or "compiled"; "compact" is a cheap model that stands in for the physics, to try the plumbing."""
    contact_density: str = "equilibrium"
    """Carrier density at the contacts: "equilibrium" as published, or "lowered" with the barrier."""
    shard_size: int = 16
    """Devices a shard: what one worker makes at a time, and what an interruption costs at most."""
    workers: int | None = None
    """Processes that solve; null: one a core."""

    def __init__(self, **fields: object) -> None:
        try:
            super().__init__(**fields)
        except pydantic.ValidationError as error:
            raise InvalidValue(_sentence(error)) from None

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check(cls, value: object, info: pydantic.ValidationInfo) -> object:
        name = str(info.field_name)
        if name in _CHOICES:
            return check_choice(name, value, _CHOICES[name])
        if name == "workers" and value is None:
            return None
        low, high = _RANGES[name]
        return check_integer(name, value, low=low, high=high)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a campaign file; InvalidValue says what in it is wrong."""
        try:
            fields = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidValue(f"{path} cannot be read: {error.strerror}; give the path of a campaign file.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidValue(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
        if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
            raise InvalidValue(f"{path} does not hold 'key: value' lines; see memflux campaign new --help.")
        return cls(**fields)

    def to_yaml(self) -> str:
        """The campaign file, each field with a comment."""
        lines = ["# A campaign: see `memflux campaign --help`. Energies in eV, everything else in SI units."]
        for name in type(self).model_fields:
            value = yaml.safe_dump(getattr(self, name), default_flow_style=True).splitlines()[0]
            lines.append(f"{f'{name}: {value}':<30}  # {_COMMENTS[name]}")
        return "\n".join(lines) + "\n"

    def recipe(self) -> dict[str, Any]:
        """What the rows depend on, JSON-ready: the part of the manifest that must not change."""
        return self.model_dump(exclude=set(NOT_IN_THE_RECIPE))

    def design_space(self) -> Space:
        """The space of the devices, its constants as this campaign has them."""
        space = Space.preset(self.space)
        return dataclasses.replace(space, device=space.device.replace(contact_density=self.contact_density))


def shard_size_for(count: int) -> int:
    """Devices a shard for a campaign of `count`: few, so that little is lost, but not a million files."""
    return min(1024, max(16, -(-count // 2000)))


_COMMENTS = {
    "space": f"design space: {', '.join(PRESETS)}",
    "count": "devices wanted; it may grow later, what is there stays",
    "seed": "of the draws; device i depends on space, design, seed and i alone",
    "design": "independent uniform draws on 10,000 values a parameter",
    "samples": "a cycle, on a common grid of phase",
    "control": f"step control of the solver: {', '.join(CONTROLS)}",
    "engine": f"{', '.join(ENGINES)} (a cheap stand-in for the physics, to try the plumbing)",
    "contact_density": f"carriers at the contacts: {', '.join(CONTACT_DENSITIES)}",
    "shard_size": "devices a file: what one worker makes at a time",
    "workers": "processes that solve; null: one a core",
}


def _sentence(error: pydantic.ValidationError) -> str:
    """The first thing that is wrong, as a sentence."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "campaign"
    if first["type"] == "extra_forbidden":
        try:
            check_names("key of a campaign", [name], Campaign.model_fields)
        except InvalidValue as unknown:
            return str(unknown)
    if first["type"] == "missing":
        return f"the campaign has no {name!r}; add a line '{name}: ...' ({_COMMENTS[name]})."
    cause = first.get("ctx", {}).get("error")
    return str(cause) if cause is not None else f"{name}: {first['msg']}."
