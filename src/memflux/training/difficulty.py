"""How large the error of a predicted curve is likely to be, at every time: what makes bands wide or narrow.

ln s(b, t) = level_t + w . z(b, t) + network(z(b, t), harmonics of the phase)

z are standardised logarithms of the spread of ensemble members (smoothed over the phase by four
widths, and over the whole curve), of the predicted current, its slope and its curvature, and the
scaled parameters. It minimises the mean of (|error| / s)^2 / 2 + ln s, the negative log-likelihood
of normal errors, after Nix and Weigend, doi 10.1109/ICNN.1994.374138.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memflux.errors import InvalidValue, check_names, check_numbers

WIDTHS = (0.0, 1 / 32, 3 / 32, 9 / 32)  # of a cycle, over which the spread is smoothed
HARMONICS = 3
UNITS = 24  # of each hidden layer
STEPS = 400
BATCH = 64  # devices
STRIDE = 3  # of the times of a curve that a step looks at; the start is drawn
RATE = 1e-2
DECAY = 1.0  # of the weights: the network corrects a linear fit, and should do so sparingly
TINY = 1e-6  # of the peak: differences below count as this
CHUNK = 256  # devices


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Difficulty:
    """A fitted estimate of |error| over the peak of the prediction; an estimate up to a factor for each time."""

    cycles: int
    spread: bool  # whether it looks at the spread of members
    level: Float[np.ndarray, " T"]
    mean: Float[np.ndarray, " F"]  # of the features before they are standardised
    deviation: Float[np.ndarray, " F"]
    linear: Float[np.ndarray, " F"]
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # weights [out, in] and biases [out] of the network

    @classmethod
    def fit(
        cls,
        unit: Float[np.ndarray, "N P"],
        current: Float[np.ndarray, "N T"],
        error: Float[np.ndarray, "N T"],
        spread: Float[np.ndarray, "N T"] | None,
        cycles: int,
        seed: int,
    ) -> Self:
        """Fit to errors [1] of predicted currents [A]; `unit` are scaled parameters, `spread` is in A.

        Global random state is left as it was.
        """
        features = _features(unit, current, spread, cycles)
        mean, deviation = features.mean((0, 1)), features.std((0, 1)) + 1e-9
        z = torch.tensor((features - mean) / deviation, dtype=torch.float32)
        waves = torch.tensor(_harmonics(error.shape[1], cycles), dtype=torch.float32)
        log_error = torch.tensor(np.log(np.maximum(error, 0.1 * TINY)), dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            level, linear, network = _train(z, waves, log_error)
        return cls(
            cycles=cycles,
            spread=spread is not None,
            level=level,
            mean=mean,
            deviation=deviation,
            linear=linear,
            layers=tuple((_numpy(m.weight), _numpy(m.bias)) for m in network if isinstance(m, nn.Linear)),
        )

    def __call__(
        self,
        unit: Float[np.ndarray, "B P"],
        current: Float[np.ndarray, "B T"],
        spread: Float[np.ndarray, "B T"] | None,
    ) -> Float[np.ndarray, "B T"]:
        """Expected size of the error over the peak of `current` [A]; raises InvalidValue for another grid or spread."""
        self._check(unit, current, spread)
        waves = torch.tensor(_harmonics(current.shape[1], self.cycles))
        layers = [(torch.tensor(weight), torch.tensor(bias)) for weight, bias in self.layers]
        result = np.empty(current.shape)
        for first in range(0, len(current), CHUNK):
            part = slice(first, first + CHUNK)
            features = _features(unit[part], current[part], None if spread is None else spread[part], self.cycles)
            z = torch.tensor((features - self.mean) / self.deviation)
            hidden = torch.cat([z, waves.expand(len(z), -1, -1)], dim=2)
            for k, (weight, bias) in enumerate(layers):
                hidden = nn.functional.linear(hidden if k == 0 else nn.functional.silu(hidden), weight, bias)
            log_size = self.level + (z @ torch.tensor(self.linear) + hidden[..., 0]).numpy()
            result[part] = np.exp(np.clip(log_size, np.log(TINY), 50.0))
        return result

    def scaled(self, factor: Float[np.ndarray, " T"]) -> Self:
        """The same, times a factor for each time."""
        return dataclasses.replace(self, level=self.level + np.log(np.maximum(factor, 1e-9)))

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        fields = {name: getattr(self, name).tolist() for name in ("level", "mean", "deviation", "linear")}
        layers = [{"weight": weight.tolist(), "bias": bias.tolist()} for weight, bias in self.layers]
        return {"cycles": self.cycles, "spread": self.spread, **fields, "layers": layers}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown fields are refused."""
        check_names("field of a difficulty", fields, [f.name for f in dataclasses.fields(cls)])
        layers = tuple((_array(layer["weight"], 2), _array(layer["bias"], 1)) for layer in fields["layers"])
        arrays = {name: _array(fields[name], 1) for name in ("level", "mean", "deviation", "linear")}
        return cls(cycles=fields["cycles"], spread=fields["spread"], layers=layers, **arrays)

    def _check(self, unit: np.ndarray, current: np.ndarray, spread: np.ndarray | None) -> None:
        if current.shape[1] != self.level.size:
            raise InvalidValue(
                f"the prediction has {current.shape[1]} times and the bands were calibrated on {self.level.size}; "
                "ask for the same cycles and samples."
            )
        if (spread is not None) != self.spread:
            with_or_without = "with" if self.spread else "without"
            raise InvalidValue(
                f"spread is {'given' if spread is not None else 'None'} and the bands were calibrated "
                f"{with_or_without} one; ask as they were calibrated."
            )
        known = self.mean.size - _SHAPE - (_SPREAD if self.spread else 0)
        if unit.shape[1] != known:
            raise InvalidValue(
                f"there are {unit.shape[1]} scaled parameters and the bands were calibrated on {known}; give those."
            )


