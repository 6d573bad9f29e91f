"""`MemOde`: a neural ODE of a measured memristor, its periodic orbits, and its folder.

Published: K. Bednarz, B. Garda, Z. Galias, Neural ODE based modeling of memristive circuits: SingleNN-MemODE (one
state, G mixes R_ON and R_OFF) and DualNN-MemODE (networks for f and G, several states).
"""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float
from safetensors.numpy import load_file, save_file

from memflux.errors import DataError, InvalidValue, check_bool, check_choice, check_integer, check_number
from memflux.loops import Loops, loop_error
from memflux.training.memode import kernel

KINDS = ("single", "dual")
START = 0.3  # of the states, before anything is known
PERIODS = 400  # that a device is given to come to its periodic orbit
NEAR = 40  # the same, from an orbit of other steps
TOLERANCE = 1e-8  # of the states, from one end of a periodic orbit to the other
OPEN = 1e-2  # change of a state over a period: an orbit that is further from closed is none
ROOM = 2.0  # largest memductance over the largest seen: 2 mS for devices of 1 mS, as published


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MemOdeConfig:
    """Architecture of a `MemOde`."""

    kind: str = "dual"
    """single: one state, G = x / R_ON + (1 - x) / R_OFF. dual: a second network gives G of the states."""
    states: int = 2
    """Components of the state; 1 for single."""
    rate_widths: tuple[int, ...] = (8,)
    """Units of the hidden layers of the network for f; `diamond` makes the published shape."""
    memductance_widths: tuple[int, ...] = (8,)
    """Units of the hidden layers of the network for G."""
    linear: bool = False
    """Whether f is linear in the states, r(v) (y(v) - x), as MMS and GMMS have it; else r and y depend on them too."""
    monotone: bool = False
    """Whether y rises with the voltage that switches on, and G of a dual one with the states: by weights >= 0."""
    sees_voltage: bool = False
    """Whether G depends on the voltage too, i = G(x, v) v (eq. 1), not on the states alone; False for single."""
    steps: int = 100
    """Steps a period."""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_integer("states", self.states, low=1, high=16)
        if self.kind == "single" and self.states != 1:
            raise InvalidValue(f"states = {self.states} of a single network; give 1, or kind = 'dual'.")
        if check_bool("sees_voltage", self.sees_voltage) and self.kind == "single":
            raise InvalidValue("sees_voltage = True of a single network, whose G has no network; give kind = 'dual'.")
        check_bool("linear", self.linear)
        check_bool("monotone", self.monotone)
        check_integer("steps", self.steps, low=16, high=1_000_000)
        for name in ("rate_widths", "memductance_widths"):
            widths = tuple(check_integer(name, width, low=1, high=1024) for width in getattr(self, name))
            if not 1 <= len(widths) <= 8:
                raise InvalidValue(f"{name} has {len(widths)} hidden layers; give 1 to 8.")
            object.__setattr__(self, name, widths)

    @property
    def sizes(self) -> tuple[list[int], list[int]]:
        """Units of all layers of both networks, inputs and outputs included; none of G in a single one."""
        of_memductance = [self.states + self.sees_voltage, *self.memductance_widths, 1]
        if self.kind == "single":
            of_memductance = []
        return [self.states * (not self.linear) + 1, *self.rate_widths, 2 * self.states], of_memductance

    @property
    def bounded(self) -> Bool[np.ndarray, " P"]:
        """Weights that may not be negative: those on the ways from v to y and from x to G of a `monotone` model."""
        rates, memductance = self.sizes
        n, every = self.states, slice(None)
        parts = []
        for sizes, sees, says in ((rates, slice(-1, None), slice(n, None)), (memductance, slice(n), every)):
            for k, (a, b) in enumerate(itertools.pairwise(sizes)):
                matrix = np.zeros((a, b), dtype=bool)
                matrix[sees if k == 0 else every, says if k == len(sizes) - 2 else every] = self.monotone
                parts += [matrix.ravel(), np.zeros(b, dtype=bool)]
        if not memductance:
            parts.append(np.zeros(2, dtype=bool))
        return np.concatenate(parts)


