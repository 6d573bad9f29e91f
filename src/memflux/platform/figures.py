"""The figures of a report: data in, matplotlib figure out; `embed` makes one part of a page."""

import base64
import io
import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from memflux.traces import Trace

INK, PHYSICS, MODEL, ACCENT, MUTED = "#22303c", "#22303c", "#d1495b", "#2e7d8c", "#9aa7b1"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "memflux",
}
FEW = 30.0  # largest over smallest value of an axis that is labelled between the powers of ten
PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k"}
NAMES = {
    "vacancy_offset": "vacancy offset",
    "mean_vacancy_density": "mean vacancy density",
    "mobility_electron": "electron mobility",
    "mobility_vacancy": "vacancy mobility",
    "barrier_left": "left barrier",
    "barrier_right": "right barrier",
    "symmetry": "symmetry S",
    "on_off_ratio": "on-off ratio R",
    "nonlinearity": "non-linearity",
    "set_voltage": "SET voltage",
    "reset_voltage": "RESET voltage",
}


def label(name: str) -> str:
    """A parameter or quantity as people read it."""
    return NAMES.get(name, name.replace("_", " "))


def plain_numbers(axis: Axis) -> None:
    """Label a log axis with 0.01 and not a power, and between the powers where it spans few of them."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > FEW else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def embed(figure: Figure) -> str:
    """The figure as the address of an <img>: an SVG inside the page."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(columns: int, width: float, height: float) -> tuple[Figure, list]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(1, columns)))
    return figure, axes


def ampere_scale(*currents: np.ndarray) -> tuple[float, str]:
    """Factor and unit that bring currents in A to numbers of order 1 to 1000."""
    largest = max((float(np.abs(c[np.isfinite(c)]).max(initial=0.0)) for c in currents), default=0.0)
    power = 3 * int(np.floor(np.log10(largest) / 3)) if largest > 0 else 0
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return 10.0**-power, f"{PREFIXES[power]}A"


def curves(
    titles: Sequence[str], voltage: np.ndarray, physics: np.ndarray, model: np.ndarray, errors: Sequence[float]
) -> Figure:
    """I-V curves [K, T] of the FV model against the surrogate, one panel each."""
    figure, axes = _figure(len(titles), 3.1 * len(titles), 2.9)
    with matplotlib.rc_context(STYLE):
        for ax, title, v, truth, guess, error in zip(axes, titles, voltage, physics, model, errors, strict=True):
            factor, unit = ampere_scale(truth, guess)
            ax.axhline(0, color=MUTED, linewidth=0.5)
            ax.plot(v, factor * truth, color=PHYSICS, linewidth=2.4, label="FV model")
            ax.plot(v, factor * guess, color=MODEL, linewidth=1.2, linestyle=(0, (4, 2)), label="surrogate")
            ax.set(title=f"{title}: nMAE {100 * error:.2f} %", xlabel="voltage / V", ylabel=f"current / {unit}")
        axes[0].legend(loc="upper left", handlelength=1.8)
    return figure


def sorted_errors(errors: np.ndarray) -> Figure:
    """nMAE [N] of all test devices in ascending order, on a log scale."""
    figure, (ax,) = _figure(1, 4.6, 2.9)
    with matplotlib.rc_context(STYLE):
        ordered = 100 * np.sort(errors)
        share = (np.arange(ordered.size) + 0.5) / ordered.size * 100
        ax.semilogy(share, ordered, color=ACCENT, marker="o", markersize=3, linewidth=1)
        ax.axhline(ordered.mean(), color=MODEL, linewidth=1, linestyle=(0, (4, 2)))
        ax.annotate(f"mean {ordered.mean():.2f} %", (2, ordered.mean()), color=MODEL, va="bottom")
        ax.set(xlabel="share of test devices / %", ylabel="nMAE in amperes / %", xlim=(0, 100))
        ax.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        ax.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    return figure


