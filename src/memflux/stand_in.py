"""A cheap compact model of the vacancy memristor: a Predictor that costs microseconds.

One state, the vacancy position w in [0, 1] (0: at the left contact), drifts with the applied
field and is bounded by the window 4 w (1 - w); each contact passes a Schottky current whose
barrier the vacancies near it lower. It is no substitute for the transport model: it stands in
for it where an analysis or a data flow is tested, because it answers the same protocol and
depends smoothly on every parameter of the published spaces.
"""

import dataclasses

import numpy as np

from memflux.constants import ELEMENTARY_CHARGE, thermal_voltage
from memflux.contracts import CurveCost, finite_difference_gradient
from memflux.device import Devices
from memflux.errors import check_integer
from memflux.space import Space
from memflux.traces import Traces
from memflux.waveform import Waveform

VACANCY_LOWERING = 0.08  # eV, how much a full accumulation lowers the barrier
USUAL_DENSITY = 1e24  # m^-3, mean density of vacancies at an offset of 0.3 eV
FIELD_GAIN = 30.0  # 1, drift enhancement that brings one sweep to order one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """Predictor and Differentiable; `samples` a cycle, gradients by finite differences."""

    samples: int = 160
    parameters: tuple[str, ...] = Space.preset("5d-parametric").names

    def __post_init__(self) -> None:
        check_integer("samples", self.samples, low=4, high=1_000_000)

    def __call__(self, devices: Devices, drive: Waveform) -> Traces:
        drive = drive.for_batch(len(devices))
        time, voltage = (np.broadcast_to(a, (len(devices), a.shape[-1])) for a in drive.grid(self.samples))
        current = _current(devices, voltage, _position(devices, time, voltage))
        return Traces.of(time=time, voltage=voltage, current=current, period=drive.periods(), cycles=drive.cycles)

    def value_and_gradient(self, devices: Devices, drive: Waveform, cost: CurveCost) -> tuple[np.ndarray, np.ndarray]:
        """Cost [B] and gradient [B, P]; see `Differentiable`."""
        return finite_difference_gradient(self, devices, drive, cost, self.parameters)


def _position(devices: Devices, time: np.ndarray, voltage: np.ndarray) -> np.ndarray:
    """Vacancy position [B, T], by exact integration of the logistic window over each step."""
    rate = FIELD_GAIN * devices.mobility_vacancy / devices.length**2  # 1/(V s)
    flux = np.cumsum(0.5 * np.diff(time, axis=1) * (voltage[:, 1:] + voltage[:, :-1]), axis=1)
    logit = np.concatenate([np.zeros((len(devices), 1)), -4.0 * rate[:, None] * flux], axis=1)
    with np.errstate(over="ignore"):  # infinity leads to 0, which is right
        return 1.0 / (1.0 + np.exp(-logit))


def _content(devices: Devices) -> np.ndarray:
    """Vacancies [B] relative to an offset of 0.3 eV: as the offset or the mean density has it."""
    from_offset = np.exp(-(devices.vacancy_offset - 0.3) / 0.1)
    return np.where(np.isnan(devices.mean_vacancy_density), from_offset, devices.mean_vacancy_density / USUAL_DENSITY)


def _current(devices: Devices, voltage: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Series of channel and two barriers, as a smooth odd-leaning function of the voltage [B, T]."""
    unit = thermal_voltage(300.0)
    content = _content(devices)[:, None]
    left = np.exp(-(devices.barrier_left[:, None] - VACANCY_LOWERING * content * (1 - position)) / (3 * unit))
    right = np.exp(-(devices.barrier_right[:, None] - VACANCY_LOWERING * content * position) / (3 * unit))
    density = devices.donor_density[:, None] + 1e22
    channel = (
        ELEMENTARY_CHARGE
        * density
        * devices.mobility_electron[:, None]
        * (devices.width * devices.thickness / devices.length)[:, None]
    )  # S
    contact = np.where(voltage >= 0, left, right)
    return channel * contact * voltage * (1.0 + 0.1 * np.abs(voltage)) / (contact + 0.2)
