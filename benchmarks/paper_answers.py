"""The published answers of the design study, from our own data: sensitivity, optimum, maps and front.

Published: arXiv 2505.13882, sections 3.4 and 3.5, figures 6 to 8, space 5D-parametric. Surrogate: the spectral one that
ships. The indices are also computed from 2,000 simulated curves alone, through a Gaussian process of each quantity.
"""

import os
from collections.abc import Iterator, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
from jaxtyping import Float
from scipy.stats import qmc
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

import harness
import published
from harness import Row
from memflux import Devices, Solver, Surrogate
from memflux.analysis.confirmed_front import confirm
from memflux.analysis.maps import metric_map
from memflux.analysis.optimise import optimise
from memflux.analysis.pareto import pareto
from memflux.analysis.quantities import AbstractQuantity, at_points, evaluate
from memflux.analysis.sensitivity import SobolResult, sobol
from memflux.waveform import Waveform

MODEL = "5d-parametric"
NAMES = ("symmetry", "on_off_ratio")
BASE = 16_384
APART = 0.06  # from the published index
PUBLISHED = {  # quantity, order, parameter
    ("on_off_ratio", "total", "mobility_vacancy"): 0.87,
    ("on_off_ratio", "first", "mobility_vacancy"): 0.68,
    ("on_off_ratio", "total", "mobility_electron"): 0.20,
    ("on_off_ratio", "total", "barrier_left"): 0.21,
    ("on_off_ratio", "total", "barrier_right"): 0.03,
    ("symmetry", "total", "mobility_electron"): 0.62,
    ("symmetry", "first", "mobility_electron"): 0.37,
    ("symmetry", "total", "barrier_left"): 0.50,
    ("symmetry", "total", "barrier_right"): 0.50,
    ("symmetry", "total", "mobility_vacancy"): 0.17,
    ("symmetry", "total", "vacancy_offset"): 0.0,
}
OF_THE_BARRIERS = 0.21, 0.04  # second order for S, and how far ours may lie from it
OPTIMUM = {"symmetry": (0.15, 0.04), "on_off_ratio": (0.87, 0.06)}
SLOW = 1e-14  # m^2/(V s): vacancies that hardly move


def sensitivity(quick: bool) -> Iterator[Row]:
    """Sobol indices beside the published ones, and beside those of simulated curves alone"""
    model = Surrogate.load(MODEL).on("cpu", "float32")
    base = 1024 if quick else BASE
    ours = sobol(model, model.space, NAMES, base_samples=base, second_order=True)
    for (quantity, order, parameter), value in PUBLISHED.items():
        found, half = _index(ours, quantity, order, parameter)
        what = f"{quantity}, {order} order of {parameter}: distance from the published"
        yield Row(what=what, value=abs(found - value), unit="1", bar=APART, note=f"{found:.3f} ± {half:.3f}; {value:g}")
    assert ours.second is not None
    pair = float(ours.second[0, ours.names.index("barrier_left"), ours.names.index("barrier_right")])
    value, most = OF_THE_BARRIERS
    what = "symmetry, second order of the barriers: distance from the published"
    yield Row(what=what, value=abs(pair - value), unit="1", bar=most, note=f"{pair:.3f}; {value:g}")
    learned = Learned(200 if quick else 1600)
    theirs = sobol(learned, model.space, NAMES, base_samples=base, second_order=True)  # type: ignore[arg-type]
    apart = [np.abs(getattr(ours, order) - getattr(theirs, order)).max() for order in ("first", "total")]
    note = ", ".join(f"1 - R2 of {name} on {learned.tested} other curves {u:.4f}" for name, u in learned.missed.items())
    what = "largest distance from the indices of simulated curves"
    yield Row(what=what, value=max(apart), unit="1", bar=0.03, note=note)


