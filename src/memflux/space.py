"""Design spaces: which parameters vary, in which ranges, and how devices are drawn from them."""

import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
from jaxtyping import Bool, Float

from memflux.device import FIELDS, FOLLOWS, OPTIONAL, QUANTITIES, Device, Devices
from memflux.errors import InvalidValue, check_choice, check_integer, check_names, check_number
from memflux.waveform import AMPLITUDE, PERIOD, RandomDrive, Sine, Triangle, Waveform

DRIVE_PARAMETERS = {"amplitude": AMPLITUDE, "period": PERIOD}
ATTEMPTS = 1000  # draws of one device before a rule is given up
GRID = 10_000  # values a parameter takes in the published design
RULES = ("none", "within_gap")
DRIVES = ("triangle", "random")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One axis of a space: a device field, or "amplitude" or "period" of the drive."""

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        bound = DRIVE_PARAMETERS.get(self.name) or QUANTITIES.get(self.name)
        if bound is None:
            check_names("parameter that can vary", [self.name], [*QUANTITIES, *DRIVE_PARAMETERS])
            raise AssertionError(self.name)
        if self.name == "vacancy_charge":
            raise InvalidValue("vacancy_charge takes whole numbers alone and cannot vary; give it as a constant.")
        for end in ("low", "high"):
            check_number(f"{end} of {self.name}", getattr(self, end), low=bound.low, high=bound.high, unit=bound.unit)
        if not self.low < self.high:
            raise InvalidValue(f"low of {self.name} = {self.low:g} is not below high = {self.high:g}; swap them.")
        if self.log and self.low <= 0:
            raise InvalidValue(f"low of {self.name} = {self.low:g} cannot be on a log scale; give a positive one.")

    @property
    def unit(self) -> str:
        """Unit of the parameter ("1": none)."""
        return (DRIVE_PARAMETERS.get(self.name) or QUANTITIES[self.name]).unit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A box of P parameters around a base device and a base drive.

    `drive` "triangle" is the published one; with "random" every point of the box has a random drive of its
    own, and what is learned from them answers for any drive. `rule` "within_gap" keeps only devices whose
    barriers and vacancy offset (unless a mean vacancy density is given in its place) are below the gap.
    """

    name: str
    parameters: tuple[Parameter, ...]
    device: Device
    amplitude: float = 10.0  # V
    period: float = 8.0  # s
    cycles: int = 2
    rule: str = "none"
    drive: str = "triangle"

    def __post_init__(self) -> None:
        names = [p.name for p in self.parameters]
        if not names or len(set(names)) != len(names):
            raise InvalidValue(f"parameters = {names} must be one or more different names; remove the repeated.")
        if "vacancy_offset" in names and (
            self.device.mean_vacancy_density is not None or "mean_vacancy_density" in names
        ):
            raise InvalidValue("vacancy_offset has no effect where mean_vacancy_density is given; vary one of the two.")
        self._check_densities()
        check_choice("rule", self.rule, RULES)
        check_choice("drive", self.drive, DRIVES)
        Triangle(amplitude=self.amplitude, period=self.period, cycles=self.cycles)

    def _check_densities(self) -> None:
        """Refuse a box one of whose corners has more vacancies than sites for them."""
        ranges = {p.name: p for p in self.parameters}
        worst = {"mean_vacancy_density": "high", "vacancy_site_density": "low"}
        self.device.replace(**{n: getattr(ranges[n], end) for n, end in worst.items() if n in ranges})

    @classmethod
    def preset(cls, name: str) -> Self:
        """A published space: "2d", "4d", "5d", "7d", "9d", "5d-parametric", "16d", "16d-raw"; ours: "5d-any-drive"."""
        return cls(name=name, **PRESETS[check_choice("preset", name, PRESETS)])  # type: ignore[arg-type]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in the order of the columns of `values`."""
        return tuple(p.name for p in self.parameters)

    @property
    def varies_drive(self) -> bool:
        """Whether the drive differs from point to point."""
        return self.drive == "random" or any(name in DRIVE_PARAMETERS for name in self.names)

    def sample(self, count: int, seed: int, first: int = 0) -> tuple[Devices, Waveform]:
        """Devices `first` .. `first + count - 1` of the published design, and their drive.

        Every parameter takes one of 10,000 values, evenly spaced on its own scale, drawn
        independently. Sample i depends on (space, seed, i) alone, so sample(n) is a prefix of
        sample(m) for n < m and any worker can make its own share.
        """
        count = check_integer("count", count, low=0, high=2**40)
        first = check_integer("first", first, low=0, high=2**40)
        seed = check_integer("seed", seed, low=0, high=2**63 - 1)
        return self.keep(lambda attempt: self._draw(seed, first, count, attempt))

    def keep(self, draw: Callable[[int], Float[np.ndarray, "B P"]]) -> tuple[Devices, Waveform]:
        """Devices and drive at the points `draw(0)` of the unit cube, those that break the rule drawn again.

        Point i is that of the first attempt whose row i keeps the rule, so it depends on no other
        row. Raises InvalidValue where a point breaks the rule `ATTEMPTS` times.
        """
        unit = draw(0)
        waiting = np.flatnonzero(~self.allowed(unit))
        for attempt in range(1, ATTEMPTS):
            if not waiting.size:
                return self.build(unit)
            unit[waiting] = draw(attempt)[waiting]
            waiting = waiting[~self.allowed(unit[waiting])]
        if waiting.size:
            raise InvalidValue(
                f"{waiting.size} of {len(unit)} draws broke the rule {self.rule!r} {ATTEMPTS} times; "
                "widen the space, or take rule = 'none'."
            )
        return self.build(unit)

    def build(self, unit: Float[np.ndarray, "B P"]) -> tuple[Devices, Waveform]:
        """Devices and drive at the points `unit` of the unit cube."""
        return self.at(self.values(unit))

    def at(self, values: Float[np.ndarray, "B P"]) -> tuple[Devices, Waveform]:
        """Devices and drive with the parameter values (SI, eV) of each row."""
        columns = dict(zip(self.names, values.T, strict=True))
        numbers = {name: columns.pop(name) if name in columns else getattr(self, name) for name in DRIVE_PARAMETERS}
        devices = Devices.repeat(self.device, len(values), **columns)
        if self.drive == "triangle":
            return devices, Triangle(cycles=self.cycles, **numbers)
        return devices, RandomDrive(cycles=self.cycles, pattern=_patterns(self.unit(values)), **numbers)

    def values(self, unit: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """Parameter values (SI, eV) at the points `unit` of the unit cube."""
        axes = [
            p.low * (p.high / p.low) ** u if p.log else p.low + u * (p.high - p.low)
            for p, u in zip(self.parameters, unit.T, strict=True)
        ]
        return np.stack(axes, axis=1)

    def coordinates(self, devices: Devices, drive: Waveform) -> Float[np.ndarray, "B P"]:
        """The inverse of `build`: where devices lie in the unit cube (outside: below 0 or above 1)."""
        devices, numbers = devices.resolved(), drive_numbers(drive)
        columns = [numbers[name] if name in DRIVE_PARAMETERS else getattr(devices, name) for name in self.names]
        return self.unit(np.stack([np.broadcast_to(column, (len(devices),)) for column in columns], axis=1))

    def unit(self, values: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """The inverse of `values`: points of the unit cube (outside: below 0 or above 1)."""
        axes = [
            np.log(v / p.low) / np.log(p.high / p.low) if p.log else (v - p.low) / (p.high - p.low)
            for p, v in zip(self.parameters, values.T, strict=True)
        ]
        return np.stack(axes, axis=1)

    def contains(self, devices: Devices, drive: Waveform, slack: float = 1e-9) -> Bool[np.ndarray, " B"]:
        """Which devices lie in the box and keep its rule, with every constant as the base device and drive have it.

        A space of random drives holds every drive whose largest voltage and period are in the box.
        """
        if self.drive == "triangle" and not (isinstance(drive, Triangle) and drive.cycles == self.cycles):
            return np.zeros(len(devices), dtype=bool)
        unit = self.coordinates(devices, drive)
        inside = np.all((unit >= -slack) & (unit <= 1 + slack), axis=1)
        inside[inside] &= self.allowed(unit[inside])
        actual, base, varied = devices.resolved(), _batch_of(self.device), set(self.names)
        follows = {f for f in FOLLOWS if np.isnan(getattr(base, f)[0])}
        for name in set(FIELDS) - varied - follows:
            inside &= same_constant(name, actual, base)
        for name in follows - varied:
            inside &= getattr(actual, name) == getattr(actual, FOLLOWS[name])
        for name in set(DRIVE_PARAMETERS) - varied:
            inside &= np.isclose(drive_numbers(drive)[name], getattr(self, name), rtol=1e-12)
        return inside

    def _draw(self, seed: int, first: int, count: int, attempt: int) -> Float[np.ndarray, "B P"]:
        """Points of the published grid for draws first..first+count-1, by a counter-based generator."""
        words = 4 * -(-len(self.parameters) // 4)  # a Philox counter step yields four words
        key = np.random.SeedSequence([seed, zlib.crc32(self.name.encode())]).generate_state(2, np.uint64)
        stream = np.random.Philox(key=key, counter=[0, 0, 0, attempt]).advance(first * words // 4)
        raw = stream.random_raw(count * words).reshape(count, words)[:, : len(self.parameters)]
        return np.floor((raw >> np.uint64(11)) * 2.0**-53 * GRID) / (GRID - 1)

    def allowed(self, unit: Float[np.ndarray, "B P"]) -> Bool[np.ndarray, " B"]:
        """Which points of the unit cube the rule keeps: all of them without a rule."""
        return np.ones(len(unit), dtype=bool) if self.rule == "none" else self._kept(unit)

    def _kept(self, unit: Float[np.ndarray, "B P"]) -> Bool[np.ndarray, " B"]:
        devices, _ = self.build(unit)
        offset = np.where(np.isnan(devices.mean_vacancy_density), devices.vacancy_offset, -np.inf)
        return np.maximum(np.maximum(devices.barrier_left, devices.barrier_right), offset) < devices.band_gap

    def to_dict(self) -> dict[str, object]:
        """Everything `from_dict` needs, JSON-ready."""
        return dataclasses.asdict(self) | {
            "parameters": [dataclasses.asdict(p) for p in self.parameters],
            "device": self.device.to_dict(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`."""
        rest = dict(fields)
        check_names("field of a space", rest, [f.name for f in dataclasses.fields(cls)])
        parameters = tuple(Parameter(**p) for p in rest.pop("parameters"))  # type: ignore[attr-defined]
        device = Device.from_dict(rest.pop("device"))  # type: ignore[arg-type]
        return cls(parameters=parameters, device=device, **rest)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=32)
def _batch_of(device: Device) -> Devices:
    """A batch of one, whose arrays are read-only."""
    return Devices.of(device)


def drive_numbers(drive: Waveform) -> dict[str, np.ndarray]:
    """What a space knows of a drive, [] or [B] each: its largest voltage [V] of either sign, and its period [s]."""
    if isinstance(drive, Triangle | Sine | RandomDrive):
        return {"amplitude": np.asarray(drive.amplitude), "period": drive.periods()}
    phases = np.concatenate([np.zeros((*drive.corners().shape[:-1], 1)), drive.corners()], axis=-1)
    return {"amplitude": np.asarray(np.abs(drive.shape(phases)).max(axis=-1)), "period": drive.periods()}


def _patterns(unit: Float[np.ndarray, "B P"]) -> Float[np.ndarray, " B"]:
    """Patterns of random drives [B], each from its point alone: neighbours have nothing in common.

    A point is rounded first, so that the last bits of a logarithm, which differ from machine to machine, do not matter.
    """
    words = np.rint(unit * 2.0**30).astype(np.int64).astype("<u4")
    return np.array(
        [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "little") >> 11 for row in words], float
    )


def same_constant(name: str, devices: Devices, base: Devices) -> Bool[np.ndarray, " B"]:
    """Whether field `name` of each device is that of `base` (a batch of one, or of as many).

    What neither gives is the same, and so are offsets that have no effect.
    """
    mine, wanted = getattr(devices, name), getattr(base, name)
    same = np.asarray(mine == wanted)
    if name == "vacancy_offset":
        same = same | ~np.isnan(devices.mean_vacancy_density)
    if name in OPTIONAL:
        same = same | (np.isnan(mine) & np.isnan(wanted))
    return same


_TABLE_2 = (
    Parameter(name="period", low=1.0, high=10.0),
    Parameter(name="amplitude", low=1.0, high=10.0),
    Parameter(name="length", low=1e-6, high=2e-6),
    Parameter(name="donor_density", low=1e19, high=1e21, log=True),
    Parameter(name="vacancy_offset", low=0.28, high=0.32),
    Parameter(name="mobility_electron", low=1e-4, high=1e-2, log=True),
    Parameter(name="mobility_vacancy", low=1e-14, high=1e-12, log=True),
    Parameter(name="barrier_left", low=0.05, high=0.17),
    Parameter(name="barrier_right", low=0.05, high=0.17),
)
_FIVE_PARAMETRIC = tuple(
    dataclasses.replace(p, low=1e-15, high=1e-13) if p.name == "mobility_vacancy" else p for p in _TABLE_2[4:]
)
_HDINN = (
    Parameter(name="length", low=0.5e-6, high=2e-6),
    Parameter(name="band_gap", low=0.3, high=3.5),
    Parameter(name="electron_affinity", low=1.0, high=5.0),
    Parameter(name="barrier_left", low=0.001, high=2.0),
    Parameter(name="barrier_right", low=0.001, high=2.0),
    Parameter(name="relative_permittivity", low=1.0, high=15.0),
    Parameter(name="image_force_permittivity", low=1.0, high=15.0),
    Parameter(name="electron_mass", low=0.1, high=0.9),
    Parameter(name="hole_mass", low=0.1, high=0.9),
    Parameter(name="mobility_electron", low=1e-6, high=500.0, log=True),
    Parameter(name="mobility_hole", low=1e-6, high=500.0, log=True),
    Parameter(name="mobility_vacancy", low=1e-18, high=1e-8, log=True),
    Parameter(name="vacancy_offset", low=0.1, high=3.0),
    Parameter(name="amplitude", low=5.0, high=13.0),
    Parameter(name="period", low=1.0, high=20.0),
)


def _published(count: int) -> Mapping[str, object]:
    return {"parameters": _TABLE_2[:count], "device": Device.preset("seed")}


PRESETS: Mapping[str, Mapping[str, object]] = {
    # Spetzler et al., arXiv 2505.13882, Table 2 and section 4.2.
    "2d": _published(2),
    "4d": _published(4),
    "5d": _published(5),
    "7d": _published(7),
    "9d": _published(9),
    "5d-parametric": {
        "parameters": _FIVE_PARAMETRIC,
        "device": Device.preset("seed").replace(donor_density=1e21),
    },
    # Ours: the devices of 5d-parametric under any drive. 320 samples a period are one every 10 to 50 ms.
    "5d-any-drive": {
        "parameters": (
            Parameter(name="period", low=3.2, high=16.0, log=True),
            Parameter(name="amplitude", low=1.0, high=10.0),
            *_FIVE_PARAMETRIC,
        ),
        "device": Device.preset("seed").replace(donor_density=1e21),
        "cycles": 1,
        "drive": "random",
    },
    # Zamankhani, "Data-driven modeling of hysteresis in ReRAM devices", Table 1; masses in m_e.
    "16d": {"parameters": _HDINN, "device": Device(donor_density=1e21), "rule": "within_gap"},
    "16d-raw": {"parameters": _HDINN, "device": Device(donor_density=1e21)},
}
