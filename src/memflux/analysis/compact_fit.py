"""From a device to a circuit: the compact model that is nearest to what any predictor says of the device.

The predictor (finite volumes, a surrogate, an endpoint) is asked for loops on a grid over a box of amplitudes and
periods; every model is fitted to them, and the one with the smallest error on drives between those of the grid is kept.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from memflux.analysis.loop_cost import usual
from memflux.analysis.loop_fit import LoopFit, fit_loops
from memflux.analysis.results import AbstractResult
from memflux.compact import KEYS, model_class
from memflux.contracts import Predictor
from memflux.device import Device, Devices
from memflux.errors import InvalidValue, SolveFailed, check_choice, check_integer, check_numbers
from memflux.loops import Loops
from memflux.waveform import Sine, Triangle, Waveform

FREE = ("beta",)  # no q/(k T): the voltage of a whole device is not that of one switch
WAVEFORMS: dict[str, type[Triangle] | type[Sine]] = {"triangle": Triangle, "sine": Sine}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeviceFit(AbstractResult):
    """The chosen model with its errors and its box, and what the other models reached."""

    KIND: ClassVar[str] = "device-fit"
    ARRAYS: ClassVar[tuple[str, ...]] = ()

    device: str  # in words
    predictor: str  # in words
    waveform: str
    best: dict[str, Any]  # `LoopFit.from_dict` makes the fit of it
    tried: dict[str, dict[str, float]]  # model -> mean L_b on "training" and "validation" drives
    periods: tuple[float, float]  # s, shortest and longest that were fitted
    cycles: int  # of each drive
    outside: int  # drives for which the predictor said that it extrapolates

    @property
    def fit(self) -> LoopFit:
        """The chosen model's fit."""
        return LoopFit.from_dict(self.best)

    def notes(self) -> list[str]:
        """How far to trust the model, in lines."""
        others = ", ".join(f"{key} {errors['validation']:.3g}" for key, errors in self.tried.items())
        doubts = [f"The predictor extrapolated for {self.outside} of the drives."] * (self.outside > 0)
        return [
            f"Fitted to {self.predictor}, of {self.device}, from rest under {self.cycles} cycles of a {self.waveform}",
            f"with periods of {self.periods[0]:.4g} to {self.periods[1]:.4g} s; frequencies below are of whole drives.",
            *self.fit.notes(),
            f"Held-out error of all models: {others}.",
            *doubts,
        ]


def fit_device(
    predict: Predictor,
    device: Device,
    amplitudes: tuple[float, float],
    periods: tuple[float, float],
    waveform: str = "triangle",
    cycles: int = 2,
    points: int = 3,
    models: Sequence[str] = KEYS,
    generations: int = 80,
    seed: int = 0,
    words: tuple[str, str] = ("a device", "a predictor"),
    progress: Callable[[int, int], None] | None = None,
) -> DeviceFit:
    """The compact model of `device` over a box of amplitudes [V] and periods [s].

    Fitted to all of `cycles` cycles of `points` by `points` drives that begin with the device at rest, geometrically
    spaced, and judged on those between them. `words` name device and predictor in the result. Raises InvalidValue for
    arguments out of range, SolveFailed where the predictor fails.
    """
    points = check_integer("points", points, low=2, high=20)
    keys = [check_choice("model", key, KEYS) for key in models]
    if not keys:
        raise InvalidValue(f"no models are named; give some of {', '.join(KEYS)}.")
    kind = WAVEFORMS[check_choice("waveform", waveform, WAVEFORMS)]
    ends = [_ends("amplitudes", amplitudes, "V"), _ends("periods", periods, "s")]
    grids = [np.geomspace(low, high, points if high > low else 1) for low, high in ends]
    between = [np.sqrt(grid[1:] * grid[:-1]) if grid.size > 1 else grid for grid in grids]
    if all(grid.size == 1 for grid in grids):
        raise InvalidValue("amplitudes and periods are one drive alone; give a range of either, to judge the model by.")
    training, far = loops_of(predict, device, _drive(kind, grids, cycles))
    validation, far_between = loops_of(predict, device, _drive(kind, between, cycles))
    fits: dict[str, LoopFit] = {}
    for k, key in enumerate(keys):
        model = model_class(key)
        fixed = {name: value for name, value in usual(model).items() if name not in FREE}
        fits[key] = fit_loops(
            model, training, validation, fixed, from_rest=True, generations=generations, restarts=1, seed=seed
        )
        if progress is not None:
            progress(k + 1, len(keys))
    best = min(fits.values(), key=lambda fit: fit.mean_error("validation"))
    return DeviceFit(
        device=words[0],
        predictor=words[1],
        waveform=waveform,
        best=best.to_dict(),
        tried={key: {w: fit.mean_error(w) for w in ("training", "validation")} for key, fit in fits.items()},
        periods=_ends("periods", periods, "s"),
        cycles=cycles,
        outside=far + far_between,
    )


def loops_of(predict: Predictor, device: Device, drive: Waveform) -> tuple[Loops, int]:
    """Everything the predictor says of the device under a batch of drives, as records that begin at rest.

    And for how many of them it extrapolates, where it knows. Raises SolveFailed where the predictor fails for one.
    """
    traces = predict(Devices.repeat(device, len(drive)), drive)
    if not traces.ok.all():
        row = int(np.argmin(traces.ok))
        raise SolveFailed(f"drive {row + 1} of {len(drive)} failed: {traces.status[row]}")
    voltage, current = (np.ascontiguousarray(part[:, :-1], dtype=float) for part in (traces.voltage, traces.current))
    tops = np.abs(voltage).max(1)
    loops = Loops(
        names=tuple(f"{top:.4g} V, {period:.4g} s" for top, period in zip(tops, traces.period, strict=True)),
        frequency=1.0 / (traces.cycles * traces.period),  # one record is the whole drive
        source=voltage,
        voltage=voltage,
        current=current,
        series_resistance=0.0,
    )
    return loops, 0 if traces.inside is None else int(np.sum(~traces.inside))


def _ends(name: str, ends: tuple[float, float], unit: str) -> tuple[float, float]:
    low, high = check_numbers(name, ends, low=1e-9, high=1e9, unit=unit)
    if low > high:
        raise InvalidValue(f"{name} = {low:g} to {high:g} {unit} run downwards; give the smaller first.")
    return float(low), float(high)


def _drive(kind: type[Triangle] | type[Sine], grids: list[np.ndarray], cycles: int) -> Waveform:
    """Every amplitude with every period."""
    pairs = np.array(list(itertools.product(*grids)))
    return kind(amplitude=pairs[:, 0], period=pairs[:, 1], cycles=cycles)
