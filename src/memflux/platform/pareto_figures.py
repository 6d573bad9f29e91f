"""The figure of a Pareto front: every pair of objectives, the knee, and the devices that were confirmed."""

import itertools

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memflux.analysis.confirmed_front import ConfirmedFront
from memflux.analysis.pareto import ParetoResult
from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, STYLE, label, plain_numbers

COLUMNS = 3  # panels beside each other at most
DECADES = 2.0  # a positive objective is shown on a log axis where the middle half of the front spans more


def pareto_figure(result: ParetoResult, confirmed: ConfirmedFront | None = None) -> Figure:
    """One panel for each pair of objectives, and the hypervolume of the generations in the last one."""
    pairs = list(itertools.combinations(range(len(result.quantities)), 2))
    panels = len(pairs) + 1
    columns = min(COLUMNS, int(np.ceil(np.sqrt(panels))))
    rows = -(-panels // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.7 * columns, 3.2 * rows + 0.3), layout="constrained")
        axes = list(np.ravel(figure.subplots(rows, columns)))
        for ax, (i, j) in zip(axes, pairs, strict=False):
            _front(ax, result, confirmed, i, j)
        _history(axes[len(pairs)], result)
        for ax in axes[panels:]:
            ax.set_axis_off()
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _front(ax: Axes, result: ParetoResult, confirmed: ConfirmedFront | None, i: int, j: int) -> None:
    """Objective j over objective i of the front, and where another predictor sees the same devices."""
    front = result.objectives
    ax.plot(front[:, i], front[:, j], "o", color=ACCENT, markersize=3.5, label=f"front, {len(front)} devices")
    if confirmed is not None:
        ends = np.stack([confirmed.predicted, confirmed.confirmed])  # [2, K, Q]
        ax.plot(ends[:, :, i], ends[:, :, j], color=MUTED, linewidth=0.8, zorder=1)
        ax.plot(ends[1, :, i], ends[1, :, j], "D", color=MODEL, markersize=4.5, label="the same, confirmed")
    for row, mark, name in ((result.knee, "o", "knee"), (result.selected, "s", "chosen")):
        if row is not None:
            at = front[row]
            ax.plot(at[i], at[j], mark, markersize=11, markerfacecolor="none", markeredgecolor=INK, label=name)
    values = front if confirmed is None else np.vstack([front, confirmed.confirmed])
    ax.set(xlabel=_goal(result, i), ylabel=_goal(result, j))
    if _spans_decades(values[:, i]):
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
    if _spans_decades(values[:, j]):
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)


def _history(ax: Axes, result: ParetoResult) -> None:
    ax.plot(np.arange(1, result.generations + 1), result.history, color=ACCENT)
    ax.set(xlabel="generation", ylabel="hypervolume", title=f"{result.method}: {result.evaluations:,} devices")


def _goal(result: ParetoResult, k: int) -> str:
    sense = {"min": "smaller", "max": "larger"}[result.senses[k]]
    return f"{label(result.quantities[k])} ({sense} is better)"


def _spans_decades(values: Float[np.ndarray, " N"]) -> bool:
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0:
        return False
    low, high = np.quantile(values, (0.25, 0.75))
    return bool(high > 10.0**DECADES * low)
