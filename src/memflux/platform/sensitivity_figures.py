"""The figures of a sensitivity analysis: what depends on which parameter, alone, in pairs, and along the curve."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from memflux.analysis.curve_sensitivity import CurveSobolResult
from memflux.analysis.screening import MorrisResult
from memflux.analysis.sensitivity import SobolResult
from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, STYLE, label

FIRST = "#8fb8de"
FEWEST_COLOURED = 0.05  # the second order that has the darkest colour at least
COLOURS = ("#2e7d8c", "#d1495b", "#edae49", "#5b5f97", "#7ba05b", "#b5838d", "#22303c", "#8fb8de", "#a0522d", "#9aa7b1")
STROKES = ("-", "--", ":")  # of parameters that share a colour


def sobol(result: SobolResult) -> Figure:
    """Bars of first and total order a quantity, and below a map of the second order where there is one.

    Black whiskers are the sampling intervals, grey ones hold the error of the model, too.
    """
    rows = 1 if result.second is None or len(result.names) < 2 else 2
    height = 0.9 + 0.4 * max(len(result.names), 5)
    figure, axes = _panels(rows, len(result.quantities), 4.4, height)
    with matplotlib.rc_context(STYLE):
        for q, ax in enumerate(axes[0]):
            _bars(ax, result, q)
            _parameters(ax, result.names if q == 0 else [""] * len(result.names))
            ax.set_title(label(result.quantities[q]))
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
        if rows == 2 and result.second is not None and result.second_interval is not None:
            for q, ax in enumerate(axes[1]):
                _pairs(ax, result.names, result.second[q], result.second_interval[q], named=q == 0)
    return figure


def along_curve(result: CurveSobolResult) -> Figure:
    """The mean curve with its standard deviation, and the first and total order over the phase of the cycle.

    The legend has the generalised indices, first and total order.
    """
    figure, ((curve, first, total),) = _panels(1, 3, 3.7, 3.4)
    with matplotlib.rc_context(STYLE):
        _mean_curve(curve, result)
        for ax, index, name in ((first, result.first, "first order"), (total, result.total, "total")):
            _lines(ax, result, index)
            ax.set(title=name, xlabel="phase of the cycle", xlim=(0, 1), ylim=(-0.03, 1.03))
            beside = ax.twinx()
            beside.plot(result.phase, result.voltage, color=MUTED, linewidth=1, linestyle=(0, (1, 1)))
            beside.set_yticks([])
            ax.set_zorder(beside.get_zorder() + 1)
            ax.patch.set_visible(False)
        first.set_ylabel("Sobol index")
        handles, names = first.get_legend_handles_labels()
        title = "generalised indices of the cycle: first order, total"
        figure.legend(
            handles, names, title=title, loc="outside lower center", ncols=min(3, len(names)), handlelength=1.8
        )
    return figure


def morris(result: MorrisResult) -> Figure:
    """Bars of mu* with intervals, and sigma as a diamond: large beside mu* where a parameter interacts or bends."""
    figure, (axes,) = _panels(1, len(result.quantities), 4.4, 0.9 + 0.4 * max(len(result.names), 5))
    place = np.arange(len(result.names))
    with matplotlib.rc_context(STYLE):
        for q, ax in enumerate(axes):
            error = {"elinewidth": 1, "ecolor": INK, "capsize": 2}
            mu_star, half = result.mu_star[q], result.mu_star_interval[q]
            ax.barh(place, mu_star, 0.6, xerr=half, color=ACCENT, error_kw=error, label=r"mean magnitude $\mu^*$")
            ax.plot(result.sigma[q], place, "D", color=MODEL, markersize=4.5, label=r"deviation $\sigma$")
            _parameters(ax, result.names if q == 0 else [""] * len(result.names))
            ax.set(title=label(result.quantities[q]), xlabel="elementary effect over the whole range")
            ax.set_xlim(left=0.0)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure and its axes [rows][columns]; width and height [inch] of one panel."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def _parameters(ax: Axes, names: Sequence[str]) -> None:
    """Names of parameters down the left side, the first one on top."""
    ax.set_yticks(range(len(names)), [label(n) for n in names])
    ax.set_ylim(len(names) - 0.4, -0.6)


def _bars(ax: Axes, result: SobolResult, q: int) -> None:
    lowest, highest = 0.0, 1.0
    for order, shift, colour, name in (("total", -0.2, ACCENT, "total"), ("first", 0.2, FIRST, "first order")):
        place = np.arange(len(result.names)) + shift
        index, half = getattr(result, order)[q], getattr(result, f"{order}_interval")[q]
        wide = getattr(result, f"{order}_interval_with_error")[q]
        ax.barh(place, index, 0.38, color=colour, label=name)
        whiskers = [(half, INK, 1, 2, "95 %, sampling")]
        if np.isfinite(wide).any():
            whiskers.insert(0, (wide, MUTED, 3, 0, "with the error of the model"))
        for width, ink, line, cap, what in whiskers:
            named = what if order == "total" else None
            ax.errorbar(index, place, xerr=width, fmt="none", ecolor=ink, elinewidth=line, capsize=cap, label=named)
        reach = np.nan_to_num(np.fmax(half, wide))
        lowest = min(lowest, float(np.nan_to_num(index - reach).min()))
        highest = max(highest, float(np.nan_to_num(index + reach).max()))
    ax.set(
        xlim=(max(lowest, -0.3) - 0.02, min(highest, 1.3) + 0.03), xlabel="Sobol index", xticks=(0, 0.25, 0.5, 0.75, 1)
    )
    if not np.isfinite(result.total[q]).any():
        ax.text(0.5, 0.5, "no indices", ha="center", va="center", color=MUTED, transform=ax.transAxes)


def _pairs(
    ax: Axes, names: Sequence[str], second: Float[np.ndarray, "P P"], half: Float[np.ndarray, "P P"], named: bool
) -> None:
    """The upper triangle, without the row and the column that hold no pair."""
    shown, width = second[:-1, 1:], half[:-1, 1:]
    darkest = max(FEWEST_COLOURED, float(np.nan_to_num(shown).max(initial=0.0)))
    colours = LinearSegmentedColormap.from_list("accent", ["#f4f7f8", ACCENT])
    ax.imshow(np.ma.masked_invalid(shown), cmap=colours, vmin=0.0, vmax=darkest, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        if np.isfinite(value):
            text = f"{value:.2f}\n± {width[row, column]:.2f}".replace("-0.00", "0.00")
            colour = "white" if value > 0.6 * darkest else INK
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    rows = [label(n) for n in names[:-1]]
    ax.set_yticks(range(len(rows)), rows if named else [""] * len(rows))
    ax.set_xticks(range(len(rows)), [label(n).replace(" ", "\n", 1) for n in names[1:]])
    ax.set_title("second order")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _mean_curve(ax: Axes, result: CurveSobolResult) -> None:
    spread = np.sqrt(result.variance)
    ax.fill_between(result.phase, result.mean - spread, result.mean + spread, color=ACCENT, alpha=0.2, linewidth=0)
    ax.plot(result.phase, result.mean, color=ACCENT)
    ax.set(title="mean ± standard deviation", xlabel="phase of the cycle", xlim=(0, 1))
    ax.set_ylabel("log$_{10}$(|current| / A)" if result.log else "current / A")
    beside = ax.twinx()
    beside.plot(result.phase, result.voltage, color=MUTED, linewidth=1, linestyle=(0, (1, 1)))
    beside.set_ylabel("voltage / V", color=MUTED)
    beside.spines["right"].set_visible(True)


def _lines(ax: Axes, result: CurveSobolResult, index: Float[np.ndarray, "T P"]) -> None:
    for p, name in enumerate(result.names):
        colour, stroke = COLOURS[p % len(COLOURS)], STROKES[p // len(COLOURS) % len(STROKES)]
        cycle = f"{result.generalised_first[p]:.2f}, {result.generalised_total[p]:.2f}"
        ax.plot(result.phase, index[:, p], color=colour, linestyle=stroke, label=f"{label(name)}: {cycle}")