def diamond(width: int, layers: int) -> tuple[int, ...]:
    """Hidden layers of N/2, N, ..., N, N/2 units, as published (figure 5)."""
    width, layers = check_integer("width", width, low=2, high=1024), check_integer("layers", layers, low=1, high=8)
    return tuple(width if 0 < k < layers - 1 or layers == 1 else width // 2 for k in range(layers))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scales:
    """Units that the networks see, from the records that a model learns from."""

    voltage: float  # V, negative where a negative voltage switches on
    conductance: float  # S, the largest that G may say, or the unit of R_ON and R_OFF
    slowest: float  # Hz, of the records
    fastest: float  # Hz

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            check_number(name, abs(value) if name == "voltage" else value, low=1e-30, high=1e30)

    @classmethod
    def of(cls, loops: Loops) -> Self:
        """A third of the largest voltage, twice the largest memductance seen, and the frequencies of the records."""
        across = np.abs(loops.voltage)
        large = across > 0.1 * across.max(-1, keepdims=True)
        seen = np.abs(loops.current[large]) / across[large]
        return cls(
            voltage=float(_turn(loops) * across.max() / 3.0),
            conductance=float(ROOM * seen.max()),
            slowest=float(loops.frequency.min()),
            fastest=float(loops.frequency.max()),
        )

    @property
    def rate(self) -> float:
        """1/s, of which the network of rates gives the logarithm."""
        return float(np.sqrt(self.slowest * self.fastest))


class Orbits(NamedTuple):
    """Periodic orbits of R records at K steps, and their derivatives by the P weights where asked for."""

    voltage: Float[np.ndarray, "R K"]  # V, of the device
    start: Float[np.ndarray, "R N"]  # states where the period begins
    missed: Float[np.ndarray, " R"]  # change of the states over the period, which should be none
    by_weights: Float[np.ndarray, "R K P"]  # of the voltage, V
    start_by_weights: Float[np.ndarray, "R N P"]
    towards: Float[np.ndarray, "R N N"]  # (1 - M)^-1 with the monodromy matrix M


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MemOde:
    """A neural ODE of one device: architecture, units and weights."""

    config: MemOdeConfig
    scales: Scales
    weights: Float[np.ndarray, " P"]
    rest: Float[np.ndarray, " N"]  # states from which a device goes to its periodic orbits

    @classmethod
    def untrained(cls, config: MemOdeConfig, scales: Scales, seed: int) -> Self:
        """Random weights: rates from the slowest to four times the fastest frequency, memductances in the middle."""
        generator = np.random.default_rng(seed)
        rates, memductance = config.sizes
        first = _random(rates, 0.5, generator)
        slow, fast = np.log(np.array([scales.slowest, 4.0 * scales.fastest]) / scales.rate)
        first[-1][: config.states] += np.linspace(slow, fast, config.states + 2)[1:-1]
        second = _random(memductance, 1.0, generator) if memductance else [np.log(np.array([0.5, 0.025]))]
        if memductance:
            second[-1] -= 2.0  # a memductance of an eighth of the largest
        weights = np.concatenate([part.ravel() for part in first + second])
        weights = np.where(config.bounded, np.abs(weights), weights)
        return cls(config=config, scales=scales, weights=weights, rest=np.full(config.states, START))

    def grown(self, config: MemOdeConfig, seed: int) -> Self:
        """The same device in a larger network of as many layers: what is new is random, and nothing old listens to it.

        So its orbits are those of this model, and training goes on from there.
        """
        fresh = type(self).untrained(config, self.scales, seed)
        n, m = self.config.states, config.states
        of_old, of_new = (_layers(model.weights, *model.config.sizes) for model in (self, fresh))
        sees = [*range(n), m]  # the voltage is the last input
        rates = _embedded(of_old[0], of_new[0], [0] if config.linear else sees, [*range(n), *range(m, m + n)])
        memductance = _embedded(of_old[1], of_new[1], sees[: n + config.sees_voltage], [0])
        weights = np.concatenate([part.ravel() for part in rates + memductance] + [of_old[2]])
        rest = np.concatenate([self.rest, fresh.rest[n:]])
        return dataclasses.replace(fresh, weights=weights, rest=rest)

    def orbits(
        self,
        loops: Loops,
        start: Float[np.ndarray, "R N"] | None = None,
        *,
        steps: int | None = None,
        towards: Float[np.ndarray, "R N N"] | None = None,
        periods: int = PERIODS,
        derivatives: bool = False,
    ) -> Orbits:
        """The periodic orbits under the sources of `loops`, reached from `start`, or from rest.

        `towards` (of `Orbits`) makes that Newton's method from the first period on; without, the device itself begins.
        """
        steps = self.config.steps if steps is None else check_integer("steps", steps, low=16, high=1_000_000)
        records, n, count = len(loops), self.config.states, self.weights.size
        ends, middles = (resampled(loops.source, steps, shift) for shift in (0.0, 0.5))
        starts = np.tile(self.rest, (records, 1)) if start is None else np.array(start)
        known = towards is not None
        towards = np.array(towards) if known else np.tile(np.eye(n), (records, 1, 1))
        voltage, _, by_all, by_end, missed = kernel.orbits(
            self.weights, self._shape, starts, ends, middles, self.scales.rate / (loops.frequency * steps),
            loops.series_resistance, towards, known, periods, TOLERANCE, count + n if derivatives else 0,
        )  # fmt: skip
        if not derivatives:
            none = np.empty((records, 0, count))
            return Orbits(voltage, starts, missed, none, none, towards)
        # x0 = end(x0, weights): implicit differentiation of the closed orbit
        towards = np.linalg.inv((1.0 + 1e-9) * np.eye(n) - by_end[:, :, count:])
        start_by_weights = towards @ by_end[:, :, :count]
        by_weights = by_all[:, :, :count] + by_all[:, :, count:] @ start_by_weights
        return Orbits(voltage, starts, missed, by_weights, start_by_weights, towards)

    def predict(self, loops: Loops) -> tuple[Float[np.ndarray, "R T"], Float[np.ndarray, "R T"]]:
        """Voltage [V] and current [A] at the samples of `loops`, whose voltages and currents it does not see.

        NaN for a record whose orbit does not close within `PERIODS` periods.
        """
        samples = loops.source.shape[1]
        finer = max(1, round(self.config.steps / samples))
        voltage = np.full(loops.source.shape, np.nan)
        coarse = self.orbits(loops)
        closed = np.flatnonzero(coarse.missed < OPEN)
        if closed.size:  # then the orbit at the samples is near
            start, towards = coarse.start[closed], coarse.towards[closed]
            fine = self.orbits(loops[closed], start, towards=towards, steps=finer * samples, periods=NEAR)
            voltage[closed] = np.where((fine.missed < OPEN)[:, None], fine.voltage[:, ::finer], np.nan)
        return voltage, (loops.source - voltage) / loops.series_resistance

    def errors(self, loops: Loops) -> Float[np.ndarray, " R"]:
        """L_b of each record; infinite where its orbit does not close."""
        return np.nan_to_num(loop_error(*self.predict(loops), loops), nan=np.inf)

    @property
    def _shape(self) -> tuple[np.ndarray, np.ndarray, float, float]:
        rates, memductance = (np.array(sizes, dtype=np.int64) for sizes in self.config.sizes)
        return rates, memductance, self.scales.voltage, self.scales.conductance

    def save(self, folder: str | Path, notes: dict[str, object] | None = None) -> None:
        """A folder with weights.safetensors and memode.json, which holds `notes` too."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        save_file({"weights": self.weights, "rest": self.rest}, path / "weights.safetensors")
        document = {"config": dataclasses.asdict(self.config), "scales": dataclasses.asdict(self.scales)}
        (path / "memode.json").write_text(json.dumps(document | {"notes": notes or {}}, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The model in `folder`; DataError where it is missing or does not fit together."""
        path = Path(folder)
        try:
            document = json.loads((path / "memode.json").read_text("utf-8"))
            arrays = load_file(path / "weights.safetensors")
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document["config"].items()}
            config = MemOdeConfig(**fields)
            scales = Scales(**document["scales"])
            model = cls(config=config, scales=scales, weights=arrays["weights"], rest=arrays["rest"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no neural ODE of a memristor: {str(error).rstrip('.')}.") from None
        wanted = cls.untrained(config, scales, seed=0)
        if model.weights.shape != wanted.weights.shape or model.rest.shape != wanted.rest.shape:
            raise DataError(f"{path} has {model.weights.size} weights for an architecture of {wanted.weights.size}.")
        if np.any(model.weights[config.bounded] < 0.0):
            raise DataError(f"{path} says monotone, but has negative weights where none may be.")
        return model


def _turn(loops: Loops) -> float:
    """1 where a positive voltage switches the device on, -1 where a negative one does.

    A device that is on from the peak of a positive half to that of the negative one has the larger current on the
    former's way back and on the latter's way out.
    """
    step = np.roll(loops.voltage, -1, axis=1) - loops.voltage
    middle = loops.voltage + 0.5 * step
    current = 0.5 * (np.roll(loops.current, -1, axis=1) + loops.current)
    turned = np.sum(np.sign(middle) * current * step, axis=1) / (np.ptp(middle, axis=1) * np.ptp(current, axis=1))
    return -1.0 if turned.sum() > 0.0 else 1.0


def _random(sizes: list[int], last: float, generator: np.random.Generator) -> list[np.ndarray]:
    """Matrix and bias of every layer; `last` scales the matrix of the last."""
    parts = []
    for k, (a, b) in enumerate(itertools.pairwise(sizes)):
        gain = last if k == len(sizes) - 2 else 1.0
        parts += [gain * generator.normal(size=(a, b)) / np.sqrt(a), 0.3 * generator.normal(size=b)]
    return parts


def _layers(weights: Float[np.ndarray, " P"], *networks: list[int]) -> list[Any]:
    """Matrix and bias of every layer of each network, and the weights that are left."""
    found: list[Any] = []
    for sizes in networks:
        found.append([])
        for a, b in itertools.pairwise(sizes):
            matrix, bias, weights = np.split(weights, [a * b, (a + 1) * b])
            found[-1].append((matrix.reshape(a, b), bias))
    return [*found, weights]


def _embedded(old: list[Any], new: list[Any], inputs: list[int], outputs: list[int]) -> list[np.ndarray]:
    """The layers of `old` within those of `new`: its inputs and outputs at the given places, its units the first."""
    parts = []
    for k, ((matrix, bias), (wide, shift)) in enumerate(zip(old, new, strict=True)):
        to = outputs if k == len(old) - 1 else list(range(bias.size))
        wide, shift = wide.copy(), shift.copy()
        wide[:, to], shift[to] = 0.0, bias
        wide[np.ix_(inputs, to)] = matrix
        parts += [wide, shift]
        inputs = to
    return parts


def resampled(source: Float[np.ndarray, "R T"], steps: int, shift: float = 0.0) -> Float[np.ndarray, "R K"]:
    """Periodic samples at `steps` phases, `shift` steps late."""
    samples = source.shape[1]
    places = (np.arange(steps) + shift) * (samples / steps)
    closed = np.concatenate([source, source[:, :1]], axis=1)
    return np.stack([np.interp(places, np.arange(samples + 1), row) for row in closed])
