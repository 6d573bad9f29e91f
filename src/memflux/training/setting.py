"""How a study says what it varies: a setting as a range or as choices, and presets of several."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

from memflux.errors import InvalidValue

Value = int | float | str | bool
"""A setting of a config or a schedule."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """Numbers from `low` to `high`, both included; whole ones where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Drawn evenly in the logarithm."""
    step: int | float | None = None
    """Distance of neighbouring values; None: 1 for whole numbers, none for others."""

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise InvalidValue(f"{name} = {value!r} of a range is not finite; give a number.")
        if not self.low < self.high:
            raise InvalidValue(f"low = {self.low:g} of a range is not below high = {self.high:g}; swap or change them.")
        if self.log and not self.low > 0:
            raise InvalidValue(
                f"low = {self.low:g} of a logarithmic range is not positive; raise it, or leave log out."
            )
        if self.whole and not isinstance(self.step, int | None):
            raise InvalidValue(f"step = {self.step!r} of a range of whole numbers is none; give a whole step.")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise InvalidValue(
                f"step = {self.step!r} of a range must be positive, at most {self.high - self.low:g}, and without log."
            )

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> tuple[Value, ...]:
        """Values that show whether a setting takes them all."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        """Whether it may be drawn."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        place = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(place - round(place)) < 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Among:
    """One of some values, in no order."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) != len(self.values):
            raise InvalidValue(f"choices = {list(self.values)} must be at least two different values.")

    def ends(self) -> tuple[Value, ...]:
        """Values that show whether a setting takes them all."""
        return self.values

    def __contains__(self, value: object) -> bool:
        """Whether it may be drawn."""
        return value in self.values


Setting = Between | Among


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A search space by name: what varies, and what is held at other than its default."""

    model: str
    search: Mapping[str, Setting]
    fixed: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    source: str = "ours"


def ends_of(search: Mapping[str, Setting], fixed: Mapping[str, Value | None]) -> Iterator[dict[str, Value | None]]:
    """Settings that show whether a search can be trained: the fixed ones, and with each end of each range.

    Raises InvalidValue where a setting is in both.
    """
    if both := sorted(set(search) & set(fixed)):
        raise InvalidValue(f"{both[0]} is both varied and fixed; leave it out of one.")
    yield dict(fixed)
    for name, setting in search.items():
        yield from ({**fixed, name: value} for value in setting.ends())
