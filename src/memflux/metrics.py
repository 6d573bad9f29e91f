"""The numbers by which curves are judged and designs are compared; their only home.

Errors (`nmae`, `nmae_scaled`) compare two currents; quantities (`symmetry`, `on_off_ratio`)
summarise one. Sources: Spetzler et al., arXiv 2505.13882, eqs. 9-11.
"""

import warnings
from typing import Protocol, runtime_checkable

import numpy as np

from memflux.errors import InvalidValue, check_number
from memflux.traces import Trace, Traces


@runtime_checkable
class CurrentScaling(Protocol):
    """A map from current [A] to the dimensionless current a model is trained on."""

    def scale(self, current: np.ndarray) -> np.ndarray:
        """Currents [B, T] in A to scaled currents [B, T]."""
        ...


def nmae(prediction: np.ndarray, truth: np.ndarray) -> float | np.ndarray:
    """Normalised mean absolute error of currents in A (eq. 9 without the scaling), in [0, 1].

    Half the mean absolute difference over the larger of the two peak magnitudes. A prediction with one spike of any
    size scores 1/(2T) by that: models are chosen by `balanced_nmae`.
    [T] -> float, [B, T] -> [B]. Raises InvalidValue where the shapes differ.
    """
    prediction, truth = _pair(prediction, truth)
    peak = np.maximum(np.abs(prediction).max(axis=-1, keepdims=True), np.abs(truth).max(axis=-1, keepdims=True))
    error = 0.5 * (np.abs(prediction - truth) / np.where(peak > 0, peak, 1.0)).mean(axis=-1)
    return float(error) if error.ndim == 0 else error


def balanced_nmae(prediction: np.ndarray, truth: np.ndarray) -> float | np.ndarray:
    """`nmae` to first order, but with no reward for a spike, and none for too small a curve: in [0, 1].

    sum |p - t| / (sum |p| + sum |t|), times the mean of |t| over its peak. A curve f times too large errs as much as
    one f times too small. Infinite where the prediction is not finite.
    [T] -> float, [B, T] -> [B]. Raises InvalidValue where the shapes differ.
    """
    prediction, truth = _pair(prediction, truth)
    apart, size = np.abs(prediction - truth).sum(axis=-1), np.abs(truth).sum(axis=-1)
    both, peak = np.abs(prediction).sum(axis=-1) + size, np.abs(truth).max(axis=-1)
    fullness = np.where(peak > 0, size / truth.shape[-1] / np.where(peak > 0, peak, 1.0), 1.0)
    share = np.where(np.isfinite(apart), apart, 0.0) / np.where(np.isfinite(both) & (both > 0), both, 1.0)
    error = np.where(np.isfinite(apart), fullness * share, np.inf)
    return float(error) if error.ndim == 0 else error


def _pair(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if prediction.shape != truth.shape or prediction.ndim not in (1, 2):
        raise InvalidValue(
            f"prediction has shape {prediction.shape} and truth {truth.shape}; give two [T] or two [B, T] arrays."
        )
    return prediction, truth


def nmae_scaled(prediction: np.ndarray, truth: np.ndarray, scaling: CurrentScaling) -> float | np.ndarray:
    """The published error (eq. 9): `nmae` of the scaled currents; arguments in A."""
    prediction, truth = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    error = nmae(scaling.scale(np.atleast_2d(prediction)), scaling.scale(np.atleast_2d(truth)))
    return float(np.asarray(error)[0]) if prediction.ndim == 1 else error


def symmetry(traces: Trace | Traces, cycle: int = -1, signed: bool = False) -> float | np.ndarray:
    """Symmetry S of one cycle (eq. 11): 1 for equal current magnitudes at +V_max and -V_max.

    S = 1 - |s(V_max) - s(V_min)|, s being the current magnitude min-max scaled over the cycle.
    `signed=True` scales the signed current, as eq. 11 is printed; a symmetric curve then scores
    near 0. Trace -> float, Traces -> [B]; NaN for rows that failed.
    """
    voltage, current, ok = _cycle(traces, cycle)
    values = current if signed else np.abs(current)
    low, high = values.min(axis=1), values.max(axis=1)
    scaled = (values - low[:, None]) / np.where(high > low, high - low, 1.0)[:, None]
    rows = np.arange(len(values))
    result = 1.0 - np.abs(scaled[rows, voltage.argmax(axis=1)] - scaled[rows, voltage.argmin(axis=1)])
    return _like(traces, np.where(ok, result, np.nan))


def on_off_ratio(traces: Trace | Traces, voltage: float = 5.0, cycle: int = -1) -> float | np.ndarray:
    """On-off ratio R of one cycle (eq. 10): |I_on| / (|I_on| + |I_off|), in [0, 1].

    I_on is the current where the up-sweep passes `voltage` [V], I_off where the down-sweep from
    the maximum does. Trace -> float, Traces -> [B]; NaN, with one warning, where the drive does
    not reach `voltage`, and NaN for rows that failed.
    """
    level = check_number("voltage", voltage, low=1e-9, high=1e4, unit="V")
    drive, current, ok = _cycle(traces, cycle)
    top = drive.argmax(axis=1)[:, None]
    step = np.arange(drive.shape[1] - 1)[None, :]
    up = (drive[:, :-1] < level) & (drive[:, 1:] >= level) & (step < top)
    down = (drive[:, :-1] >= level) & (drive[:, 1:] < level) & (step >= top)
    reached = up.any(axis=1) & down.any(axis=1)
    if not reached[ok].all():
        warnings.warn(
            f"{int((~reached[ok]).sum())} of {ok.sum()} drives do not sweep through {level:g} V; R is NaN there.",
            stacklevel=2,
        )
    on = np.abs(_crossing(drive, current, up.argmax(axis=1), level))
    off = np.abs(_crossing(drive, current, down.argmax(axis=1), level))
    total = on + off
    ratio = np.where(total > 0, on / np.where(total > 0, total, 1.0), np.nan)
    return _like(traces, np.where(reached & ok, ratio, np.nan))


def _cycle(traces: Trace | Traces, cycle: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voltage and current of one cycle, [B, S], and which rows [B] were answered to the end."""
    part = traces.cycle(cycle)
    ok = np.atleast_1d(np.asarray(traces.ok))
    if part.voltage.shape[-1] < 2:  # a trace that ended before this cycle
        return np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(1, dtype=bool)
    voltage, current = np.atleast_2d(part.voltage), np.atleast_2d(part.current)
    return voltage, current, ok & np.isfinite(current).all(axis=1)


def _crossing(drive: np.ndarray, current: np.ndarray, k: np.ndarray, level: float) -> np.ndarray:
    """Current linearly interpolated to `level` between samples k and k + 1 of each row."""
    rows = np.arange(len(drive))
    v0, v1 = drive[rows, k], drive[rows, k + 1]
    weight = (level - v0) / np.where(v1 != v0, v1 - v0, 1.0)
    return (1.0 - weight) * current[rows, k] + weight * current[rows, k + 1]


def _like(traces: Trace | Traces, values: np.ndarray) -> float | np.ndarray:
    return float(values[0]) if isinstance(traces, Trace) else values
