"""Compact models of memristors: one state x in [0, 1], its rate dx/dt = f(x, v) and the current i(x, v).

x = 1 conducts best, and a positive voltage raises x (polarity = -1 turns the device around). The equations are
plain functions of (x, v, p) with NumPy's elementary functions alone, so that one text serves arrays here, the
compiler in `analysis.memristor_march` (real, and complex for derivatives) and the circuit languages of `netlist`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self, no_type_check

import numpy as np

from memflux.constants import thermal_voltage
from memflux.errors import InvalidValue, check_choice, check_integer, check_names, check_number

TINY = 1e-30  # base of a power that stands for 0
WARM = 1.0 / thermal_voltage(300.0)  # 1/V
STEEP = 300.0  # argument of an exponential that stands for infinity


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


# What the models' equations are made of. Each is a function of scalars or arrays, real or complex.
# Unchecked, because a compiler takes them as they are.


@no_type_check
def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return 1.0 / (1.0 + np.exp(np.minimum(-z, STEEP)))


@no_type_check
def power(base, exponent):
    """base**exponent of a base that counts as 0 where it is negative."""
    return np.exp(exponent * np.log(np.maximum(base, TINY)))


@no_type_check
def mixed_conductance(x, r_on, r_off):
    """G(x) of both states side by side [S]: eq. 10 of Bednarz, Garda and Galias."""
    return x / r_on + (1.0 - x) / r_off


@no_type_check
def mms_rate(x, v, p):
    """Eqs. 11-13; p = tau, beta, v_on, v_off, ..."""
    return (sigmoid(p[1] * (v - p[2])) * (1.0 - x) - sigmoid(p[1] * (p[3] - v)) * x) / p[0]


@no_type_check
def mms_current(x, v, p):
    """Eq. 10; p = ..., r_on, r_off."""
    return mixed_conductance(x, p[4], p[5]) * v


@no_type_check
def mms_conductance(x, v, p):
    """di/dv."""
    return mixed_conductance(x, p[4], p[5]) + 0.0 * v


@no_type_check
def gmms_current(x, v, p):
    """Eq. 14; p = (those of MMS), phi, alpha_f, beta_f, alpha_r, beta_r."""
    schottky = p[7] * np.exp(np.minimum(p[8] * v, STEEP)) - p[9] * np.exp(np.minimum(-p[10] * v, STEEP))
    return p[6] * mixed_conductance(x, p[4], p[5]) * v + (1.0 - p[6]) * schottky


@no_type_check
def gmms_conductance(x, v, p):
    """di/dv."""
    forward = p[7] * p[8] * np.exp(np.minimum(p[8] * v, STEEP))
    reverse = p[9] * p[10] * np.exp(np.minimum(-p[10] * v, STEEP))
    return p[6] * mixed_conductance(x, p[4], p[5]) + (1.0 - p[6]) * (forward + reverse)


@no_type_check
def vteam_rate(x, v, p):
    """0 between the thresholds, a power of the excess beyond; p = k_on, k_off, v_on, v_off, a_on, a_off, w, ..."""
    rise = p[0] * power(v / p[2] - 1.0, p[4]) * (1.0 - power(x, 2.0 * p[6]))
    fall = p[1] * power(v / p[3] - 1.0, p[5]) * (1.0 - power(1.0 - x, 2.0 * p[6]))
    return rise - fall


@no_type_check
def vteam_current(x, v, p):
    """A resistance linear in the state; p = ..., r_on, r_off."""
    return v / (p[7] * x + p[8] * (1.0 - x))


@no_type_check
def vteam_conductance(x, v, p):
    """di/dv."""
    return 1.0 / (p[7] * x + p[8] * (1.0 - x)) + 0.0 * v


@no_type_check
def yakopcic_rate(x, v, p):
    """g(v) f(x) of the paper, with the branches as maxima; p = A_p, A_n, V_p, V_n, alpha_p, alpha_n, x_p, x_n, ..."""
    up = p[0] * np.maximum(np.exp(np.minimum(v, STEEP)) - np.exp(p[2]), 0.0)
    down = p[1] * np.maximum(np.exp(np.minimum(-v, STEEP)) - np.exp(p[3]), 0.0)
    over, under = np.maximum(x - p[6], 0.0), np.maximum(1.0 - p[7] - x, 0.0)
    damped = np.exp(-p[4] * over) * (1.0 - over / (1.0 - p[6]))
    return up * damped - down * np.exp(-p[5] * under) * (1.0 - under / (1.0 - p[7]))


@no_type_check
def yakopcic_current(x, v, p):
    """A hyperbolic sine with an amplitude for either sign; p = ..., a_1, a_2, b."""
    forward, reverse = np.minimum(np.maximum(p[10] * v, 0.0), STEEP), np.minimum(np.maximum(-p[10] * v, 0.0), STEEP)
    return x * (p[8] * np.sinh(forward) - p[9] * np.sinh(reverse))


@no_type_check
def yakopcic_conductance(x, v, p):
    """di/dv: that of the reverse branch at 0 V."""
    forward, reverse = np.minimum(np.maximum(p[10] * v, 0.0), STEEP), np.minimum(np.maximum(-p[10] * v, 0.0), STEEP)
    ahead = forward / (forward + reverse + TINY)  # 1 in forward, 0 in reverse
    return x * p[10] * (p[8] * ahead * np.cosh(forward) + p[9] * (1.0 - ahead) * np.cosh(reverse))


@no_type_check
def drift_rate(x, v, p):
    """Proportional to the current, which the window stops at either end; p = drift, w, r_on, r_off."""
    current = drift_current(x, v, p)
    rise = np.maximum(current, 0.0) * (1.0 - power(x, 2.0 * p[1]))
    fall = np.maximum(-current, 0.0) * (1.0 - power(1.0 - x, 2.0 * p[1]))
    return p[0] * (rise - fall)


@no_type_check
def drift_current(x, v, p):
    """Two resistances in series."""
    return v / (p[2] * x + p[3] * (1.0 - x))


@no_type_check
def drift_conductance(x, v, p):
    """di/dv."""
    return 1.0 / (p[2] * x + p[3] * (1.0 - x)) + 0.0 * v


class Equations(NamedTuple):
    """f(x, v, p) [1/s], i(x, v, p) [A] and di/dv [S] of a model whose parameters are the sequence p."""

    rate: Any
    current: Any
    conductance: Any


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
    EQUATIONS: ClassVar[Equations] = Equations(mms_rate, mms_current, mms_conductance)

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
    EQUATIONS: ClassVar[Equations] = Equations(mms_rate, gmms_current, gmms_conductance)

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
    EQUATIONS: ClassVar[Equations] = Equations(vteam_rate, vteam_current, vteam_conductance)

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
    EQUATIONS: ClassVar[Equations] = Equations(yakopcic_rate, yakopcic_current, yakopcic_conductance)

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
    EQUATIONS: ClassVar[Equations] = Equations(drift_rate, drift_current, drift_conductance)

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
