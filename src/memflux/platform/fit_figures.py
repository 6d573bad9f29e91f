"""The figures of an inverse problem: the fit beside the curve, the profiles, and the posterior."""

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from memflux.analysis.identifiability import INTERVAL, Identifiability
from memflux.analysis.inverse import FitResult
from memflux.analysis.posterior import Posterior
from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, STYLE, ampere_scale, label
from memflux.space import Parameter, Space

SHOWN_DECADES = 4  # of |current| below its peak
BINS = 30
HIGHEST = 12.0  # of a profile's chi^2 axis


def fit(result: FitResult, exact: Float[np.ndarray, " T"] | None = None) -> Figure:
    """Target and best curve, in amperes and as magnitudes; `exact` [A] is the best device solved again."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        axes = list(np.ravel(figure.subplots(1, 2)))
        factor, unit = ampere_scale(result.target, result.prediction)
        for ax, sizes in zip(axes, (False, True), strict=True):
            _curve(ax, result.voltage, factor * result.target, sizes, "curve", MUTED, "o")
            _curve(ax, result.voltage, factor * result.prediction, sizes, "fitted", MODEL, "-")
            if exact is not None:
                _curve(ax, result.voltage, factor * exact, sizes, "solved again", ACCENT, "--")
            ax.set_xlabel("voltage / V")
        top = factor * np.abs(result.target).max()
        axes[0].set_ylabel(f"current / {unit}")
        axes[1].set(yscale="log", ylabel=f"|current| / {unit}", ylim=(top * 10.0**-SHOWN_DECADES, 2.0 * top))
        error = "" if result.nmae is None else f", nMAE {result.nmae:.2%}"
        figure.suptitle(f"{result.space}: cost {result.cost:.3g}{error}", fontsize=9.5, fontweight="bold", color=INK)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _curve(ax: Axes, voltage: np.ndarray, current: np.ndarray, sizes: bool, name: str, color: str, style: str) -> None:
    ax.plot(voltage, np.abs(current) if sizes else current, style, color=color, markersize=3.5, label=name)


def profiles(found: Identifiability, space: Space) -> Figure:
    """The rise of chi^2 along every free parameter, and its 95 % interval."""
    assert found.grid is not None
    assert found.profile is not None
    assert found.low is not None
    assert found.high is not None
    columns = min(len(found.names), 3)
    rows = -(-len(found.names) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * columns, 2.6 * rows), layout="constrained")
        axes = list(np.ravel(figure.subplots(rows, columns)))
        for k, (ax, name) in enumerate(zip(axes, found.names, strict=False)):
            parameter = _parameter(space, name)
            ax.axvspan(found.low[k], found.high[k], color=ACCENT, alpha=0.15, linewidth=0)
            ax.axhline(INTERVAL, color=MUTED, linewidth=1, linestyle="--")
            ax.plot(found.grid[k], found.profile[k], color=ACCENT, marker=".", markersize=4)
            ax.plot(found.best[k], 0.0, "o", color=MODEL, markersize=5, clip_on=False)
            ax.set(ylim=(0.0, HIGHEST), xlabel=_named(parameter))
            _scaled(ax, parameter)
        for ax in axes[::columns]:
            ax.set_ylabel("rise of χ²")
        for ax in axes[len(found.names) :]:
            ax.set_axis_off()
    return figure


def corner(drawn: Posterior, space: Space) -> Figure:
    """Samples of every pair of parameters, and the distribution of each with its median and middle 90 %."""
    size = len(drawn.names)
    parameters = [_parameter(space, name) for name in drawn.names]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.75 * size + 0.6, 1.75 * size + 0.4), layout="constrained")
        axes = list(np.ravel(figure.subplots(size, size)))
        for k, ax in enumerate(axes):
            row, column = divmod(k, size)
            if column > row:
                ax.set_axis_off()
            elif column == row:
                _distribution(ax, drawn, row, parameters[row])
            else:
                ax.plot(drawn.samples[:, column], drawn.samples[:, row], ".", color=ACCENT, markersize=2, alpha=0.25)
                _scaled(ax, parameters[column])
                _scaled(ax, parameters[row], upright=True)
            ax.tick_params(labelsize=7, labelbottom=row == size - 1, labelleft=column == 0 < row)
            ax.tick_params(axis="x", which="both", rotation=45)
            if row == size - 1:
                ax.set_xlabel(_named(parameters[column]), fontsize=8)
            if column == 0 and row > 0:
                ax.set_ylabel(_named(parameters[row]), fontsize=8)
    return figure


def _distribution(ax: Axes, drawn: Posterior, k: int, parameter: Parameter) -> None:
    samples = drawn.samples[:, k]
    ends = samples.min(), samples.max()
    bins = np.geomspace(*ends, BINS + 1) if parameter.log else np.linspace(*ends, BINS + 1)
    ax.hist(samples, bins=bins.tolist(), color=ACCENT, alpha=0.6)
    ax.axvline(float(drawn.median[k]), color=MODEL)
    for end in (drawn.low[k], drawn.high[k]):
        ax.axvline(float(end), color=MODEL, linewidth=1, linestyle=":")
    _scaled(ax, parameter)
    ax.set_yticks([])


def _scaled(ax: Axes, parameter: Parameter, upright: bool = False) -> None:
    """A few numbers on an axis, which spans less than a decade as a rule and is drawn linear then."""
    axis, (low, high) = (ax.yaxis, ax.get_ylim()) if upright else (ax.xaxis, ax.get_xlim())
    if parameter.log and low > 0 and high > 10 * low:
        (ax.set_yscale if upright else ax.set_xscale)("log")
    else:
        axis.set_major_locator(MaxNLocator(3))
        axis.set_major_formatter(FormatStrFormatter("%.3g"))


def _parameter(space: Space, name: str) -> Parameter:
    return next(p for p in space.parameters if p.name == name)


def _named(parameter: Parameter) -> str:
    unit = "" if parameter.unit == "1" else f" / {parameter.unit.replace('^2', '²').replace('^-3', '⁻³')}"
    return label(parameter.name) + unit
