"""How far a predictor's curves are from given ones, device by device."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.metrics import CurrentScaling, nmae, nmae_scaled, on_off_ratio, symmetry
from memflux.traces import Traces
from memflux.waveform import Waveform

FELT_VOLTAGE = 5.0  # V, where the on-off ratio is read


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """Errors of N predicted curves; rows whose reference or prediction failed are left out and counted."""

    rows: Int[np.ndarray, " N"]  # places in the batch that was asked
    nmae: Float[np.ndarray, " N"]  # normalised mean absolute error of the currents in A
    nmae_scaled: Float[np.ndarray, " N"] | None  # the published one, on scaled currents
    left_out: int

    @property
    def best(self) -> int:
        """Row with the smallest nMAE."""
        return int(self.rows[self.nmae.argmin()])

    @property
    def median(self) -> int:
        """Row in the middle of the order of nMAE."""
        return int(self.rows[self.at_quantile(0.5)])

    @property
    def worst(self) -> int:
        """Row with the largest nMAE."""
        return int(self.rows[self.nmae.argmax()])

    @property
    def order(self) -> Int[np.ndarray, " N"]:
        """Places in `rows` in the order of nMAE, the best first."""
        return np.argsort(self.nmae, kind="stable")

    def at_quantile(self, quantile: float) -> int:
        """Place in `rows` of the device at a quantile of nMAE: 0 the best, 1 the worst."""
        return int(self.order[int(quantile * (self.nmae.size - 1))])

    def to_dict(self) -> dict[str, object]:
        """The summary, JSON-ready: counts, statistics of both errors, and the three rows."""
        return {
            "count": int(self.rows.size),
            "left_out": self.left_out,
            "nmae": _statistics(self.nmae),
            "nmae_scaled": None if self.nmae_scaled is None else _statistics(self.nmae_scaled),
            "best": self.best,
            "median": self.median,
            "worst": self.worst,
        }


def evaluate(
    predict: Predictor, devices: Devices, drive: Waveform, traces: Traces, scaling: CurrentScaling | None = None
) -> Evaluation:
    """Compare a predictor with `traces`, both in A and, with `scaling`, as published.

    Raises InvalidValue where the grids differ or no row is left to compare.
    """
    return compare(predict(devices, drive), traces, scaling)


def compare(predicted: Traces, traces: Traces, scaling: CurrentScaling | None = None) -> Evaluation:
    """`evaluate` where the predictor was asked already: B predicted and B given traces of the same devices."""
    rows = solved_in_both(predicted, traces)
    if rows.size == 0:
        raise InvalidValue(f"none of the {len(traces)} rows is ok in both prediction and traces; give solved ones.")
    guess, truth = predicted.current[rows], traces.current[rows]
    return Evaluation(
        rows=rows,
        nmae=np.asarray(nmae(guess, truth)),
        nmae_scaled=None if scaling is None else np.asarray(nmae_scaled(guess, truth, scaling)),
        left_out=len(traces) - int(rows.size),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Felt:
    """The errors that designs feel: prediction minus truth of N devices, all without unit.

    NaN where a quantity is not defined: the on-off ratio of a drive that stays below 5 V, the
    logarithm of a current that is zero throughout.
    """

    on_off_ratio: Float[np.ndarray, " N"]  # of R at 5 V in the last cycle
    symmetry: Float[np.ndarray, " N"]  # of S in the last cycle
    log10_peak: Float[np.ndarray, " N"]  # of log10 of the largest |current| over all cycles: 0.01 is 2.3 %

    def to_dict(self) -> dict[str, dict[str, float | int | None]]:
        """Of each: for how many devices it is defined, and median and 99th percentile of its magnitude."""
        return {field.name: _magnitude(getattr(self, field.name)) for field in dataclasses.fields(self)}


def felt(predicted: Traces, traces: Traces) -> Felt:
    """Errors of on-off ratio, symmetry and peak on the rows that are ok in both, those of `compare`.

    Raises InvalidValue where the grids differ.
    """
    rows = solved_in_both(predicted, traces)
    guess, truth = predicted[rows], traces[rows]
    strong = truth.cycle().voltage.max(axis=1) >= FELT_VOLTAGE
    ratio = np.full(rows.size, np.nan)
    ratio[strong] = on_off_ratio(guess[strong], FELT_VOLTAGE) - on_off_ratio(truth[strong], FELT_VOLTAGE)
    return Felt(
        on_off_ratio=ratio,
        symmetry=np.asarray(symmetry(guess) - symmetry(truth)),
        log10_peak=_log10_peak(guess) - _log10_peak(truth),
    )


def cycle_errors(predicted: Traces, traces: Traces) -> Float[np.ndarray, "N C"]:
    """nMAE of each cycle by itself, over its own peak, on the rows that are ok in both."""
    rows = solved_in_both(predicted, traces)
    guess, truth = predicted[rows], traces[rows]
    return np.stack([nmae(guess.cycle(c).current, truth.cycle(c).current) for c in range(truth.cycles)], axis=1)


def worst_devices(
    result: Evaluation,
    names: Sequence[str],
    values: Float[np.ndarray, "B P"],
    index: Int[np.ndarray, " B"],
    keys: np.ndarray,
    count: int = 10,
) -> list[dict[str, object]]:
    """The `count` worst devices, the worst first, JSON-ready: row, index and key in the data set, nMAE, parameters.

    `values` (SI, eV), `index` and `keys` (str) are those of the B devices that were asked, `names` of the parameters.
    """
    found = []
    for place in result.order[::-1][:count]:
        row = int(result.rows[place])
        parameters = {name: float(value) for name, value in zip(names, values[row], strict=True)}
        error = float(result.nmae[place])
        found.append(
            {"row": row, "index": int(index[row]), "key": str(keys[row]), "nmae": error, "parameters": parameters}
        )
    return found


def solved_in_both(predicted: Traces, traces: Traces) -> Int[np.ndarray, " N"]:
    """Rows that are ok in both; raises InvalidValue where the grids differ."""
    if predicted.current.shape != traces.current.shape:
        raise InvalidValue(
            f"the prediction has shape {predicted.current.shape} and the traces {traces.current.shape}; ask for the "
            "same devices with the same samples a cycle."
        )
    return np.flatnonzero(predicted.ok & traces.ok)


def _statistics(error: Float[np.ndarray, " N"]) -> dict[str, float]:
    return {
        "mean": float(error.mean()),
        "median": float(np.median(error)),
        "p95": float(np.percentile(error, 95)),
        "max": float(error.max()),
    }


def _magnitude(difference: Float[np.ndarray, " N"]) -> dict[str, float | int | None]:
    """Count, median and 99th percentile of the magnitudes that are defined; None for those of none."""
    size = np.abs(difference[np.isfinite(difference)])
    if size.size == 0:
        return {"count": 0, "median": None, "p99": None}
    return {"count": int(size.size), "median": float(np.median(size)), "p99": float(np.percentile(size, 99))}


def _log10_peak(traces: Traces) -> Float[np.ndarray, " N"]:
    """log10 of the largest |current| / A of each curve; NaN for a curve of zeros."""
    peak = np.abs(traces.current).max(axis=1)
    return np.log10(np.where(peak > 0, peak, np.nan))
