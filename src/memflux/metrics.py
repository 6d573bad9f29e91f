"""The numbers by which curves are judged and designs are compared; their only home.

Errors (`nmae`, `nmae_scaled`) compare two currents; quantities (`symmetry`, `on_off_ratio`, `set_voltage`,
`reset_voltage`, `loop_area`, `nonlinearity`, `energy`) summarise one cycle of one.
Sources: Spetzler et al., arXiv 2505.13882, eqs. 9-11; others at their functions.
"""

import warnings
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from memflux.errors import InvalidValue, check_integer, check_number
from memflux.traces import Trace, Traces

LOWEST = 0.1  # of the extreme of a polarity: below, the ratio of two small currents says little
READ = np.linspace(LOWEST, 1.0, 91)  # of that extreme: where sweeps out and back are compared
LEAST_WINDOW, LARGEST_WINDOW = 1.0 + 1e-6, 1e30  # factor by which a current switches
POLARITIES = {0: (1.0, -1.0), 1: (1.0,), -1: (-1.0,)}
ALIKE = 1e-9  # of the amplitude: drives that differ less are one


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
    part = _cycle(traces, cycle)
    values = part.current if signed else np.abs(part.current)
    low, high = values.min(axis=1), values.max(axis=1)
    width = np.where(high > low, high - low, 1.0)
    rows = np.arange(len(values))
    ends = [(values[rows, k] - low) / width for k in (part.voltage.argmax(axis=1), part.voltage.argmin(axis=1))]
    return _like(traces, np.where(part.ok, 1.0 - np.abs(ends[0] - ends[1]), np.nan))


def on_off_ratio(traces: Trace | Traces, voltage: float = 5.0, cycle: int = -1) -> float | np.ndarray:
    """On-off ratio R of one cycle (eq. 10): |I_on| / (|I_on| + |I_off|), in [0, 1].

    I_on is the current where the up-sweep passes `voltage` [V], I_off where the down-sweep from
    the maximum does. Trace -> float, Traces -> [B]; NaN, with one warning, where the drive does
    not reach `voltage`, and NaN for rows that failed.
    """
    level = check_number("voltage", voltage, low=1e-9, high=1e4, unit="V")
    part = _cycle(traces, cycle)
    on, off = _passing(part, level, up=True), _passing(part, level, up=False)
    _warn_of_small(part, on + off, level, "R")
    total = on + off
    return _like(traces, np.where(total > 0, on / np.where(total > 0, total, 1.0), np.nan))


