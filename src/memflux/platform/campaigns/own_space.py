"""The `space:` of a campaign file where it is no preset's name: ranges and constants of one's own."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pydantic

from memflux.device import FIELDS, OPTIONAL, Device
from memflux.errors import InvalidValue, check_bool, check_choice, check_integer, check_names, check_number
from memflux.platform.section import Section, mapping, number
from memflux.space import DRIVE_PARAMETERS, DRIVES, PRESETS, RULES, Parameter, Space
from memflux.waveform import MAX_CYCLES

_CHOICES = {"preset": PRESETS, "rule": RULES, "drive": DRIVES}


class Range(Section):
    """Where a parameter varies; `Parameter` checks it against the physical bounds."""

    section_title: ClassVar[str] = "range"
    section_comments: ClassVar[Mapping[str, str]] = {
        "low": "the smallest value, in SI units, energies in eV",
        "high": "the largest value, in SI units, energies in eV",
    }

    low: float
    """The smallest value, in SI units (energies in eV)."""
    high: float
    """The largest value."""
    log: bool = False
    """Whether draws are even on a logarithmic scale."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check(cls, value: object, info: pydantic.ValidationInfo) -> object:
        name = str(info.field_name)
        return check_bool(name, value) if name == "log" else number(name, value)


class OwnSpace(Section):
    """A space by the ranges of its parameters and its constants, or a preset with some of them changed.

    Raises InvalidValue where `Parameter`, `Device` or `Space` do, and where two lines contradict each other.
    """

    section_title: ClassVar[str] = "space"
    section_comments: ClassVar[Mapping[str, str]] = {}

    name: str | None = None
    """Of the space; draws depend on it. Default: that of the preset, or "own"."""
    preset: str | None = None
    """Preset of the space that this one starts from: what is given here takes the place of what it has."""
    device: str | None = None
    """Preset of the device that has the constants, where the space starts from no preset. Default: "seed"."""
    constants: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Device fields that differ from the preset's."""
    parameters: dict[str, Range] = pydantic.Field(default_factory=dict)
    """What varies: device fields, and amplitude and period of the drive."""
    amplitude: float | None = None
    """Of the drive, where it does not vary [V]. Default: 10."""
    period: float | None = None
    """Of the drive, where it does not vary [s]. Default: 8."""
    cycles: int | None = None
    """Of the drive. Default: 2."""
    rule: str | None = None
    """"within_gap" keeps devices whose barriers and vacancy offset are below the gap. Default: "none"."""
    drive: str | None = None
    """"random" gives every device a random drive of its own. Default: "triangle"."""

    @pydantic.field_validator("name", "preset", "device", "rule", "drive", mode="before")
    @classmethod
    def _text(cls, value: object, info: pydantic.ValidationInfo) -> object:
        name = str(info.field_name)
        if name in _CHOICES and value is not None:
            return check_choice(name, value, _CHOICES[name])
        if value is not None and (not isinstance(value, str) or not value):
            raise InvalidValue(f"{name} of the space = {value!r} is not a text; put a name there.")
        return value

    @pydantic.field_validator("constants", mode="before")
    @classmethod
    def _constants(cls, value: object) -> object:
        constants = mapping("constants", value)
        check_names("device field", constants, FIELDS)
        if "contact_density" in constants:
            raise InvalidValue("contact_density is a line of the campaign, and no constant; move it there.")
        return {name: _constant(name, given) for name, given in constants.items()}

    @pydantic.field_validator("parameters", mode="before")
    @classmethod
    def _ranges(cls, value: object) -> object:
        return {name: _range(name, given) for name, given in mapping("parameters", value).items()}

    @pydantic.field_validator("amplitude", "period", mode="before")
    @classmethod
    def _of_the_drive(cls, value: object, info: pydantic.ValidationInfo) -> object:
        if value is None:
            return None
        name = str(info.field_name)
        unit, low, high = DRIVE_PARAMETERS[name]
        return check_number(name, number(name, value), low=low, high=high, unit=unit)

    @pydantic.field_validator("cycles", mode="before")
    @classmethod
    def _cycles(cls, value: object) -> object:
        return None if value is None else check_integer("cycles", value, low=1, high=MAX_CYCLES)

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        self.build()
        return self

    def build(self) -> Space:
        """The space itself."""
        base: dict[str, Any] = dict(PRESETS[self.preset]) if self.preset else {"parameters": ()}
        if self.preset and self.device:
            raise InvalidValue(f"device = {self.device!r} stands beside preset = {self.preset!r}; give one of the two.")
        device = base.pop("device") if self.preset else Device.preset(self.device or "seed")
        varies = {p.name: p for p in base.pop("parameters")}
        varies |= {name: Parameter(name=name, **vars(given)) for name, given in self.parameters.items()}
        names = ("amplitude", "period", "cycles", "rule", "drive")
        fields = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for name in (*self.constants, *fields):
            if name in varies:
                raise InvalidValue(f"{name} is a constant and varies as well; give it in one of the two places.")
        if not varies:
            raise InvalidValue("the space has no parameters; name what varies, with low and high, in 'parameters:'.")
        return Space(
            name=self.name or self.preset or "own",
            parameters=tuple(varies.values()),
            device=device.replace(**self.constants),
            **(base | fields),
        )

    def given(self) -> dict[str, Any]:
        """The lines that are there, JSON-ready."""
        return self.model_dump(exclude_defaults=True)


def _range(name: str, value: object) -> Range:
    """The range of parameter `name`, which the message of a mistake begins with."""
    try:
        return Range.read("range", value)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None


def _constant(name: str, value: object) -> object:
    """The value of a device field as a file gives it; `Device` checks its range."""
    if name == "vacancy_charge":
        return check_integer(name, value, low=-4, high=4)
    if name == "barrier_lowering":
        return check_bool(name, value)
    return None if value is None and name in OPTIONAL else number(name, value)