def peak_of(current: Float[np.ndarray, "B T"]) -> Float[np.ndarray, "B 1"]:
    """Peak magnitude of each curve [A], 1 for a curve of zeros."""
    peak = np.abs(current).max(axis=1, keepdims=True)
    return np.where(peak > 0, peak, 1.0)


_SPREAD = len(WIDTHS) + 1  # features of the spread
_SHAPE = 3  # features of the predicted curve


def _features(
    unit: Float[np.ndarray, "B P"], current: Float[np.ndarray, "B T"], spread: np.ndarray | None, cycles: int
) -> Float[np.ndarray, "B T F"]:
    """Logarithms of spread, current, slope and curvature over the peak, and the parameters."""
    samples = (current.shape[1] - 1) / cycles
    peak = peak_of(current)
    shape = current / peak
    slope = np.gradient(shape, axis=1) * samples  # per cycle
    curvature = np.gradient(slope, axis=1) * samples
    columns = []
    if spread is not None:
        square = (spread / peak) ** 2
        columns = [_log_root(_smooth(square, samples * width), TINY) for width in WIDTHS]
        columns.append(np.broadcast_to(_log_root(square.mean(axis=1, keepdims=True), TINY), shape.shape))
    columns.append(_log_root(_smooth(shape**2, samples / 64), 1e-4))
    columns.append(_log_root(_smooth(slope**2, samples / 32), 1e-2))
    columns.append(_log_root(_smooth(curvature**2, samples / 16), 1.0))
    columns.extend(np.broadcast_to(u[:, None], shape.shape) for u in unit.T)
    return np.stack(columns, axis=2)


def _log_root(square: np.ndarray, floor: float) -> np.ndarray:
    return 0.5 * np.log(square + floor**2)


def _smooth(values: Float[np.ndarray, "B T"], width: float) -> Float[np.ndarray, "B T"]:
    """Mean over about `width` neighbours, fewer at the ends."""
    half = int(width / 2)
    if half == 0:
        return values
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    place = np.arange(values.shape[1])
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, values.shape[1])
    return np.maximum((total[:, last] - total[:, first]) / (last - first), 0.0)


def _harmonics(times: int, cycles: int) -> Float[np.ndarray, "T H"]:
    angle = np.linspace(0.0, 2.0 * np.pi * cycles, times)
    return np.stack([wave(k * angle) for k in range(1, HARMONICS + 1) for wave in (np.sin, np.cos)], axis=1)


def _train(
    z: Float[Tensor, "N T F"], waves: Float[Tensor, "T H"], log_error: Float[Tensor, "N T"]
) -> tuple[np.ndarray, np.ndarray, nn.Sequential]:
    """Level [T], linear weights [F] and network, drawn and trained under the current seed."""
    sizes = z.shape[2] + waves.shape[1]
    network = nn.Sequential(nn.Linear(sizes, UNITS), nn.SiLU(), nn.Linear(UNITS, UNITS), nn.SiLU(), nn.Linear(UNITS, 1))
    level = nn.Parameter(0.5 * (2.0 * log_error).exp().mean(0).clamp_min(TINY**2).log())
    linear = nn.Parameter(torch.zeros(z.shape[2]))
    with torch.no_grad():
        network[-1].weight.zero_()  # type: ignore[operator]
        network[-1].bias.zero_()  # type: ignore[operator]
    groups: Sequence[dict[str, Any]] = [
        {"params": network.parameters(), "weight_decay": DECAY},
        {"params": [level, linear], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.randint(0, len(z), (BATCH,))
        times = slice(int(torch.randint(0, STRIDE, ())), None, STRIDE)
        seen = z[rows, times]
        inputs = torch.cat([seen, waves[times].expand(BATCH, -1, -1)], dim=2)
        log_size = level[times] + seen @ linear + network(inputs)[..., 0]
        # A single outlier may not throw the fit: its pull ends where it is e^3 times too large.
        loss = ((2.0 * (log_error[rows, times] - log_size)).clamp_max(6.0).exp() / 2.0 + log_size).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return _numpy(level), _numpy(linear), network


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def _array(values: object, ndim: int) -> np.ndarray:
    return check_numbers("difficulty", values, low=-1e12, high=1e12, ndim=ndim)