def sweep_currents(traces: Trace | Traces, voltage: float, cycle: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """|I| [A], [B], where the up-sweep of one cycle passes `voltage` [V], and where the way down from the maximum does.

    A Trace is a batch of one. NaN, without a warning, where the drive does not reach `voltage` and in rows that failed.
    """
    level = check_number("voltage", voltage, low=1e-9, high=1e4, unit="V")
    part = _cycle(traces, cycle)
    return _passing(part, level, up=True), _passing(part, level, up=False)


def nonlinearity(
    traces: Trace | Traces, voltage: float = 5.0, cycle: int = -1, down: bool = False
) -> float | np.ndarray:
    """Half-bias non-linearity |I(V)| / |I(V/2)| of one cycle: 2 for a resistor, large for a good selector.

    Both currents are those where the up-sweep (`down`: the down-sweep from the maximum) passes `voltage` [V] and half
    of it, as for a crossbar whose half-selected cells see half the voltage (Yang et al., Appl. Phys. Lett. 100,
    113501, 2012). A state that changes between the two is part of it.
    Trace -> float, Traces -> [B]; NaN, with one warning, where the drive does not reach `voltage`, and NaN for rows
    that failed or carry no current at half the voltage.
    """
    level = check_number("voltage", voltage, low=1e-9, high=1e4, unit="V")
    part = _cycle(traces, cycle)
    whole, half = (_passing(part, v, up=not down) for v in (level, 0.5 * level))
    _warn_of_small(part, whole + half, level, "the non-linearity")
    return _like(traces, np.where(half > 0, whole / np.where(half > 0, half, 1.0), np.nan))


def loop_area(
    traces: Trace | Traces, cycle: int = -1, normalised: bool = False, signed: bool = False
) -> float | np.ndarray:
    """Area [W] between the sweeps out and back in the plane of |V| and |I|, both polarities together.

    With A = closed integral of |I| d|V|, over V > 0 and over V < 0 each: |A+| + |A-|, so that the two lobes of a
    pinched loop add up whichever way they turn (arXiv 1011.0060 measures hysteresis by lobes, too). `signed=True`
    gives A+ + A-: positive where the current is larger while |V| rises (clockwise, R > 1/2), negative where it is
    larger on the way back. `normalised=True` divides by the integral of |I| |d|V||: from 0 (-1 if signed) to 1,
    the mean of 2 R - 1 over the voltage, weighted with the current.
    By the trapezoidal rule. Trace -> float, Traces -> [B]; NaN for rows that failed, and without any current if
    normalised.
    """
    part = _cycle(traces, cycle)
    size = np.abs(part.current)
    lobes = [np.maximum(sign * part.voltage, 0.0) for sign in (1.0, -1.0)]
    areas = np.stack([_integral(size, np.diff(lobe)) for lobe in lobes])
    area = areas.sum(axis=0) if signed else np.abs(areas).sum(axis=0)
    if normalised:
        whole = _integral(size, np.abs(np.diff(lobes[0])) + np.abs(np.diff(lobes[1])))
        area = np.where(whole > 0, area / np.where(whole > 0, whole, 1.0), np.nan)
    return _like(traces, np.where(part.ok, area, np.nan))


def energy(traces: Trace | Traces, cycle: int = -1) -> float | np.ndarray:
    """Energy [J] that the device takes up in one cycle: the integral of V I dt, by the trapezoidal rule.

    With its sign: charge that flows back out of a capacitance counts against what had charged it, so that over
    a cycle the rest is dissipated. Trace -> float, Traces -> [B]; NaN for rows that failed.
    """
    part = _cycle(traces, cycle)
    return _like(traces, np.where(part.ok, _integral(part.voltage * part.current, np.diff(part.time)), np.nan))


def set_voltage(traces: Trace | Traces, cycle: int = -1, window: float = 1.1, polarity: int = 0) -> float | np.ndarray:
    """Voltage [V], with its sign, above which half of the rise of the current comes about in one cycle.

    For each polarity, h(v) = ln |I_back(v) / I_out(v)| compares the sweep back from the extreme with the sweep out to
    it at the same v = |V|; what both share, such as a static non-linearity, cancels. h is 0 at the extreme and
    grows to h_max towards small v as the state changes. The SET voltage is the largest v at which h reaches h_max / 2,
    in the polarity of the larger h_max, or in `polarity` 1 or -1 alone: for an abrupt SET the voltage of the jump, for
    a state that drifts with the flux 1/sqrt(2) of the amplitude. Slopes of the curve (Barrera et al., doi
    10.1016/j.cam.2017.12.020) find jumps alone: of a smooth curve, dI/dV is largest at the extreme and d ln|I|/dV
    at 0 V. Compared are v of 10 % of the extreme and more.
    Trace -> float, Traces -> [B]; NaN where h_max is below ln `window` (nothing is SET), where the
    drive is not one sweep out and back, where no current flows, and for rows that failed.
    """
    return _switching(traces, cycle, window, polarity, 1.0)


def reset_voltage(
    traces: Trace | Traces, cycle: int = -1, window: float = 1.1, polarity: int = 0
) -> float | np.ndarray:
    """Voltage [V], with its sign, above which half of the fall of the current comes about in one cycle.

    As `set_voltage` with -h in place of h: what makes the current smaller on the way back.
    """
    return _switching(traces, cycle, window, polarity, -1.0)


class _Cycle(NamedTuple):
    """One cycle of B rows; time and voltage have one row where all share it. `ok`: answered to the end."""

    time: np.ndarray  # s, [B or 1, S]
    voltage: np.ndarray  # V, [B or 1, S]
    current: np.ndarray  # A, [B, S]
    ok: np.ndarray  # [B]


def _cycle(traces: Trace | Traces, cycle: int) -> _Cycle:
    part = traces.cycle(cycle)
    if part.voltage.shape[-1] < 2:  # a trace that ended before this cycle
        return _Cycle(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(1, dtype=bool))
    current = np.atleast_2d(part.current)
    with np.errstate(invalid="ignore"):  # a sum is finite where every term is, and the product is the fastest sum
        finite = np.isfinite(current @ np.ones(current.shape[1]))
    ok = np.atleast_1d(np.asarray(traces.ok)) & finite
    return _Cycle(_once(part.time), _once(part.voltage), current, ok)


def _once(rows: np.ndarray) -> np.ndarray:
    """[T] or [B, T] as [1, T] or [B, T]; [1, T] where all rows are one in memory, as those of one drive are."""
    rows = np.atleast_2d(rows)
    return rows[:1] if rows.strides[0] == 0 else rows


def _passing(part: _Cycle, level: float, up: bool) -> np.ndarray:
    """|I| [B] where the sweep up to the maximum, or down from it, passes `level` [V]; NaN where none does."""
    drive, top = part.voltage, part.voltage.argmax(axis=1)[:, None]
    step = np.arange(drive.shape[1] - 1)[None, :]
    below = drive < level
    passes = below[:, :-1] & ~below[:, 1:] & (step < top) if up else ~below[:, :-1] & below[:, 1:] & (step >= top)
    k, reached = passes.argmax(axis=1), passes.any(axis=1)
    one, rows = np.arange(len(drive)), np.arange(len(part.current))
    v0, v1 = drive[one, k], drive[one, k + 1]
    weight = (level - v0) / np.where(v1 != v0, v1 - v0, 1.0)
    found = np.abs((1.0 - weight) * part.current[rows, k] + weight * part.current[rows, k + 1])
    return np.where(reached & part.ok, found, np.nan)


def _warn_of_small(part: _Cycle, found: np.ndarray, level: float, what: str) -> None:
    """One warning where rows that were answered have no value because their drive is too small."""
    missing = part.ok & np.isnan(found)
    if missing.any():
        warnings.warn(
            f"{int(missing.sum())} of {part.ok.sum()} drives do not sweep through {level:g} V; {what} is NaN there.",
            stacklevel=3,
        )


def _integral(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Trapezoidal rule [B] for values [B, S] that lie `steps` [B or 1, S - 1] apart."""
    end = np.zeros((len(steps), 1))
    weights = 0.5 * (np.concatenate([end, steps], axis=1) + np.concatenate([steps, end], axis=1))
    return np.einsum("bs,bs->b", values, np.broadcast_to(weights, values.shape))


def _switching(traces: Trace | Traces, cycle: int, window: float, polarity: int, sense: float) -> float | np.ndarray:
    """The voltage of `set_voltage` (sense 1) or `reset_voltage` (-1)."""
    least = np.log(check_number("window", window, low=LEAST_WINDOW, high=LARGEST_WINDOW))
    signs = POLARITIES[check_integer("polarity", polarity, low=-1, high=1)]
    part = _cycle(traces, cycle)
    amplitude = np.abs(part.voltage).max(axis=1)
    drive = part.voltage / np.where(amplitude > 0, amplitude, 1.0)[:, None]
    if np.abs(drive - drive[:1]).max() < ALIKE:  # triangles of any amplitude are one
        at, opened = _half_opened(drive[0], part.current, signs, sense)
    else:
        rows = [_half_opened(v, i[None], signs, sense) for v, i in zip(drive, part.current, strict=True)]
        at, opened = (np.concatenate(column) for column in zip(*rows, strict=True))
    return _like(traces, np.where(part.ok & (opened >= least), at * amplitude, np.nan))


def _half_opened(
    drive: np.ndarray, current: np.ndarray, signs: tuple[float, ...], sense: float
) -> tuple[np.ndarray, np.ndarray]:
    """Signed voltage over amplitude, and h_max, of the polarity that opens wider; `drive` [S], `current` [B, S]."""
    at, opened = np.full(len(current), np.nan), np.zeros(len(current))
    for sign in signs:
        extreme = max(float((sign * drive).max()), LOWEST)  # of a polarity that hardly occurs no sweep gets there
        part = sign * drive / extreme
        ways = _ways(part)
        if ways is None:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):  # where no current flows, h is not finite
            out, back = (_log_size(part, current, way) for way in ways)
            h = sense * (back - out)
            h[~np.isfinite(h).all(axis=1)] = 0.0
        widest = h.max(axis=1)
        k = h.shape[1] - 1 - (h >= 0.5 * widest[:, None])[:, ::-1].argmax(axis=1)
        rows, after = np.arange(len(h)), np.minimum(k + 1, h.shape[1] - 1)
        fall = h[rows, k] - h[rows, after]
        share = (h[rows, k] - 0.5 * widest) / np.where(fall > 0, fall, 1.0)
        v = READ[k] + share * (READ[after] - READ[k])
        wider = widest > opened
        at, opened = np.where(wider, sign * extreme * v, at), np.where(wider, widest, opened)
    return at, opened


def _ways(drive: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Samples of the one sweep from 0 to 1, and of that back, by rising voltage; None where there is none."""
    top = int(drive.argmax())
    if drive[top] < 1.0 - ALIKE:
        return None
    out = np.arange(np.flatnonzero(drive[: top + 1] <= READ[0]).max(initial=-1), top + 1)
    last = np.flatnonzero(drive[top:] <= READ[0])
    if out[0] < 0 or not last.size:
        return None
    back = np.arange(top, top + last[0] + 1)[::-1]
    rising = all((np.diff(drive[way]) >= 0).all() for way in (out, back))
    return (out, back) if rising else None


def _log_size(drive: np.ndarray, current: np.ndarray, way: np.ndarray) -> np.ndarray:
    """ln |I| [B, READ] on one way, linear in ln |I| between samples."""
    right = np.clip(np.searchsorted(drive[way], READ), 1, way.size - 1)
    v0, v1 = drive[way[right - 1]], drive[way[right]]
    weight = (READ - v0) / np.where(v1 > v0, v1 - v0, 1.0)
    size = np.log(np.abs(current[:, way]))
    return (1.0 - weight) * size[:, right - 1] + weight * size[:, right]


def _like(traces: Trace | Traces, values: np.ndarray) -> float | np.ndarray:
    return float(values[0]) if isinstance(traces, Trace) else values
