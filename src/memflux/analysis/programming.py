"""Programming a memristor to a target weight by set pulses: which setting next, open loop or write-verify.

The controller knows what a model predicts of trains of equal pulses at each setting of a menu, and what it reads. From
a read level it looks up where on each predicted curve the device stands and what one pulse more would do (equivalent
pulse number), and takes the setting with the smallest expected number of pulses, a target that is passed counting as
the largest number. It learns how strongly each device responds from the rises that it reads. Levels and simulated
devices: see `pulse_devices`.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Protocol, Self

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr

from memflux.analysis.pulse_devices import DevicePool, advance
from memflux.analysis.results import AbstractResult
from memflux.errors import InvalidValue, check_integer, check_number, check_numbers

READ_VOLTAGE = 0.5  # V, of the published measurements
# standard deviation of what a pulse does: share of its rise, at a setting's first pulse on a device and at later ones,
# and share of the predicted scatter
CAUTION = (0.4, 0.15, 1.0)
TINY = 1e-9
LEARNING = (0.6, 0.1)  # of the logarithm of the response a pulse: at its own setting, at all others
RESPONSES = (0.2, 5.0)  # within which the response of a device is sought, relative to the predicted


Choice = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From read levels [D], and who still goes on [D], to the number of a setting for each device [D]."""


class TrainModel(Protocol):
    """What the controller asks of a model: a trained perceptron, or anything that answers so."""

    def scaled(self, settings: np.ndarray) -> np.ndarray:
        """Scaled read current [K, P] of trains at settings [K, 5]."""

    def scatter(self, settings: np.ndarray) -> np.ndarray:
        """Standard deviation [K] of a single increment of the scaled current."""

    def relative_range(self, settings: np.ndarray, reference: int) -> np.ndarray:
        """Ranges [K] that one device has at the settings, over that at the setting number `reference`."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Menu:
    """The settings to choose from and the levels that a model predicts for trains of each."""

    settings: Float[np.ndarray, "K 5"]
    levels: Float[np.ndarray, "K P"]  # in units of the predicted range at the reference; never falling
    scatter: Float[np.ndarray, " K"]  # standard deviation of a single rise, likewise
    reference: int

    @classmethod
    def of(cls, model: TrainModel, settings: Float[np.ndarray, "K 5"], reference: int) -> Self:
        """Predicted levels at the settings, of which `reference` gives the unit."""
        check_integer("reference", reference, low=0, high=len(settings) - 1)
        span = np.asarray(model.relative_range(settings, reference), dtype=np.float64)
        scaled = np.asarray(model.scaled(settings), dtype=np.float64)
        rise = np.maximum.accumulate(scaled - scaled[:, :1], axis=1)
        if not (np.isfinite(rise).all() and rise[reference, -1] > 0.0):
            raise InvalidValue("the model predicts no rise at the reference setting; train it on set pulses.")
        scatter = np.asarray(model.scatter(settings), dtype=np.float64)
        return cls(settings=settings, levels=rise * span[:, None], scatter=scatter * span, reference=reference)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What every policy is held to."""

    tolerance: float = 0.02
    """Largest accepted distance of a read level from the target, in units of the reference range."""
    most_pulses: int = 100
    """Pulses after which a device is given up; one that is given up counts as that many."""

    def __post_init__(self) -> None:
        check_number("tolerance", self.tolerance, low=1e-6, high=1.0)
        check_integer("most_pulses", self.most_pulses, low=1, high=100_000)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Programmed(AbstractResult):
    """What became of D devices."""

    KIND: ClassVar[str] = "programming"
    ARRAYS: ClassVar[tuple[str, ...]] = ("target", "level", "reached", "pulses", "energy", "time")

    policy: str
    target: Float[np.ndarray, " D"]
    level: Float[np.ndarray, " D"]  # in truth, at the end
    reached: Bool[np.ndarray, " D"] | Float[np.ndarray, " D"]  # as verified; in open loop: in truth
    pulses: Float[np.ndarray, " D"]  # the largest allowed number where not reached
    energy: Float[np.ndarray, " D"]  # J; where not reached, of that many reference pulses at the full level
    time: Float[np.ndarray, " D"]  # s, likewise

    @property
    def summary(self) -> dict[str, float]:
        """Means over the devices, share reached, and root mean square of the true error."""
        return {
            "reached": float(np.mean(self.reached)),
            "mean pulses": float(self.pulses.mean()),
            "median pulses": float(np.median(self.pulses)),
            "mean energy [J]": float(self.energy.mean()),
            "median energy [J]": float(np.median(self.energy)),
            "mean time [s]": float(self.time.mean()),
            "rms error": float(np.sqrt(np.mean((self.level - self.target) ** 2))),
        }


