"""Compact models of memristors: one state x in [0, 1], its rate dx/dt = f(x, v) and the current i(x, v).

x = 1 conducts best, and a positive voltage raises x; polarity = -1 turns the device around. Equations are in
`compact_equations`; here are their parameters, with units and with the ranges that a fit looks in.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from memflux import compact_equations as equations
from memflux.compact_equations import Equations
from memflux.constants import thermal_voltage
from memflux.errors import InvalidValue, check_choice, check_integer, check_names, check_number

WARM = 1.0 / thermal_voltage(300.0)  # 1/V


class Parameter(NamedTuple):
    """One number of a model: its unit, and where a fit looks for it in the natural unit of the drive (`Scale`)."""

    name: str
    unit: str
    low: float
    high: float
    log: bool  # the search is by logarithm
    usual: float | None  # what a fit holds it at unless told otherwise; None: it is fitted


class Scale(NamedTuple):
    """Natural units of a set of records: largest voltage of the source, largest current, mean period."""

    volt: float  # V
    ampere: float  # A
    second: float  # s

    def unit(self, name: str) -> float:
        """The natural unit of a quantity whose SI unit is `name`."""
        units = {
            "1": 1.0,
            "V": self.volt,
            "1/V": 1.0 / self.volt,
            "A": self.ampere,
            "Ohm": self.volt / self.ampere,
            "s": self.second,
            "1/s": 1.0 / self.second,
            "1/C": 1.0 / (self.ampere * self.second),
        }
        return units[name]


def _looked_for(unit: str, low: float, high: float, *, log: bool = False, usual: float | None = None) -> Any:
    """A field of a model with its unit, and the range of a fit in natural units."""
    return dataclasses.field(metadata={"parameter": (unit, low, high, log, usual)})


class AbstractCompact:
    """What every compact model can. Subclasses are frozen dataclasses whose fields are the parameters, SI."""

    __slots__ = ()
    KEY: ClassVar[str]  # its name on the command line and in files
    SOURCE: ClassVar[str]
    EQUATIONS: ClassVar[Equations]
    polarity: int

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """The P parameters, in the order of `values`."""
        fields = [f for f in dataclasses.fields(cls) if f.metadata]  # type: ignore[arg-type]
        return tuple(Parameter(f.name, *f.metadata["parameter"]) for f in fields)

    @property
    def values(self) -> np.ndarray:
        """The parameters as an array [P], SI."""
        return np.array([getattr(self, p.name) for p in self.parameters()])

    @classmethod
    def of(cls, values: np.ndarray, polarity: int = 1) -> Self:
        """The inverse of `values`."""
        return cls(**{p.name: float(v) for p, v in zip(cls.parameters(), values, strict=True)}, polarity=polarity)  # type: ignore[call-arg]

    def rate(self, x: Any, v: Any) -> Any:
        """dx/dt [1/s] at states x and voltages v [V], broadcast."""
        return self.EQUATIONS.rate(np.asarray(x, float), self.polarity * np.asarray(v, float), self.values)

    def current(self, x: Any, v: Any) -> Any:
        """i [A]."""
        sign = self.polarity
        return sign * self.EQUATIONS.current(np.asarray(x, float), sign * np.asarray(v, float), self.values)

    def to_dict(self) -> dict[str, Any]:
        """ "model", the parameters by name in SI, and "polarity"; JSON-ready."""
        numbers = {p.name: float(getattr(self, p.name)) for p in self.parameters()}
        return {"model": self.KEY} | numbers | {"polarity": self.polarity}

    def _check(self) -> None:
        """Refuse parameters that are not finite or, where they are searched by logarithm, not positive."""
        for parameter in self.parameters():
            name = f"{self.KEY}: {parameter.name}"
            low = 1e-300 if parameter.log else -1e300
            number = check_number(name, getattr(self, parameter.name), low=low, high=1e300, unit=parameter.unit)
            object.__setattr__(self, parameter.name, number)
        if self.polarity not in (-1, 1) or isinstance(self.polarity, bool):
            raise InvalidValue(f"polarity = {self.polarity!r} is no sign; give 1, or -1 for a device turned around.")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MMS(AbstractCompact):
    """Mean metastable switch: the share x of switches that are on. With f_ON = sigma(+beta (v - V_ON)).

    Molter and Nugent, CNNA 2016; eqs. 10-13 of Bednarz, Garda and Galias, where f_ON is printed with the other sign.
    """

    KEY: ClassVar[str] = "mms"
    SOURCE: ClassVar[str] = "mean metastable switch, L. Minati et al., doi 10.1016/j.chaos.2020.109990"
    EQUATIONS: ClassVar[Equations] = equations.MMS

    tau: float = _looked_for("s", 1e-4, 1e3, log=True)  # s, of switching
    beta: float = _looked_for("1/V", 0.5, 500.0, log=True, usual=WARM)  # 1/V, q/(k T)
    v_on: float = _looked_for("V", -0.5, 2.0)  # V
    v_off: float = _looked_for("V", -2.0, 0.5)  # V
    r_on: float = _looked_for("Ohm", 1e-3, 1.0, log=True)  # Ohm
    r_off: float = _looked_for("Ohm", 0.1, 1e4, log=True)  # Ohm
    polarity: int = 1

    def __post_init__(self) -> None:
        self._check()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GMMS(AbstractCompact):
    """The metastable switches beside a Schottky diode; carries a current at 0 V unless alpha_f = alpha_r.

    T. W. Molter and M. A. Nugent, CNNA 2016; eq. 14 of Bednarz, Garda and Galias.
    """

    KEY: ClassVar[str] = "gmms"
    SOURCE: ClassVar[str] = "generalized metastable switch, V. Ostrovskii et al., doi 10.3390/nano12010063"
    EQUATIONS: ClassVar[Equations] = equations.GMMS

    tau: float = _looked_for("s", 1e-4, 1e3, log=True)  # s
    beta: float = _looked_for("1/V", 0.5, 500.0, log=True, usual=WARM)  # 1/V, q/(k T)
    v_on: float = _looked_for("V", -0.5, 2.0)  # V
    v_off: float = _looked_for("V", -2.0, 0.5)  # V
    r_on: float = _looked_for("Ohm", 1e-3, 1.0, log=True)  # Ohm
    r_off: float = _looked_for("Ohm", 0.1, 1e4, log=True)  # Ohm
    phi: float = _looked_for("1", 0.0, 1.0, usual=0.5)  # 1, share of the memory in the current; any in (0, 1) will do
    alpha_f: float = _looked_for("A", 1e-8, 10.0, log=True)  # A
    beta_f: float = _looked_for("1/V", 0.05, 50.0, log=True)  # 1/V
    alpha_r: float = _looked_for("A", 1e-8, 10.0, log=True)  # A
    beta_r: float = _looked_for("1/V", 0.05, 50.0, log=True)  # 1/V
    polarity: int = 1

    def __post_init__(self) -> None:
        self._check()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VTEAM(AbstractCompact):
    """Thresholds in voltage. x = (w - w_off) / (w_on - w_off), resistance linear in x, a window for either direction.

    S. Kvatinsky et al., doi 10.1109/TCSII.2015.2433536; the windows are those of Biolek, 1 - x^(2 w) upwards and
    1 - (1 - x)^(2 w) downwards.
    """

    KEY: ClassVar[str] = "vteam"
    SOURCE: ClassVar[str] = "VTEAM, S. Kvatinsky et al., doi 10.1109/TCSII.2015.2433536"
    EQUATIONS: ClassVar[Equations] = equations.VTEAM

    k_on: float = _looked_for("1/s", 1e-4, 1e6, log=True)  # 1/s
    k_off: float = _looked_for("1/s", 1e-4, 1e6, log=True)  # 1/s
    v_on: float = _looked_for("V", 1e-3, 1.0, log=True)  # V, above which x rises
    v_off: float = _looked_for("V", -1.0, -1e-3)  # V, below which x falls
    alpha_on: float = _looked_for("1", 0.5, 10.0)  # 1
    alpha_off: float = _looked_for("1", 0.5, 10.0)  # 1
    window: float = _looked_for("1", 0.25, 10.0, log=True)  # 1
    r_on: float = _looked_for("Ohm", 1e-3, 1.0, log=True)  # Ohm
    r_off: float = _looked_for("Ohm", 0.1, 1e4, log=True)  # Ohm
    polarity: int = 1

    def __post_init__(self) -> None:
        self._check()
        if self.v_off >= 0.0:
            raise InvalidValue(f"vteam: v_off = {self.v_off:g} V is not below 0; give the negative threshold.")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Yakopcic(AbstractCompact):
    """Thresholds in voltage with an exponential beyond, and a current like a hyperbolic sine; eta = 1.

    C. Yakopcic et al., doi 10.1109/LED.2011.2163292.
    """

    KEY: ClassVar[str] = "yakopcic"
    SOURCE: ClassVar[str] = "C. Yakopcic et al., doi 10.1109/LED.2011.2163292"
    EQUATIONS: ClassVar[Equations] = equations.YAKOPCIC

    magnitude_p: float = _looked_for("1/s", 1e-5, 1e5, log=True)  # 1/s, A_p
    magnitude_n: float = _looked_for("1/s", 1e-5, 1e5, log=True)  # 1/s, A_n
    v_p: float = _looked_for("V", 1e-4, 1.0, log=True)  # V
    v_n: float = _looked_for("V", 1e-4, 1.0, log=True)  # V, as a magnitude
    alpha_p: float = _looked_for("1", 0.01, 20.0, log=True)  # 1
    alpha_n: float = _looked_for("1", 0.01, 20.0, log=True)  # 1
    x_p: float = _looked_for("1", 0.01, 0.99)  # 1
    x_n: float = _looked_for("1", 0.01, 0.99)  # 1
    a_1: float = _looked_for("A", 1e-3, 1e3, log=True)  # A
    a_2: float = _looked_for("A", 1e-3, 1e3, log=True)  # A
    b: float = _looked_for("1/V", 0.01, 20.0, log=True)  # 1/V
    polarity: int = 1

    def __post_init__(self) -> None:
        self._check()
        for name in ("x_p", "x_n"):
            check_number(f"yakopcic: {name}", getattr(self, name), low=0.0, high=0.999_999)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IonDrift(AbstractCompact):
    """Linear drift of dopants: dx/dt = drift i, with drift = mu R_ON / D^2; a large window acts as hard limits.

    D. B. Strukov et al., doi 10.1038/nature06932, with the windows of Biolek as in VTEAM.
    """

    KEY: ClassVar[str] = "ion-drift"
    SOURCE: ClassVar[str] = "linear ion drift, D. B. Strukov et al., doi 10.1038/nature06932"
    EQUATIONS: ClassVar[Equations] = equations.ION_DRIFT

    drift: float = _looked_for("1/C", 1e-4, 1e5, log=True)  # 1/C
    window: float = _looked_for("1", 0.25, 10.0, log=True)  # 1
    r_on: float = _looked_for("Ohm", 1e-3, 1.0, log=True)  # Ohm
    r_off: float = _looked_for("Ohm", 0.1, 1e4, log=True)  # Ohm
    polarity: int = 1

    def __post_init__(self) -> None:
        self._check()


MODELS: tuple[type[AbstractCompact], ...] = (MMS, GMMS, VTEAM, Yakopcic, IonDrift)
KEYS = tuple(model.KEY for model in MODELS)


def model_class(key: object) -> type[AbstractCompact]:
    """The class of a model's name; InvalidValue for another."""
    return MODELS[KEYS.index(check_choice("model", key, KEYS))]


def from_dict(fields: Mapping[str, Any]) -> AbstractCompact:
    """The inverse of `to_dict`; InvalidValue for unknown, missing or refused fields."""
    rest = dict(fields)
    cls = model_class(rest.pop("model", None))
    known = [p.name for p in cls.parameters()]
    check_names(f"parameter of {cls.KEY}", rest, [*known, "polarity"])
    if missing := [name for name in known if name not in rest]:
        raise InvalidValue(f"the {cls.KEY} model has no {', '.join(missing)}; give every parameter.")
    sign = check_integer("polarity", rest.get("polarity", 1), low=-1, high=1)
    values = [check_number(f"{cls.KEY}: {name}", rest[name], low=-1e300, high=1e300) for name in known]
    return cls.of(np.array(values), sign)
