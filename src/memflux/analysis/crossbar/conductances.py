"""Resistances of one's own devices: from any predictor of I-V curves, or from measured numbers."""

import dataclasses

import numpy as np
from jaxtyping import Float

from memflux.analysis.crossbar.cells import CellOptions, Cells
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
    lrs, hrs = (np.log(resistance) for resistance in _known(states))
    return dataclasses.replace(
        like,
        lrs_mu=float(lrs.mean()),
        lrs_sigma=float(lrs.std(ddof=1)),
        hrs_mean=float(hrs.mean() / LN10),
        hrs_deviation=float(hrs.std(ddof=1) / LN10),
    )


def bootstrapped(
    states: States, count: int, options: CellOptions | None = None, like: Distributions = PRINTED, *, seed: int = 0
) -> Cells:
    """Cells with the pairs of resistances of these devices, drawn with replacement, whatever their distribution.

    Voltages are those of `like`; a resistance that is drawn anew comes from `fitted`.
    """
    cells = Cells(count, fitted(states, like), options, seed=seed)
    lrs, hrs = _known(states)
    alive = np.flatnonzero(np.isfinite(cells.hrs))  # the dead ones keep what they are
    device = np.random.default_rng([seed, 1]).integers(lrs.size, size=alive.size)
    cells.lrs[alive], cells.hrs[alive] = lrs[device], hrs[device]
    return cells


def _known(states: States) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(states.lrs) & np.isfinite(states.hrs)
    if known.sum() < FEWEST or not (states.lrs[known] > 0).all() or not (states.hrs[known] > 0).all():
        raise InvalidValue(f"states has {known.sum()} devices with two resistances; give at least {FEWEST}, above 0.")
    return states.lrs[known], states.hrs[known]
