"""How far a predictor's curves are from given ones, device by device."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.metrics import CurrentScaling, nmae, nmae_scaled
from memflux.traces import Traces
from memflux.waveform import Waveform


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
        return int(self.rows[np.argsort(self.nmae, kind="stable")[(self.nmae.size - 1) // 2]])

    @property
    def worst(self) -> int:
        """Row with the largest nMAE."""
        return int(self.rows[self.nmae.argmax()])

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
    predicted = predict(devices, drive)
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
