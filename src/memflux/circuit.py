"""What stands between the source and the device: nothing, a resistor, a limit."""

import dataclasses

from memflux.errors import InvalidValue, check_choice, check_number

SOURCES = ("voltage", "current")
DEFAULT_LIMIT = 100.0  # V, that a current source reaches at most


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """The circuit of one device; the default applies the drive to its right contact.

    source: "voltage": the drive is the voltage V_s of a source, R I + V = V_s with the voltage V of the
    device. "current": the values of the drive are amperes, I = I_s. At its compliance the source gives
    way: |I| <= `compliance` [A] of a voltage source, |V| <= `compliance` [V] of a current source. I is the
    total current. Raises InvalidValue.
    """

    source: str = "voltage"
    series_resistance: float = 0.0  # Ohm
    compliance: float | None = None  # A, or V of a current source; None: no limit, or 100 V

    def __post_init__(self) -> None:
        check_choice("source", self.source, SOURCES)
        resistance = check_number("series_resistance", self.series_resistance, low=0.0, high=1e18, unit="Ohm")
        object.__setattr__(self, "series_resistance", resistance)
        if self.compliance is not None:
            unit = "V" if self.source == "current" else "A"
            limit = check_number("compliance", self.compliance, low=1e-21, high=1e6, unit=unit)
            object.__setattr__(self, "compliance", limit)
        if self.source == "current" and self.series_resistance > 0.0:
            raise InvalidValue(
                f"series_resistance = {self.series_resistance:g} Ohm does nothing to source = 'current'; leave it out."
            )

    @property
    def plain(self) -> bool:
        """Whether the drive is simply the voltage of the device."""
        return self.source == "voltage" and self.series_resistance == 0.0 and self.compliance is None


NO_CIRCUIT = Circuit()