def pareto_front(
    quantities: Sequence[str], front: np.ndarray, verified: np.ndarray | None, rows: Sequence[int]
) -> Figure:
    """The front [K, 2]; `verified` [M, 2] are the front's `rows` computed again with the FV model."""
    figure, (ax,) = _figure(1, 4.6, 3.1)
    with matplotlib.rc_context(STYLE):
        ax.plot(front[:, 0], front[:, 1], "o", color=ACCENT, markersize=3.5, label="surrogate, Pareto front")
        if verified is not None and len(verified):
            asked = front[list(rows)]
            for a, b in zip(asked, verified, strict=True):
                ax.plot([a[0], b[0]], [a[1], b[1]], color=MUTED, linewidth=0.8)
            ax.plot(
                verified[:, 0], verified[:, 1], "D", color=MODEL, markersize=4.5, label="the same devices, FV model"
            )
        ax.set(xlabel=label(quantities[0]), ylabel=label(quantities[1]))
        ax.legend(loc="best")
    return figure


def fit(voltage: np.ndarray, target: np.ndarray, prediction: np.ndarray, physics: np.ndarray | None) -> Figure:
    """A measured curve, the surrogate's best fit, and the fitted device in the FV model; linear and log."""
    figure, axes = _figure(2, 8.4, 3.0)
    factor, unit = ampere_scale(target, prediction)
    with matplotlib.rc_context(STYLE):
        for ax, scale in zip(axes, (lambda i: factor * i, lambda i: np.abs(factor * i)), strict=True):
            ax.plot(voltage, scale(target), ".", color=MUTED, markersize=4, label="measured")
            if physics is not None:
                ax.plot(voltage, scale(physics), color=PHYSICS, linewidth=2.0, label="fitted device, FV model")
            ax.plot(voltage, scale(prediction), color=MODEL, linestyle=(0, (4, 2)), label="fit, surrogate")
            ax.set_xlabel("voltage / V")
        axes[0].set_ylabel(f"current / {unit}")
        axes[1].set(ylabel=f"|current| / {unit}", yscale="log")
        axes[0].legend(loc="upper left")
    return figure


def single_curve(trace: Trace, title: str) -> Figure:
    """Current against voltage, linear and in magnitude, and both against time."""
    figure, axes = _figure(3, 9.6, 3.0)
    factor, unit = ampere_scale(trace.current)
    with matplotlib.rc_context(STYLE):
        axes[0].plot(trace.voltage, factor * trace.current, color=ACCENT)
        axes[0].set(title=title, xlabel="voltage / V", ylabel=f"current / {unit}")
        axes[1].semilogy(trace.voltage, np.abs(factor * trace.current), color=ACCENT)
        axes[1].set(title="magnitude", xlabel="voltage / V", ylabel=f"|current| / {unit}")
        axes[2].plot(trace.time, factor * trace.current, color=ACCENT)
        axes[2].set(title="in time", xlabel="time / s", ylabel=f"current / {unit}")
        beside = axes[2].twinx()
        beside.plot(trace.time, trace.voltage, color=MUTED, linewidth=1)
        beside.set_ylabel("voltage / V", color=MUTED)
    return figure


def read_currents(trains: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """Currents of the reads after every pulse [A], one array a train of pulses."""
    figure, (ax,) = _figure(1, 6.0, 3.2)
    factor, unit = ampere_scale(*trains)
    done, named = 0, set[str]()
    with matplotlib.rc_context(STYLE):
        for reads, name, colour in zip(trains, names, itertools.cycle((MODEL, ACCENT)), strict=False):
            number = np.arange(done + 1, done + reads.size + 1)
            ax.plot(number, factor * reads, ".", markersize=3, color=colour, label=name if name not in named else None)
            named.add(name)
            done += reads.size
        ax.set(xlabel="pulse", ylabel=f"read current / {unit}")
        ax.legend()
    return figure
