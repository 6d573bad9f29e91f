"""Whether bands hold what they state, on devices that neither training nor calibration saw."""

import dataclasses

import numpy as np
from jaxtyping import Float

from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.traces import Traces
from memflux.training.bands import Bands, relative_error
from memflux.training.difficulty import peak_of
from memflux.training.evaluate import solved_in_both
from memflux.training.scaling import InputScaling
from memflux.training.spread import Spread
from memflux.waveform import Waveform

PARTS = 10  # of the range of each parameter, with as many devices in each


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BandCheck:
    """Coverage and width of one kind of band on `count` devices; widths and errors over the peak of the prediction."""

    kind: str
    count: int
    coverage: float  # as stated
    covered: float  # share of the true values (pointwise) or curves (curve) that are inside
    worst: float  # the same in the decile of a parameter where it is smallest
    worst_parameter: str
    worst_decile: int  # from 0
    width: float  # mean of upper less lower end
    error: float  # mean absolute error of the prediction

    @property
    def ratio(self) -> float:
        """Mean width over mean absolute error; 4.9 for pointwise bands of 95 % around normal errors of known size."""
        return self.width / self.error if self.error > 0 else np.inf

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def check_bands(
    bands: Bands,
    predict: Predictor,
    devices: Devices,
    drive: Waveform,
    traces: Traces,
    inputs: InputScaling,
    spread: Spread | None = None,
    kind: str = "pointwise",
) -> BandCheck:
    """Compare bands with solved traces of fresh devices; rows that failed are left out.

    Raises InvalidValue for another grid, or where fewer than ten rows are left.
    """
    drive = drive.for_batch(len(devices))
    prediction = predict(devices, drive)
    rows = solved_in_both(prediction, traces)
    if rows.size < PARTS:
        raise InvalidValue(f"{rows.size} of the {len(traces)} devices are solved; give at least {PARTS}.")
    chosen, wave = devices[rows], drive[rows]
    unit = inputs.scale(inputs.values(chosen, wave))
    low, high = bands.around(prediction[rows], unit, None if spread is None else spread(chosen, wave), kind)
    truth, current = traces.current[rows], prediction.current[rows]
    within = (low <= truth) & (truth <= high)
    inside = within.all(axis=1).astype(float) if kind == "curve" else within.mean(axis=1)
    shares = _shares(unit, inside)
    column, part = np.unravel_index(shares.argmin(), shares.shape)
    return BandCheck(
        kind=kind,
        count=int(rows.size),
        coverage=bands.coverage,
        covered=float(inside.mean()),
        worst=float(shares.min()),
        worst_parameter=inputs.names[column],
        worst_decile=int(part),
        width=float(((high - low) / peak_of(current)).mean()),
        error=float(relative_error(current, truth).mean()),
    )


def _shares(unit: Float[np.ndarray, "B P"], inside: Float[np.ndarray, " B"]) -> Float[np.ndarray, "P D"]:
    """Mean of `inside` in each decile of each parameter."""
    return np.array(
        [[inside[part].mean() for part in np.array_split(np.argsort(u, kind="stable"), PARTS)] for u in unit.T]
    )