def optimum(quick: bool) -> Iterator[Row]:
    """scalar optimum"""
    model = Surrogate.load(MODEL).on("cpu", "float32")
    found = optimise(model, model.space)
    for value, name in zip(found.values, found.quantities, strict=True):
        wanted, apart = OPTIMUM[name]
        what = f"optimum, {name}: distance from the published"
        yield Row(what=what, value=abs(value - wanted), unit="1", bar=apart, note=f"{value:.3f}; {wanted:g}")
    power = 14 if quick else 20
    unit = qmc.Sobol(d=len(model.space.names), rng=np.random.default_rng(0)).random_base2(power)
    values = at_points(model, model.space, unit, NAMES)
    best = float(np.nanmin(values[:, 0] ** 2 + (values[:, 1] - 1.0) ** 2))
    note = f"{found.cost:.5f} in {found.evaluations} evaluations; {best:.5f} in {2**power}"
    yield Row(
        what="optimum: cost beyond the best of 2^20 Sobol points",
        value=found.cost - best,
        unit="1",
        bar=1e-3,
        note=note,
    )
    device = Devices.repeat(model.space.device, 1, **{n: np.array([v]) for n, v in found.parameters.items()})
    exact = evaluate(Solver(samples=model.samples), device, model.drive, NAMES)[0]
    yield Row(what="optimum, symmetry by the FV model", value=exact[0], unit="1")
    yield Row(what="optimum, on-off ratio by the FV model", value=exact[1], unit="1")


def maps(quick: bool) -> Iterator[Row]:
    """maps"""
    model = Surrogate.load(MODEL).on("cpu", "float32")
    found = metric_map(model, model.space, NAMES, points=(16, 16, 6) if quick else None)
    assert found.z is not None
    ratio = found.values[1][:, :, found.z < SLOW]
    low, high = float(np.nanmin(ratio)), float(np.nanmax(ratio))
    note = f"published: 0.45 to 0.61 for all mobilities below {SLOW:g} m^2/(V s)"
    yield Row(what="map, least R of slow vacancies", value=low, unit="1", bar=0.45, better="higher", note=note)
    yield Row(what="map, largest R of slow vacancies", value=high, unit="1", bar=0.61)
    slow, x = found.values[0][:, :, 0], found.x
    beside = (np.abs(x[:, None] - x[None, :]) > 0.03) & (np.maximum(x[:, None], x[None, :]) > 0.15)
    note = f"least S on the diagonal less the mean S off it, barriers above 0.15 eV, {found.z[0]:g} m^2/(V s)"
    band = float(np.diag(slow).min() - slow[beside].mean())
    yield Row(what="map, height of the diagonal band of S", value=band, unit="1", bar=0.2, better="higher", note=note)


def front(quick: bool) -> Iterator[Row]:
    """Pareto front, confirmed by the FV model"""
    model = Surrogate.load(MODEL).on("cpu", "float32")
    found = pareto(model, model.space, population=40 if quick else 200, generations=20 if quick else 200)
    count = 8 if quick else 200
    check = confirm(found, Solver(samples=model.samples), model.space, count)
    apart = ", ".join(f"{d:.3f}" for d in check.largest_difference)
    note = f"{len(check.rows)} devices; largest differences in S and R {apart}"
    assert check.share is not None
    what = "front: hypervolume by the FV model over the surrogate's"
    yield Row(what=what, value=check.share, unit="1", bar=0.97, better="higher", note=note)


class Learned:
    """Gaussian processes of quantities from simulated curves: the solver's answer without a surrogate of curves."""

    def __init__(self, count: int) -> None:
        data = published.tests(MODEL)
        self.space = Surrogate.load(MODEL).space
        unit = self.space.coordinates(data.devices, data.drive)
        values = evaluate(lambda *_: data.traces, data.devices, data.drive, NAMES)
        self.tested = len(unit) - count
        self.missed: dict[str, float] = {}
        self._learned = {}
        for name, column in zip(NAMES, values.T, strict=True):
            kernel = ConstantKernel() * Matern(np.ones(unit.shape[1]), nu=1.5) + WhiteKernel(1e-5)
            process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
            self._learned[name] = process.fit(unit[:count], column[:count])
            self.missed[name] = 1.0 - process.score(unit[count:], column[count:])

    def quantities(
        self, devices: Devices, drive: Waveform, asked: Sequence[str | AbstractQuantity]
    ) -> Float[np.ndarray, "B Q"]:
        """The means of the processes, some thousand devices at once."""
        unit = self.space.coordinates(devices, drive)
        parts = np.array_split(unit, max(len(unit) // 8192, 1))
        return np.stack([np.concatenate([self._learned[str(q)].predict(p) for p in parts]) for q in asked], axis=1)


def _index(result: SobolResult, quantity: str, order: str, parameter: str) -> tuple[float, float]:
    place = result.quantities.index(quantity), result.names.index(parameter)
    return float(getattr(result, order)[place]), float(getattr(result, f"{order}_interval_with_error")[place])


if __name__ == "__main__":
    harness.run("paper_answers", [sensitivity, optimum, maps, front])
