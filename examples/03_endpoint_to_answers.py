"""From a served surrogate to answers: what matters, what can be had at once, and which device a curve comes from.

    .venv/bin/python examples/03_endpoint_to_answers.py --out runs/answers

The surrogate that ships answers behind an endpoint on this machine; the analyses know nothing but its client. What they
recommend is asked of the finite-volume (FV) model again. Prints the answers, and draws them in answers.png.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memflux import Client, Device, Solver, simulate
from memflux.analysis.confirmed_front import ConfirmedFront, confirm
from memflux.analysis.inverse import FitResult, fit_curve
from memflux.analysis.pareto import ParetoResult, pareto
from memflux.analysis.sensitivity import SobolResult, sobol
from memflux.contracts import CurveCost
from memflux.platform.cluster import local_cluster
from memflux.platform.figures import ACCENT, MODEL, MUTED, PHYSICS, STYLE, ampere_scale, label
from memflux.platform.serving.serve import endpoint, free_port

NAME = "5d-parametric"
HIDDEN = Device.preset("fit-b").replace(vacancy_offset=0.295, mobility_vacancy=4e-14)  # who made the "measured" curve
NOISE = 0.01  # of the peak current


class Answers(NamedTuple):
    """What the endpoint said, and what the FV model says of the front."""

    sobol: SobolResult
    front: ParetoResult
    confirmed: ConfirmedFront
    fit: FitResult
    picture: Path


def main(
    out: str = "runs/answers",
    base_samples: int = 1024,
    population: int = 60,
    generations: int = 40,
    starts: int = 64,
    checks: int = 6,
    cores: int | None = None,
) -> Answers:
    """Serve, ask, check, print and draw."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        local_cluster(cores),
        endpoint({NAME: NAME}, port=free_port()) as served,
        Client(served.url, model=NAME, token=served.token) as client,
    ):
        space, solver = client.space, Solver(samples=client.samples)
        indices = sobol(client, space, base_samples=base_samples)
        front = pareto(client, space, population=population, generations=generations)
        fit = fit_curve(client, space, _measure(client), starts=starts)
    confirmed = confirm(front, solver, space, checks)
    _say(indices, front, confirmed, fit)
    picture = folder / "answers.png"
    _draw(indices, front, confirmed, fit).savefig(picture, dpi=160)
    return Answers(indices, front, confirmed, fit, picture)


def _measure(client: Client) -> CurveCost:
    """The distance from a "measured" curve: the second cycle of a hidden device by the FV model, with noise."""
    _, drive = client.space.build(np.zeros((1, len(client.space.names))))
    current = simulate(HIDDEN, drive, samples=client.samples).cycle().current
    peak = float(np.abs(current).max())
    noise = NOISE * peak * np.random.default_rng(0).standard_normal(current.size)
    return CurveCost(kind="log_curve", target=current + noise, floor=1e-3 * peak)


def _say(indices: SobolResult, front: ParetoResult, confirmed: ConfirmedFront, fit: FitResult) -> None:
    print(f"Which parameter matters most (total Sobol index, {indices.evaluations} devices):")
    for quantity, total in zip(indices.quantities, indices.total, strict=True):
        k = int(np.nanargmax(total))
        print(f"  {label(quantity)}: {label(indices.names[k])}, {total[k]:.2f}")
    print(f"What can be had at once ({front.evaluations} devices, {len(front.objectives)} on the front):")
    for row, of_model, of_physics in zip(confirmed.rows, confirmed.predicted, confirmed.confirmed, strict=True):
        pairs = zip(front.quantities, of_model, of_physics, strict=True)
        print(f"  device {row}: " + ", ".join(f"{label(q)} {a:.3f} (FV model {b:.3f})" for q, a, b in pairs))
    print(f"  the FV model confirms {confirmed.share or 0.0:.1%} of the hypervolume of these devices")
    print(f"Which device the curve comes from (nMAE {fit.nmae or 0.0:.2%}, {fit.evaluations} devices):")
    for name, value in fit.parameters.items():
        print(f"  {label(name)}: {value:.4g}, in truth {getattr(HIDDEN, name):.4g}")


def _draw(indices: SobolResult, front: ParetoResult, confirmed: ConfirmedFront, fit: FitResult) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.6), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _bars(left, indices)
        middle.plot(*front.objectives.T, "o", color=ACCENT, markersize=3.5, label="front, surrogate")
        ends = np.stack([confirmed.predicted, confirmed.confirmed])  # [2, K, Q]
        middle.plot(ends[:, :, 0], ends[:, :, 1], color=MUTED, linewidth=0.8, zorder=1)
        middle.plot(*confirmed.confirmed.T, "D", color=MODEL, markersize=4.5, label="the same, FV model")
        middle.set(
            title="what can be had at once", xlabel=label(front.quantities[0]), ylabel=label(front.quantities[1])
        )
        middle.legend(loc="lower right")
        factor, unit = ampere_scale(fit.target)
        right.plot(fit.voltage, factor * fit.target, ".", color=MUTED, label="curve of the hidden device")
        right.plot(fit.voltage, factor * fit.prediction, color=MODEL, linewidth=1.3, label="fit")
        right.set(title="which device it is", xlabel="voltage / V", ylabel=f"current / {unit}")
        right.legend(loc="upper left")
    return figure


def _bars(ax: Axes, indices: SobolResult) -> None:
    place = np.arange(len(indices.names))
    for q, colour in enumerate((ACCENT, PHYSICS)):
        half = np.nan_to_num(indices.total_interval[q])
        error = {"elinewidth": 1, "ecolor": MUTED, "capsize": 2}
        name = label(indices.quantities[q])
        ax.barh(place + 0.2 * (2 * q - 1), indices.total[q], 0.38, xerr=half, color=colour, error_kw=error, label=name)
    ax.set_yticks(place, [label(name) for name in indices.names])
    ax.invert_yaxis()
    ax.set(title="what matters", xlabel="total Sobol index", xlim=(0, 1.05))
    ax.legend(loc="lower right")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/answers", help="folder of the picture")
    parser.add_argument("--starts", type=int, default=64, help="starting points of the fit")
    arguments = parser.parse_args()
    main(out=arguments.out, starts=arguments.starts)
