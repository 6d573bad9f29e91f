"""How far the numbers of a predictor err, from true curves that it keeps of devices it never saw."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from memflux.analysis.quantities import Quantity, evaluate, resolve
from memflux.contracts import Predictor


def quantity_errors(predictor: Predictor, quantities: Sequence[Quantity]) -> Float[np.ndarray, "N Q"] | None:
    """Predicted minus true quantities of N held-out devices; NaN where either is undefined.

    Asks `predictor.quantity_errors`, as an endpoint's client has it, or `predictor.held_out`, as a calibrated
    surrogate has; None where a predictor has neither, or no calibration.
    """
    asked = getattr(predictor, "quantity_errors", None)
    if callable(asked):
        return asked(quantities)
    held_out = getattr(predictor, "held_out", None)
    known = held_out() if callable(held_out) else None
    if known is None:
        return None
    devices, drive, traces = known
    truth = np.stack([np.asarray(resolve(q)(traces), dtype=np.float64) for q in quantities], axis=1)
    return evaluate(predictor, devices, drive, quantities) - truth


def half_widths(errors: Float[np.ndarray, "N Q"], coverage: float) -> Float[np.ndarray, " Q"]:
    """Half widths of intervals that hold the truth of a fresh device with probability `coverage`.

    Split conformal prediction (Lei et al., doi 10.1080/01621459.2017.1307116): the ceil((N + 1) coverage)-th
    smallest |error|. Infinite where the finite errors are too few for that.
    """
    result = np.full(errors.shape[1], np.inf)
    for column, values in enumerate(np.abs(errors).T):
        known = np.sort(values[np.isfinite(values)])
        place = math.ceil((known.size + 1) * coverage - 1e-9)  # less a rounding error
        if place <= known.size:
            result[column] = known[place - 1]
    return result
