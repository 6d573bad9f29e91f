"""The figures of an evaluation: how far the curves of a surrogate are from solved ones, and where."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, PHYSICS, STYLE, label, plain_numbers
from memflux.space import Parameter
from memflux.traces import Trace, Traces
from memflux.training.evaluate import Evaluation, Felt, cycle_errors, felt

FILES = ("errors.png", "examples.png", "parameters.png", "cycles.png", "designs.png")
QUANTILES: Mapping[str, float] = MappingProxyType({"best": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "worst": 1.0})
SHOWN_DECADES = 8  # of an I-V curve below its peak at most
FIRST, LAST = ("#9cc4cb", "#f0a35e"), (PHYSICS, MODEL)  # solved and predicted cycle
PARTS = 10  # of the range of a parameter, with as many devices in each
SMALLEST = 1e-6  # errors of designs below are shown there: a log axis has no 0
FEWEST_PERCENT = 1e-4  # the same of an nMAE in %
COLUMNS = 5  # panels beside each other
BINS = 50  # of a histogram


def evaluation_figures(
    name: str,
    result: Evaluation,
    predicted: Traces,
    traces: Traces,
    parameters: Sequence[Parameter],
    values: Float[np.ndarray, "B P"],
) -> dict[str, Figure]:
    """All figures by their file names, some of `FILES`: one cycle has no second to compare with.

    `result` compares the B `predicted` with the B given `traces`; `values` (SI, eV) are those of the P
    `parameters` of the B devices, `name` is that of the surrogate.
    """
    figures = {
        "errors.png": errors(name, result),
        "examples.png": examples(result, predicted, traces),
        "parameters.png": by_parameter(result.nmae, parameters, values[result.rows]),
        "designs.png": designs(felt(predicted, traces)),
    }
    if traces.cycles > 1:
        figures["cycles.png"] = cycles(cycle_errors(predicted, traces))
    return figures


def errors(name: str, result: Evaluation) -> Figure:
    """The published figure: nMAE of every device in ascending order, in amperes and where defined as published."""
    figure, (ax,) = _panels(1, 1, 6.4, 3.8)
    with matplotlib.rc_context(STYLE):
        _sorted(ax, result.nmae, ACCENT, "in amperes")
        if result.nmae_scaled is not None:
            _sorted(ax, result.nmae_scaled, MODEL, "scaled, as published")
        ax.set(xlabel="device, sorted by its error", xlim=(0, result.nmae.size), ylabel="nMAE / %", yscale="log")
        ax.set_title(f"{name}: {result.nmae.size:,} devices")
        plain_numbers(ax.yaxis)
        figure.legend(loc="outside lower center")
    return figure


def examples(result: Evaluation, predicted: Traces, traces: Traces) -> Figure:
    """Predicted and solved |current| over voltage, the first and the last cycle, of devices at some quantiles."""
    figure, axes = _panels(1, len(QUANTILES), 2.9, 3.2)
    with matplotlib.rc_context(STYLE):
        for ax, (title, quantile) in zip(axes, QUANTILES.items(), strict=True):
            place = result.at_quantile(quantile)
            row = int(result.rows[place])
            if traces.cycles > 1:
                _cycle(ax, traces[row].cycle(0), predicted[row].cycle(0), "first cycle", FIRST)
            _cycle(ax, traces[row].cycle(), predicted[row].cycle(), "last cycle", LAST)
            ax.set(yscale="log", ylim=_shown(traces.current[row], predicted.current[row]), xlabel="voltage / V")
            ax.set_title(f"{title}: nMAE {100 * result.nmae[place]:.2g} %\nrow {row}")
        axes[0].set_ylabel("|current| / A")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def by_parameter(
    nmae: Float[np.ndarray, " N"], parameters: Sequence[Parameter], values: Float[np.ndarray, "N P"]
) -> Figure:
    """nMAE against each of the P parameters, and its median in ten parts with as many devices each."""
    rows = -(-len(parameters) // COLUMNS)
    columns = -(-len(parameters) // rows)
    figure, axes = _panels(rows, columns, 2.9, 2.7)
    with matplotlib.rc_context(STYLE):
        for ax, parameter, column in zip(axes, parameters, values.T, strict=False):
            _against(ax, parameter, column, _percent(nmae))
        for ax in axes[: len(parameters) : columns]:
            ax.set_ylabel("nMAE / %")
        for ax in axes[len(parameters) :]:
            ax.set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


def cycles(nmae: Float[np.ndarray, "N C"]) -> Figure:
    """nMAE of the first cycle against that of the second."""
    figure, (ax,) = _panels(1, 1, 4.4, 4.2)
    shown = _percent(nmae[:, :2])
    ends = (shown.min() / 1.5, shown.max() * 1.5)
    with matplotlib.rc_context(STYLE):
        _dots(ax, shown[:, 1], shown[:, 0])
        ax.plot(ends, ends, color=INK, linewidth=1)
        ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        plain_numbers(ax.xaxis)
        plain_numbers(ax.yaxis)
        ax.set(xlabel="nMAE of the second cycle / %", ylabel="nMAE of the first cycle / %")
        above = 100 * float((nmae[:, 0] > nmae[:, 1]).mean())
        ax.set_title(f"first cycle worse for {above:.0f} % of {len(nmae):,} devices")
    return figure


def designs(found: Felt) -> Figure:
    """How the errors that designs feel are distributed, with median and 99th percentile of their magnitudes."""
    figure, axes = _panels(1, 3, 3.4, 3.0)
    names = {"on_off_ratio": "on-off ratio R at 5 V", "symmetry": "symmetry S", "log10_peak": "log$_{10}$ of the peak"}
    summary = found.to_dict()
    with matplotlib.rc_context(STYLE):
        for ax, (key, name) in zip(axes, names.items(), strict=True):
            statistics, difference = summary[key], getattr(found, key)
            ax.set(title=name, xlabel="|error|")
            if statistics["median"] is None or statistics["p99"] is None:
                ax.text(0.5, 0.5, "defined for no device", ha="center", color=MUTED, transform=ax.transAxes)
                continue
            _distribution(ax, np.abs(difference[np.isfinite(difference)]), statistics["median"], statistics["p99"])
        axes[0].set_ylabel("devices")
    return figure


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure and its axes row by row; width and height [inch] of one panel."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return figure, list(np.ravel(figure.subplots(rows, columns)))


def _percent(nmae: np.ndarray) -> np.ndarray:
    """Errors as a log axis can show them."""
    return np.maximum(100 * nmae, FEWEST_PERCENT)


def _cycle(ax: Axes, solved: Trace, predicted: Trace, name: str, colors: tuple[str, str]) -> None:
    """|current| of one cycle, solved and predicted; the zeros of the device at rest are no points."""
    for trace, what, color, width, style in (
        (solved, "solved", colors[0], 2.4, "-"),
        (predicted, "predicted", colors[1], 1.2, "--"),
    ):
        size = np.where(trace.current == 0, np.nan, np.abs(trace.current))
        ax.plot(trace.voltage, size, color=color, linewidth=width, linestyle=style, label=f"{name}, {what}")


def _shown(*currents: Float[np.ndarray, " T"]) -> tuple[float, float]:
    """Limits [A] of a log axis: near 0 V the logarithm falls without end, and the lowest samples are chance."""
    size = np.abs(np.concatenate(currents))
    size = size[size > 0]
    if size.size == 0:
        return 1e-15, 1.0
    top = float(size.max())
    return max(float(np.percentile(size, 1)) / 2.0, top * 10.0**-SHOWN_DECADES), 2.0 * top


def _sorted(ax: Axes, nmae: Float[np.ndarray, " N"], color: str, name: str) -> None:
    """One sorted curve, its mean as a dashed and its median as a dotted line."""
    mean, median = 100 * float(nmae.mean()), 100 * float(np.median(nmae))
    text = f"{name}: mean (dashed) {mean:.3g} %, median (dotted) {median:.3g} %"
    ax.plot(np.arange(nmae.size) + 0.5, np.sort(_percent(nmae)), color=color, label=text)
    ax.axhline(max(mean, FEWEST_PERCENT), color=color, linewidth=1, linestyle="--")
    ax.axhline(max(median, FEWEST_PERCENT), color=color, linewidth=1, linestyle=":")


def _against(ax: Axes, parameter: Parameter, values: Float[np.ndarray, " N"], percent: Float[np.ndarray, " N"]) -> None:
    """Errors [%] against one parameter (SI, eV), and the running median."""
    _dots(ax, values, percent)
    parts = [part for part in np.array_split(np.argsort(values, kind="stable"), PARTS) if part.size]
    middle = [(float(np.median(values[part])), float(np.median(percent[part]))) for part in parts]
    ax.plot(*zip(*middle, strict=True), color=MODEL, marker="o", markersize=3.5, label="median of a tenth")
    unit = "" if parameter.unit == "1" else f" / {parameter.unit.replace('^2', '²').replace('^-3', '⁻³')}"
    ax.set(xscale="log" if parameter.log else "linear", yscale="log", xlabel=label(parameter.name) + unit)
    plain_numbers(ax.yaxis)


def _dots(ax: Axes, x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> None:
    """A point a device: small ones where there are many."""
    size = float(np.clip(100.0 / np.sqrt(x.size), 3.0, 9.0))
    ax.plot(x, y, ".", color=ACCENT, markersize=size, alpha=0.5, markeredgewidth=0)


def _distribution(ax: Axes, size: Float[np.ndarray, " N"], median: float, far: float) -> None:
    """A histogram of magnitudes over a log axis, with two of its quantiles."""
    shown = np.maximum(size, SMALLEST)
    ends = shown.min(), max(shown.max(), 10.0 * shown.min())
    ax.hist(shown, bins=np.geomspace(*ends, BINS + 1).tolist(), color=ACCENT, alpha=0.6)
    ax.set(xscale="log", ylim=(0.0, 1.35 * ax.get_ylim()[1]))  # room for the legend
    for value, name, style in ((median, "median", "--"), (far, "99 %", ":")):
        ax.axvline(max(value, SMALLEST), color=MODEL, linestyle=style, label=f"{name}: {value:.2g}")
    ax.legend(loc="upper left", handlelength=1.8)
