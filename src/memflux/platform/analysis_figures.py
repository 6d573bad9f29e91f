"""The figures of analyses: a result in, a matplotlib figure out."""

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from memflux.analysis.maps import MapResult
from memflux.platform.figures import INK, MUTED, STYLE, label, plain_numbers

MOST_SLICES = 6  # of the third parameter of a map beside each other
UNITS = {"energy": "J", "loop_area": "W", "set_voltage": "V", "reset_voltage": "V"}
LINES = 5  # of equal value, drawn over a map


def metric_maps(result: MapResult) -> Figure:
    """Quantities over two parameters, beside each other, or a row each at some values of the third; grey: undefined."""
    flat, count = result.z is None, len(result.quantities)
    values = result.values[..., None] if flat else result.values
    chosen = np.unique(np.linspace(0, values.shape[3] - 1, MOST_SLICES).round().astype(int))
    rows, columns, width = (1, count, 3.9) if flat else (count, chosen.size, 2.3)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns + 0.6, (3.1 if flat else 2.35) * rows + 0.3), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for q, name in enumerate(result.quantities):
            row, limits = panels[:, q] if flat else panels[q], _limits(values[q])
            meshes = [_map(ax, result, values[q, :, :, k], limits) for k, ax in zip(chosen, row, strict=True)]
            figure.colorbar(meshes[-1], ax=list(row), label=_name(result, name), aspect=24, pad=0.01)
        for ax in panels[-1]:
            ax.set_xlabel(label(result.axes[0]) + _per(result.units[0]))
        for ax in panels[:, 0]:
            ax.set_ylabel(label(result.axes[1]) + _per(result.units[1]))
        if result.z is not None:
            figure.suptitle(f"at a {label(result.axes[2])} of", fontsize=9.5, color=INK)
            for ax, value in zip(panels[0], result.z[chosen], strict=True):
                ax.set_title(f"{value:.2g}{_unit(result.units[2])}", fontweight="normal")
    return figure


def _map(ax: Axes, result: MapResult, values: Float[np.ndarray, "X Y"], limits: tuple[float, float]) -> QuadMesh:
    """One panel: colours, and lines of equal value."""
    ax.set_facecolor(MUTED)
    ax.set(xscale="log" if result.log[0] else "linear", yscale="log" if result.log[1] else "linear")
    low, high = limits
    mesh = ax.pcolormesh(
        result.x, result.y, values.T, vmin=low, vmax=high, cmap="viridis", shading="nearest", rasterized=True
    )
    levels = np.linspace(low, high, LINES + 2)[1:-1]
    if np.isfinite(values).sum() > 3 and np.nanmin(values) < levels[-1] and np.nanmax(values) > levels[0]:
        ax.contour(result.x, result.y, values.T, levels=levels, colors="white", linewidths=0.5, alpha=0.7)
    for axis, log in zip((ax.xaxis, ax.yaxis), result.log, strict=False):
        if log:
            plain_numbers(axis)
    return mesh


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Of the colours: those of the values, a little apart where they are one."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return (low, high) if high - low > 1e-9 * max(abs(low), abs(high)) else (low - 0.5, high + 0.5)


def _name(result: MapResult, quantity: str) -> str:
    """The quantity, what was taken of it and its unit, as people read it."""
    base, bracket, parameters = quantity.partition("(")
    name = label(base) + (f" ({parameters}" if bracket else "")
    unit = "1" if "normalised=1" in parameters else UNITS.get(base, "1")
    return (name if result.statistic is None else f"{result.statistic} of {name}") + _per(unit)


def _unit(unit: str) -> str:
    return "" if unit == "1" else " " + unit.replace("^2", "²").replace("^-3", "⁻³")


def _per(unit: str) -> str:
    return "" if unit == "1" else " /" + _unit(unit)
