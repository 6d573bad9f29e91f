"""Resistances of one's own devices: from any predictor of I-V curves, or from measured numbers."""

import dataclasses

import numpy as np
from jaxtyping import Float

from memflux.analysis.crossbar.distributions import LN10, PRINTED, Distributions
from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue, check_number
from memflux.metrics import sweep_currents
from memflux.waveform import Waveform

FEWEST = 2  # devices that have a deviation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class States:
    """The two resistances of B devices; nan where a device was not answered or carries no current."""

    lrs: Float[np.ndarray, " B"]  # ohm, the lower one
    hrs: Float[np.ndarray, " B"]  # ohm


def read_states(
    predictor: Predictor, devices: Devices, drive: Waveform, *, voltage: float = 0.1, cycle: int = -1
) -> States:
    """Resistances at the read voltage [V], on the way up to the largest voltage and on the way back.

    Interpolated between the samples of the curve: where a sweep goes to 10 V, the read voltage lies between its first
    two. For a voltage that the drive does not pass, the resistances are nan.
    """
    voltage = check_number("voltage", voltage, low=1e-9, high=1e4, unit="V")
    currents = np.stack(sweep_currents(predictor(devices, drive), voltage, cycle))
    with np.errstate(divide="ignore"):
        found = voltage / currents
    found[~np.isfinite(found)] = np.nan
    return States(lrs=np.min(found, axis=0), hrs=np.max(found, axis=0))


def fitted(states: States, like: Distributions = PRINTED) -> Distributions:
    """`like` with the lognormal distributions of these resistances; what is nan is left out."""
    known = np.isfinite(states.lrs) & np.isfinite(states.hrs)
    if known.sum() < FEWEST or not (states.lrs[known] > 0).all():
        raise InvalidValue(f"states has {known.sum()} devices with two resistances; give at least {FEWEST}, above 0.")
    lrs, hrs = np.log(states.lrs[known]), np.log(states.hrs[known])
    return dataclasses.replace(
        like,
        lrs_mu=float(lrs.mean()),
        lrs_sigma=float(lrs.std(ddof=1)),
        hrs_mean=float(hrs.mean() / LN10),
        hrs_deviation=float(hrs.std(ddof=1) / LN10),
    )