def pulse_energy(
    settings: Float[np.ndarray, "D 5"], current: Float[np.ndarray, " D"], read_voltage: float = READ_VOLTAGE
) -> Float[np.ndarray, " D"]:
    """Energy [J] of one period of set pulse, antipulse and read: V^2 G t each, with G = read current / read voltage.

    The conductance at the read voltage stands for that at the set voltage, where it is not measured; these devices
    conduct more there, so this is a lower bound. An antipulse lasts as long as the set pulse (published Table I).
    """
    set_duration, set_voltage, _, read_duration, anti_voltage = settings.T
    work = (set_voltage**2 + anti_voltage**2) * set_duration + read_voltage**2 * read_duration  # V^2 s
    return np.maximum(current, 0.0) / read_voltage * work


def pulse_time(settings: Float[np.ndarray, "D 5"]) -> Float[np.ndarray, " D"]:
    """Length [s] of one period: set pulse, antipulse, pause, read, pause."""
    set_duration, _, off_duration, read_duration, anti_voltage = settings.T
    return set_duration * np.where(anti_voltage != 0.0, 2.0, 1.0) + 2.0 * off_duration + read_duration


def fixed(devices: DevicePool, setting: int, targets: object, rules: Rules, seed: int = 0) -> Programmed:
    """Write-verify with one setting throughout, the way without a model."""
    check_integer("setting", setting, low=0, high=len(devices.settings) - 1)
    choice = np.full(len(devices), setting)
    return _written(devices, _targets(devices, targets), rules, seed, f"fixed {setting}", lambda *_: choice)


def write_verify(devices: DevicePool, menu: Menu, targets: object, rules: Rules, seed: int = 0) -> Programmed:
    """Write-verify with the setting that the model says is best for the level that was read."""
    _same_menu(devices, menu)
    wanted = _targets(devices, targets)
    controller = Controller(menu, wanted, rules)
    return _written(devices, wanted, rules, seed, "write-verify", controller.choose)


def open_loop(devices: DevicePool, menu: Menu, targets: object, rules: Rules, seed: int = 0) -> Programmed:
    """The sequence that reaches the target by the model alone, without a read on the way."""
    _same_menu(devices, menu)
    wanted, random = _targets(devices, targets), np.random.default_rng(check_integer("seed", seed, low=0, high=2**62))
    controller = Controller(menu, wanted, rules, caution=(0.05, 0.05, 0.0))
    ledger, level, believed = _Ledger.of(devices), np.zeros(len(devices)), np.zeros(len(devices))
    rows = np.arange(len(devices))
    for _ in range(rules.most_pulses):
        going = believed < wanted - 0.5 * rules.tolerance
        choice = controller.choose(believed, going)
        after = controller.predicted(believed)[rows, choice]
        # what cannot come nearer waits for nothing
        going &= np.abs(after - wanted) < np.abs(believed - wanted)
        if not going.any():
            break
        ledger.add(level, choice, going)
        level = np.where(going, devices.pulse(level, choice, random), level)
        believed = np.where(going, after, believed)
    reached = np.abs(level - wanted) <= rules.tolerance
    return ledger.closed("open loop", wanted, level, reached)


