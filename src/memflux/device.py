"""The device: what it is made of, how long it is, and what its contacts do."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self, overload

import numpy as np
from jaxtyping import Bool, Float

from memflux.errors import (
    InvalidValue,
    check_bool,
    check_choice,
    check_integer,
    check_names,
    check_number,
    check_numbers,
)

CONTACT_DENSITIES = ("equilibrium", "lowered")


class Quantity(NamedTuple):
    """Unit and allowed range of one real-valued device field."""

    unit: str
    low: float
    high: float


QUANTITIES: Mapping[str, Quantity] = {
    "length": Quantity("m", 1e-9, 1e-2),
    "width": Quantity("m", 1e-10, 1.0),
    "thickness": Quantity("m", 1e-10, 1.0),
    "temperature": Quantity("K", 50.0, 2000.0),
    "relative_permittivity": Quantity("1", 1.0, 1e5),
    "image_force_permittivity": Quantity("1", 1.0, 1e5),
    "band_gap": Quantity("eV", 0.01, 20.0),
    "electron_affinity": Quantity("eV", 0.0, 20.0),
    "electron_mass": Quantity("m_e", 1e-3, 100.0),
    "hole_mass": Quantity("m_e", 1e-3, 100.0),
    "mobility_electron": Quantity("m^2/(V s)", 1e-20, 1e4),
    "mobility_hole": Quantity("m^2/(V s)", 1e-20, 1e4),
    "mobility_vacancy": Quantity("m^2/(V s)", 1e-30, 1.0),
    "donor_density": Quantity("m^-3", 0.0, 1e30),
    "vacancy_site_density": Quantity("m^-3", 0.0, 1e31),
    "vacancy_offset": Quantity("eV", -20.0, 20.0),
    "mean_vacancy_density": Quantity("m^-3", 1e10, 1e31),
    "vacancy_charge": Quantity("1", -4.0, 4.0),
    "barrier_left": Quantity("eV", -5.0, 20.0),
    "barrier_right": Quantity("eV", -5.0, 20.0),
}

# None in a Device, NaN in a Devices: the field follows the one named here.
FOLLOWS: Mapping[str, str] = {
    "image_force_permittivity": "relative_permittivity",
    "mobility_hole": "mobility_electron",
}
OPTIONAL = (*FOLLOWS, "mean_vacancy_density")  # None in a Device, NaN in a Devices: not given


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One memristive device with two Schottky contacts; energies in eV, all else SI.

    The defaults are the constants of the published design space ("seed"). The left contact is
    grounded and the drive is applied to the right one. The vacancy level lies at
    E_x = -electron_affinity - vacancy_offset; `vacancy_site_density = 0` leaves vacancies out.
    `mean_vacancy_density`, averaged over the channel, takes the offset's place where it is given:
    the solver finds the offset that holds it at rest, and `vacancy_offset` has no effect.
    `contact_density` says whether the carrier density that the contacts relax to keeps its
    equilibrium value ("equilibrium", the published model) or follows the lowered barrier.

    Raises InvalidValue (a ValueError) for anything outside `QUANTITIES`.
    """

    length: float = 1e-6  # m
    width: float = 10e-6  # m
    thickness: float = 15e-9  # m
    temperature: float = 300.0  # K
    relative_permittivity: float = 10.0  # 1
    image_force_permittivity: float | None = None  # 1; None: relative_permittivity
    band_gap: float = 1.3  # eV
    electron_affinity: float = 4.0  # eV
    electron_mass: float = 0.55  # m_e
    hole_mass: float = 0.71  # m_e
    mobility_electron: float = 1.3e-3  # m^2/(V s)
    mobility_hole: float | None = None  # m^2/(V s); None: mobility_electron
    mobility_vacancy: float = 8.5e-14  # m^2/(V s)
    donor_density: float = 1e20  # m^-3
    vacancy_site_density: float = 1e28  # m^-3
    vacancy_offset: float = 0.30  # eV
    mean_vacancy_density: float | None = None  # m^-3; None: what follows from vacancy_offset
    vacancy_charge: int = 1  # elementary charges
    barrier_left: float = 0.167  # eV
    barrier_right: float = 0.148  # eV
    barrier_lowering: bool = True
    contact_density: str = "equilibrium"

    def __post_init__(self) -> None:
        for name, quantity in QUANTITIES.items():
            value = getattr(self, name)
            if name in OPTIONAL and value is None:
                continue
            if name == "vacancy_charge":
                value = _vacancy_charge(value)
            else:
                value = check_number(name, value, low=quantity.low, high=quantity.high, unit=quantity.unit)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "barrier_lowering", check_bool("barrier_lowering", self.barrier_lowering))
        check_choice("contact_density", self.contact_density, CONTACT_DENSITIES)
        if self.mean_vacancy_density is not None:
            _check_density("mean_vacancy_density", self.mean_vacancy_density, self.vacancy_site_density)

    @classmethod
    def preset(cls, name: str) -> Self:
        """A published device: "seed", "S1", "S2", "Ex107", "fit-a" or "fit-b"."""
        return cls.from_dict(_PRESETS[check_choice("preset", name, _PRESETS)])

    def replace(self, **changes: object) -> Self:
        """The same device with some fields changed; refused: unknown names, and an offset that has no effect."""
        check_names("device field", changes, FIELDS)
        changed = dataclasses.replace(self, **changes)  # type: ignore[arg-type]
        if "vacancy_offset" in changes and changed.mean_vacancy_density is not None:
            raise InvalidValue(_WITHOUT_EFFECT)
        return changed

    def resolved(self) -> Self:
        """The same device with every field that follows another one written out."""
        return self.replace(**{f: getattr(self, g) for f, g in FOLLOWS.items() if getattr(self, f) is None})

    def to_dict(self) -> dict[str, float | int | bool | str | None]:
        """The fields by name, JSON-ready; a mean vacancy density only where it is given, so that old keys hold."""
        given = self.mean_vacancy_density is not None
        return {name: getattr(self, name) for name in FIELDS if given or name != "mean_vacancy_density"}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`; absent fields take their defaults."""
        check_names("device field", fields, FIELDS)
        return cls(**fields)  # type: ignore[arg-type]

    def key(self) -> str:
        """A content address: equal devices have equal keys, on every machine."""
        fields = self.resolved().to_dict()
        if self.mean_vacancy_density is not None:
            del fields["vacancy_offset"]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def area(self) -> float:
        """Cross-section that the current flows through [m^2]."""
        return self.width * self.thickness


FIELDS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Device))


_WITHOUT_EFFECT = (
    "vacancy_offset has no effect where mean_vacancy_density is given; "
    "set mean_vacancy_density = None with it, or leave the offset out."
)


def _check_density(name: str, density: float, sites: float) -> None:
    if density >= sites:
        raise InvalidValue(
            f"{name} = {density:g} m^-3 is out of range; give a number from "
            f"{QUANTITIES['mean_vacancy_density'].low:g} m^-3 to below vacancy_site_density = {sites:g} m^-3, "
            "or more sites."
        )


def _vacancy_charge(value: object) -> int:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    charge = check_integer("vacancy_charge", value, low=-4, high=4)
    if charge == 0:
        raise InvalidValue("vacancy_charge = 0 is out of range; give a whole number from -4 to 4 other than 0.")
    return charge


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Devices:
    """A batch of B devices as arrays; the fields and units of `Device`.

    `devices[i]` is a Device, `devices[i:j]` (or an index array) a Devices. In the fields named in
    `OPTIONAL`, NaN stands for the None of a Device; `mean_vacancy_density` may be left out.
    """

    length: Float[np.ndarray, " B"]
    width: Float[np.ndarray, " B"]
    thickness: Float[np.ndarray, " B"]
    temperature: Float[np.ndarray, " B"]
    relative_permittivity: Float[np.ndarray, " B"]
    image_force_permittivity: Float[np.ndarray, " B"]
    band_gap: Float[np.ndarray, " B"]
    electron_affinity: Float[np.ndarray, " B"]
    electron_mass: Float[np.ndarray, " B"]
    hole_mass: Float[np.ndarray, " B"]
    mobility_electron: Float[np.ndarray, " B"]
    mobility_hole: Float[np.ndarray, " B"]
    mobility_vacancy: Float[np.ndarray, " B"]
    donor_density: Float[np.ndarray, " B"]
    vacancy_site_density: Float[np.ndarray, " B"]
    vacancy_offset: Float[np.ndarray, " B"]
    mean_vacancy_density: Float[np.ndarray, " B"] = None  # type: ignore[assignment]  # made NaN
    vacancy_charge: Float[np.ndarray, " B"]
    barrier_left: Float[np.ndarray, " B"]
    barrier_right: Float[np.ndarray, " B"]
    barrier_lowering: Bool[np.ndarray, " B"]
    contact_density: np.ndarray  # of str

    def __post_init__(self) -> None:
        if self.mean_vacancy_density is None:
            object.__setattr__(self, "mean_vacancy_density", np.full(np.shape(self.length), np.nan))
        for name, quantity in QUANTITIES.items():
            column = _column(name, getattr(self, name), quantity)
            object.__setattr__(self, name, column)
        for name in FIELDS:
            if getattr(self, name).shape != self.length.shape:
                raise InvalidValue(
                    f"{name} has {getattr(self, name).size} values and length has {self.length.size}; "
                    "give every field one value a device."
                )
        for i in np.flatnonzero(self.mean_vacancy_density >= self.vacancy_site_density)[:1]:
            density, sites = self.mean_vacancy_density[i], self.vacancy_site_density[i]
            _check_density(f"mean_vacancy_density[{i}]", float(density), float(sites))
        for choice in set(self.contact_density.tolist()):
            check_choice("contact_density", str(choice), CONTACT_DENSITIES)
        for name in ("barrier_lowering", "contact_density"):
            column = np.array(getattr(self, name))
            column.flags.writeable = False
            object.__setattr__(self, name, column)

    @classmethod
    def of(cls, devices: "Device | list[Device] | tuple[Device, ...]") -> Self:
        """A batch from one device or a sequence of devices."""
        rows = [devices] if isinstance(devices, Device) else list(devices)
        if not rows:
            raise InvalidValue("devices has no entries; give at least one device.")
        return cls(**{name: _stack(name, [getattr(d, name) for d in rows]) for name in FIELDS})

    @classmethod
    def repeat(cls, device: Device, count: int, **columns: np.ndarray) -> Self:
        """`count` copies of `device`, with the fields in `columns` replaced by arrays [count]."""
        check_names("device field", columns, FIELDS)
        count = check_integer("count", count, low=0, high=10**9)
        full = {name: np.repeat(_stack(name, [getattr(device, name)]), count) for name in FIELDS if name not in columns}
        return cls(**full, **columns)

    @classmethod
    def concatenate(cls, batches: "Sequence[Devices]") -> Self:
        """The devices of all batches, one after the other; InvalidValue where there are none."""
        if not batches:
            raise InvalidValue("batches has no entries; give at least one.")
        return cls._of_checked({name: np.concatenate([getattr(b, name) for b in batches]) for name in FIELDS})

    @classmethod
    def _of_checked(cls, columns: Mapping[str, np.ndarray]) -> Self:
        """A batch of values that other batches hold: they are not checked again, which takes longer than to answer."""
        batch = object.__new__(cls)
        for name in FIELDS:
            column = columns[name]
            column.flags.writeable = False
            object.__setattr__(batch, name, column)
        return batch

    def replace(self, **columns: object) -> Self:
        """The same batch with some columns changed; a single value is given to every device.

        Refused, as by `Device.replace`: unknown names, and offsets of devices on which they have no effect.
        """
        check_names("device field", columns, FIELDS)
        changed = {}
        for name, value in columns.items():
            if name == "barrier_lowering":
                for entry in np.unique(np.asarray(value)):
                    check_bool(name, entry)
            dtype = None if name in ("barrier_lowering", "contact_density") else np.float64
            try:
                changed[name] = np.array(np.broadcast_to(np.asarray(value, dtype=dtype), (len(self),)))
            except (TypeError, ValueError):
                raise InvalidValue(
                    f"{name} = {value!r} does not fit {len(self)} devices; give one value or {len(self)}."
                ) from None
        batch = dataclasses.replace(self, **changed)
        if "vacancy_offset" in columns and not np.isnan(batch.mean_vacancy_density).all():
            raise InvalidValue(_WITHOUT_EFFECT)
        return batch

    def resolved(self) -> Self:
        """The same batch with every field that follows another one written out; itself where all are."""
        missing = {f: np.isnan(getattr(self, f)) for f in FOLLOWS}
        filled = {f: np.where(m, getattr(self, FOLLOWS[f]), getattr(self, f)) for f, m in missing.items() if m.any()}
        return self._of_checked(self.columns() | filled) if filled else self

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays by field name."""
        return {name: getattr(self, name) for name in FIELDS}

    def identity(self) -> dict[str, np.ndarray]:
        """What tells these devices from others, for hashes: the resolved columns, by field name.

        A mean vacancy density stands in the place of the offset, which has no effect beside it; their
        ranges do not meet, and hashes of devices without such a density are as before there was one.
        """
        columns = self.resolved().columns()
        density = columns.pop("mean_vacancy_density")
        columns["vacancy_offset"] = np.where(np.isnan(density), columns["vacancy_offset"], density)
        return columns

    def __len__(self) -> int:
        return int(self.length.size)

    @overload
    def __getitem__(self, index: int | np.integer) -> Device: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "Devices": ...
    def __getitem__(self, index: "int | np.integer | slice | np.ndarray") -> "Device | Devices":
        if isinstance(index, int | np.integer):
            values = {name: getattr(self, name)[index].item() for name in FIELDS}
            values["vacancy_charge"] = int(values["vacancy_charge"])
            for name in OPTIONAL:
                if np.isnan(values[name]):
                    values[name] = None
            return Device(**values)
        if (dimensions := self.length[index].ndim) != 1:
            raise InvalidValue(f"the rows have {dimensions} dimensions; give a slice, or an array of one dimension.")
        return self._of_checked({name: getattr(self, name)[index] for name in FIELDS})

    def __iter__(self) -> Iterator[Device]:
        return (self[i] for i in range(len(self)))


def _stack(name: str, values: list) -> np.ndarray:
    if name == "barrier_lowering":
        return np.array(values, dtype=bool)
    if name == "contact_density":
        return np.array(values, dtype="U16")
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _column(name: str, values: object, quantity: Quantity) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if name in OPTIONAL and array.ndim == 1:
        check_numbers(name, array[~np.isnan(array)], low=quantity.low, high=quantity.high, unit=quantity.unit)
        array = array.copy()
        array.flags.writeable = False
        return array
    array = check_numbers(name, array, low=quantity.low, high=quantity.high, unit=quantity.unit)
    if name == "vacancy_charge":
        for charge in set(array.tolist()):
            _vacancy_charge(charge)
    return array


_S = {"donor_density": 1e21}
_FIT = {"donor_density": 1e21, "vacancy_offset": 0.28}
_PRESETS: Mapping[str, Mapping[str, object]] = {
    # Spetzler et al., arXiv 2505.13882, Table 2, constant values.
    "seed": {},
    # Spetzler et al., Adv. Electron. Mater. 10, 2300635 (2024), doi 10.1002/aelm.202300635.
    "S1": _S
    | {
        "vacancy_offset": 0.32,
        "mobility_electron": 2.5e-4,
        "mobility_vacancy": 5.0e-14,
        "barrier_left": 1e-3,
        "barrier_right": 1e-3,
        "barrier_lowering": False,
    },
    "S2": _S
    | {
        "vacancy_offset": 0.33,
        "mobility_electron": 2.15e-3,
        "mobility_vacancy": 1.15e-13,
        "barrier_left": 0.144,
        "barrier_right": 0.110,
    },
    # ChargeTransport.jl, example Ex107 (only its area is given there: 2.1e-11 m^2).
    "Ex107": {
        "thickness": 2.1e-6,
        "relative_permittivity": 9.0,
        "mobility_electron": 1e-4,
        "mobility_vacancy": 0.8e-13,
        "donor_density": 1e17,
        "vacancy_offset": 0.38,
        "vacancy_charge": 2,
        "barrier_left": 0.225,
        "barrier_right": 0.215,
    },
    # arXiv 2505.13882, Table 4.
    "fit-a": _FIT
    | {
        "mobility_electron": 1.96e-3,
        "mobility_vacancy": 5.6829e-14,
        "barrier_left": 0.0500,
        "barrier_right": 0.0503,
    },
    "fit-b": _FIT
    | {
        "mobility_electron": 2.8e-3,
        "mobility_vacancy": 1.0462e-13,
        "barrier_left": 0.1236,
        "barrier_right": 0.1085,
    },
}
