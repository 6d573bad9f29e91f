"""What `paper_figures.py` draws: the published figures 4 and 5 (arXiv 2505.13882), with ours in them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memflux.analysis.confirmed_fit import Confirmation
from memflux.analysis.identifiability import Identifiability
from memflux.analysis.inverse import FitResult
from memflux.metrics import nmae
from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, STYLE, ampere_scale, plain_numbers
from memflux.traces import Traces
from memflux.training.evaluate import Evaluation

COLOURS: Mapping[str, str] = {"2d": "#9cc4cb", "4d": "#2e7d8c", "5d": "#22303c", "7d": "#edae49", "9d": "#d1495b"}
SHOWN = ("5d", "9d")  # whose curves are drawn: the published choice, and the hardest space
QUANTILES: Mapping[str, float] = {"best": 0.0, "median": 0.5, "99 %": 0.99, "worst": 1.0}
SHOWN_DECADES = 4  # of |current| below its peak


class Published(NamedTuple):
    """What the text says of the test errors [%] of a space; the median as a range."""

    mean: float
    medians: tuple[float, float]


class Answered(NamedTuple):
    """A surrogate's answers for the test devices of a space, and the published errors beside."""

    result: Evaluation
    predicted: Traces
    traces: Traces
    published: Published

    @property
    def scaled(self) -> np.ndarray:
        """The published error of each device [%]."""
        assert self.result.nmae_scaled is not None
        return 100 * self.result.nmae_scaled

    @property
    def amperes(self) -> np.ndarray:
        """The nMAE of the currents in A of each device [%]."""
        return 100 * self.result.nmae


class Fitted(NamedTuple):
    """The device that was found for a target curve, and published devices beside it."""

    target: str
    fit: FitResult
    check: Confirmation
    certainty: Identifiability
    beside: Mapping[str, np.ndarray]  # A, their curves by our FV model


def figure_4(spaces: Mapping[str, Answered]) -> Figure:
    """Sorted errors, scaled and in amperes; means and medians beside the published; curves at some quantiles."""
    shown = [name for name in SHOWN if name in spaces]
    heights = [3.3, *[2.75] * len(shown)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, sum(heights)), layout="constrained")
        top, *rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        a, b, c = top.subplots(1, 3)
        for name, found in spaces.items():
            _sorted(a, found.scaled, name)
            _sorted(b, found.amperes, name)
        a.set(title="scaled currents, as published", ylabel="nMAE / %")
        b.set(title="currents in amperes")
        a.sharey(b)
        b.legend(loc="upper left", ncols=3, handlelength=1.2)
        _beside_published(c, spaces)
        for row, name in zip(rows, shown, strict=True):
            _curves(row.subplots(1, len(QUANTILES)), name, spaces[name])
    return figure


def _sorted(ax: Axes, percent: np.ndarray, name: str) -> None:
    share = (np.arange(percent.size) + 0.5) / percent.size * 100
    ax.plot(share, np.sort(percent), color=COLOURS[name], label=name.upper())
    ax.set(yscale="log", xlabel="test devices in order / %", xlim=(0, 100))
    plain_numbers(ax.yaxis)


def _beside_published(ax: Axes, spaces: Mapping[str, Answered]) -> None:
    """Means as filled circles, medians as open diamonds."""
    place = np.arange(len(spaces))
    medians = np.array([found.published.medians for found in spaces.values()])
    middle = np.sqrt(medians.prod(axis=1))
    reach = np.abs(medians.T - middle)
    open_diamond = {"fmt": "D", "markersize": 4.5, "markerfacecolor": "none", "elinewidth": 1, "capsize": 3}
    ax.plot(place, [found.published.mean for found in spaces.values()], "o", color=MODEL, label="published, mean")
    ax.errorbar(place, middle, yerr=reach, color=MODEL, label="published, median", **open_diamond)
    ax.plot(place, [found.scaled.mean() for found in spaces.values()], "o", color=ACCENT, label="ours, mean")
    ours = [float(np.median(found.scaled)) for found in spaces.values()]
    ax.errorbar(place, ours, color=ACCENT, label="ours, median", **open_diamond)
    ax.set(yscale="log", title="scaled, beside the published", ylabel="nMAE / %", ylim=(None, 10))
    ax.set_xticks(place, [name.upper() for name in spaces])
    plain_numbers(ax.yaxis)
    ax.legend(loc="upper left", ncols=2, fontsize=8, columnspacing=0.8, handletextpad=0.4)


def _curves(axes: Sequence[Axes], name: str, found: Answered) -> None:
    """Solved and predicted current, all cycles, of the devices at QUANTILES of the scaled error."""
    order = np.argsort(found.scaled, kind="stable")
    for ax, (title, quantile) in zip(axes, QUANTILES.items(), strict=True):
        place = int(order[int(quantile * (order.size - 1))])
        row = int(found.result.rows[place])
        truth, guess = found.traces[row], found.predicted[row]
        factor, unit = ampere_scale(truth.current)
        ax.plot(truth.voltage, factor * truth.current, color=MUTED, linewidth=2.6, label="FV model")
        ax.plot(truth.voltage, factor * guess.current, color=MODEL, linewidth=1.1, linestyle="--", label="surrogate")
        ax.set(xlabel="voltage / V", ylabel=f"current / {unit}")
        ax.set_title(f"{name.upper()}, {title}: {found.scaled[place]:.2g} %\n({found.amperes[place]:.2g} % in A)")
    axes[0].legend(loc="upper left", handlelength=1.8)


def figure_5(panels: Mapping[str, Fitted]) -> Figure:
    """Target, surrogate and FV model, in amperes and as magnitudes; published devices beside."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.6), layout="constrained")
        axes = figure.subplots(2, len(panels), sharex=True, squeeze=False)
        for (linear, logarithmic), (title, panel) in zip(axes.T, panels.items(), strict=True):
            _fit(linear, panel, sizes=False)
            _fit(logarithmic, panel, sizes=True)
            linear.set_title(f"{title}: nMAE {100 * float(nmae(panel.fit.prediction, panel.fit.target)):.2g} %")
            linear.legend(loc="upper left", handlelength=1.8)
            logarithmic.set_xlabel("voltage / V")
    return figure


def _fit(ax: Axes, panel: Fitted, sizes: bool) -> None:
    fit = panel.fit
    factor, unit = ampere_scale(fit.target)
    curves = [(panel.target, fit.target, "o", MUTED, 3.5)]
    for (name, curve), style in zip(panel.beside.items(), (":", "-."), strict=False):
        curves.append((f"{name}, our FV model", curve, style, INK, 1.2))
    curves.append(("fitted device, FV model", panel.check.exact[0], "-", ACCENT, 1.8))
    curves.append(("fit, surrogate", fit.prediction, "--", MODEL, 1.3))
    for name, current, style, colour, size in curves:
        shown = factor * (np.where(current == 0, np.nan, np.abs(current)) if sizes else current)
        ax.plot(fit.voltage, shown, style, color=colour, linewidth=size, markersize=size, label=name)
    if sizes:
        top = factor * float(np.abs(fit.target).max())
        ax.set(yscale="log", ylabel=f"|current| / {unit}", ylim=(top * 10.0**-SHOWN_DECADES, 2.0 * top))
    else:
        ax.set_ylabel(f"current / {unit}")