class Controller:
    """Chooses settings for D devices at once; remembers of each how fast it has turned out to be."""

    def __init__(
        self,
        menu: Menu,
        targets: Float[np.ndarray, " D"],
        rules: Rules,
        caution: tuple[float, float, float] = CAUTION,
    ) -> None:
        """`caution` is the standard deviation of what a pulse does: see CAUTION."""
        self._menu, self._targets, self._rules, self._caution = menu, targets, rules, caution
        self._response = np.ones((len(targets), len(menu.settings)))
        self._used = np.zeros(self._response.shape, dtype=bool)
        self._before: tuple[np.ndarray, np.ndarray] | None = None  # level and choice of the last pulse

    def predicted(self, level: Float[np.ndarray, " D"]) -> Float[np.ndarray, "D K"]:
        """Level after one pulse of each setting."""
        count, one = len(level), np.ones(len(level))
        after = [advance(np.broadcast_to(curve, (count, curve.size)), level, one) for curve in self._menu.levels]
        return level[:, None] + self._response * (np.stack(after, axis=1) - level[:, None])

    def choose(self, read: Float[np.ndarray, " D"], going: Bool[np.ndarray, " D"]) -> Int[np.ndarray, " D"]:
        """The setting for each device's next pulse, from the level that was read."""
        self._learn(read, going)
        after = self.predicted(read)
        rise = after - read[:, None]
        useful = rise > 1e-3 * self._rules.tolerance
        choice = np.where(useful, self._cost(after, rise, useful), np.inf).argmin(axis=1)
        strongest = int(self._menu.levels[:, -1].argmax())  # beyond every predicted curve there is nothing to compare
        choice = np.where(useful.any(axis=1), choice, strongest)
        self._before = (read, choice)
        return choice

    def _cost(self, after: np.ndarray, rise: np.ndarray, useful: np.ndarray) -> np.ndarray:
        """What each setting is expected to cost from here on [D, K], in pulses.

        The pulse itself; what a missed device counts, where it passes the target; and where it falls short, what
        remains at half the largest rise there is, since rises shrink on the way.
        """
        first, later, of_scatter = self._caution
        of_rise = np.where(self._used, later, first)
        deviation = np.sqrt((of_rise * rise) ** 2 + (of_scatter * self._menu.scatter) ** 2) + TINY
        target, tolerance = self._targets[:, None], self._rules.tolerance
        below = ndtr((target - tolerance - after) / deviation)
        over = 1.0 - ndtr((target + tolerance - after) / deviation)
        largest = np.max(np.where(useful, rise, TINY), axis=1, keepdims=True)
        rest = 1.0 + 2.0 * np.maximum(target - after, 0.0) / largest
        return 1.0 + self._rules.most_pulses * over + below * rest

    def _learn(self, read: np.ndarray, going: np.ndarray) -> None:
        """Raise or lower the responses of devices that rose more or less than predicted."""
        if self._before is None:
            return
        level, choice = self._before
        rows = np.arange(len(level))
        expected = self.predicted(level)[rows, choice] - level
        clear = going & (expected > self._rules.tolerance)  # smaller rises drown in the noise
        ratio = np.where(clear, np.clip((read - level) / np.where(clear, expected, 1.0), *RESPONSES), 1.0)
        own, others = LEARNING
        self._used[rows, choice] |= going
        change = np.repeat(ratio[:, None] ** others, self._response.shape[1], axis=1)
        change[rows, choice] = ratio**own
        self._response = np.clip(self._response * change, *RESPONSES)


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class _Ledger:
    """Pulses, energy and time spent on each device."""

    devices: DevicePool
    pulses: np.ndarray
    energy: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, devices: DevicePool) -> "_Ledger":
        return cls(devices=devices, **{name: np.zeros(len(devices)) for name in ("pulses", "energy", "time")})

    def add(self, level: np.ndarray, choice: np.ndarray, going: np.ndarray) -> None:
        settings = self.devices.settings[choice]
        current = self.devices.first + self.devices.span * np.maximum(level, 0.0)
        self.pulses += going
        self.energy += np.where(going, pulse_energy(settings, current), 0.0)
        self.time += np.where(going, pulse_time(settings), 0.0)

    def closed(self, policy: str, target: np.ndarray, level: np.ndarray, reached: np.ndarray) -> Programmed:
        return Programmed(
            policy=policy,
            target=target,
            level=level,
            reached=reached,
            pulses=self.pulses,
            energy=self.energy,
            time=self.time,
        )

    def with_missed(self, reached: np.ndarray, rules: Rules) -> "_Ledger":
        """The same, devices that were not reached counted at the largest cost, which is one for every policy."""
        devices = self.devices
        setting = devices.settings[[devices.reference]]
        energy = pulse_energy(setting, np.array([devices.first + devices.span]))[0]
        worst = rules.most_pulses * np.array([1.0, energy, pulse_time(setting)[0]])
        spent = np.where(reached, [self.pulses, self.energy, self.time], worst[:, None])
        return _Ledger(devices=devices, pulses=spent[0], energy=spent[1], time=spent[2])


def _written(
    devices: DevicePool, targets: np.ndarray, rules: Rules, seed: int, policy: str, choose: Choice
) -> Programmed:
    """Pulse, read, and stop each device that reads within the tolerance, or beyond it: nothing takes it back."""
    random = np.random.default_rng(check_integer("seed", seed, low=0, high=2**62))
    ledger = _Ledger.of(devices)
    level = np.zeros(len(devices))
    read = devices.read(level, random)
    reached = np.abs(read - targets) <= rules.tolerance
    going = ~reached & (read < targets)
    for _ in range(rules.most_pulses):
        if not going.any():
            break
        choice = choose(read, going)
        ledger.add(level, choice, going)
        level = np.where(going, devices.pulse(level, choice, random), level)
        read = np.where(going, devices.read(level, random), read)
        reached |= going & (np.abs(read - targets) <= rules.tolerance)
        going &= ~reached & (read < targets)
    return ledger.with_missed(reached, rules).closed(policy, targets, level, reached)


def _targets(devices: DevicePool, targets: object) -> np.ndarray:
    """One target level a device; a single number is for all."""
    wanted = check_numbers("targets", np.atleast_1d(np.asarray(targets)), low=0.0, high=1.0)
    if wanted.size not in (1, len(devices)):
        raise InvalidValue(f"targets has {wanted.size} levels for {len(devices)} devices; give one, or one a device.")
    return np.broadcast_to(wanted, (len(devices),))


def _same_menu(devices: DevicePool, menu: Menu) -> None:
    if menu.settings.shape != devices.settings.shape or not np.array_equal(menu.settings, devices.settings):
        raise InvalidValue("the menu has other settings than the devices answer; make it from devices.settings.")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """The controller and what it is measured against, on the same devices, targets, noise and rules."""

    verified: Programmed
    opened: Programmed
    fewest_pulses: Programmed  # of all fixed settings
    least_energy: Programmed

    @property
    def gain(self) -> tuple[float, float]:
        """How many times fewer pulses and less energy than the best fixed setting for either, on average."""
        return (
            float(self.fewest_pulses.pulses.mean() / self.verified.pulses.mean()),
            float(self.least_energy.energy.mean() / self.verified.energy.mean()),
        )

    @property
    def summary(self) -> dict[str, object]:
        """Of each policy, and the gains."""
        pulses, energy = self.gain
        each = {p.policy: p.summary for p in (self.verified, self.opened)}
        best = {"fixed, fewest pulses": self.fewest_pulses, "fixed, least energy": self.least_energy}
        each |= {name: p.summary for name, p in best.items()}
        return {**each, "times fewer pulses": pulses, "times less energy": energy}


def compare(devices: DevicePool, model: TrainModel, targets: object, rules: Rules, seed: int = 0) -> Comparison:
    """Write-verify and open loop by the model, beside the best of all settings used throughout."""
    menu = Menu.of(model, devices.settings, devices.reference)
    alone = [fixed(devices, number, targets, rules, seed) for number in range(len(devices.settings))]
    return Comparison(
        verified=write_verify(devices, menu, targets, rules, seed),
        opened=open_loop(devices, menu, targets, rules, seed),
        fewest_pulses=min(alone, key=lambda p: float(p.pulses.mean())),
        least_energy=min(alone, key=lambda p: float(p.energy.mean())),
    )
