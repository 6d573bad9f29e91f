"""The inside of a device as a figure: bands, field, densities, current parts and heat along the channel."""

from collections.abc import Sequence
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.platform.figures import MUTED, STYLE, ampere_scale
from memflux.traces import Profiles, Trace

LineStyle = Literal["-", "-.", "--", ":"]

SHOWN_DECADES = 12  # below the largest value of a panel with a log scale
HOLES_MATTER = 1e-6  # of the electrons, in density or current: holes below this are no line
PARTS: tuple[tuple[str, str, LineStyle], ...] = (
    ("j_n", "electrons", "-"),
    ("j_p", "holes", "-."),
    ("j_x", "vacancies", "--"),
    ("j_displacement", "displacement", ":"),
)


def inside(trace: Trace, device: Device) -> Figure:
    """The device at the times of `trace.profiles`, one colour each: early ones dark, late ones light.

    Raises InvalidValue where nothing was seen of the inside.
    """
    seen = seen_profiles(trace)
    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, seen.time.size))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 5.9), layout="constrained")
        axes = figure.subplots(2, 4, gridspec_kw={"hspace": 0.1})
        _curve(axes[0, 0], trace, seen, device, colors)
        axes[0, 0].set_title(" ", fontsize=8)  # keeps a line free above the first row
        _bands(axes[0, 1], seen, device, colors)
        _field(axes[0, 2], seen, colors)
        _lowering(axes[0, 3], trace, seen, colors)
        _electrons(axes[1, 0], seen, colors)
        if seen.vacancy.max() > 0.0:
            _log(axes[1, 1], seen, seen.vacancy, "vacancy density / m$^{-3}$", colors)
        else:
            nothing(axes[1, 1], "no vacancies")
        _parts(axes[1, 2], seen, colors)
        _log(axes[1, 3], seen, seen.dissipation, "dissipated power / W m$^{-3}$", colors)
        names = [
            f"{t:.4g} s, {v:.3g} V".replace("-", "\N{MINUS SIGN}")
            for t, v in zip(seen.time, seen.voltage + 0.0, strict=True)
        ]
        lines = [Line2D([], [], color=c, linewidth=2.4) for c in colors]
        figure.legend(lines, names, loc="outside upper center", ncols=min(len(names), 7))
    return figure


def seen_profiles(trace: Trace) -> Profiles:
    """The profiles of a trace without those that failed; InvalidValue if there are none."""
    seen = trace.profiles
    if seen is None or not (good := np.isfinite(seen.psi).all(axis=1)).any():
        raise InvalidValue(f"the trace has no profiles ({trace.status}); ask for some: simulate(..., profiles=[1.0]).")
    return seen.at(seen.time[good])


def length_scale(seen: Profiles) -> tuple[float, str]:
    """Factor and unit that bring positions in m to readable numbers."""
    return (1e9, "nm") if seen.x[-1] < 0.2e-6 else (1e6, "µm")


def band_edges(seen: Profiles, device: Device) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conduction and valence band edge and Fermi level of electrons [K, N] in eV; 0: the left contact's Fermi level."""
    conduction = -seen.psi - device.electron_affinity
    return conduction, conduction - device.band_gap, -seen.phi_n


def log_range(values: np.ndarray) -> tuple[float, float]:
    """Limits of a log axis on which all values down to SHOWN_DECADES below the largest are seen."""
    positive = values[np.isfinite(values) & (values > 0.0)]
    top = float(positive.max(initial=1e-300))
    return max(float(positive.min(initial=top)), top * 10.0**-SHOWN_DECADES) / 2.0, top * 3.0


def nothing(ax: Axes, why: str) -> None:
    """An empty panel that says why."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, why, ha="center", color=MUTED, transform=ax.transAxes)


def _along(ax: Axes, seen: Profiles, name: str) -> None:
    factor, unit = length_scale(seen)
    ax.set(xlabel=f"position / {unit}", ylabel=name, xlim=(0.0, factor * seen.x[-1]))


def _plain(ax: Axes, seen: Profiles, values: np.ndarray, name: str, colors: np.ndarray, style: LineStyle = "-") -> None:
    """Lines [K, N] on nodes or [K, N - 1] on edges."""
    factor, _ = length_scale(seen)
    place = seen.x if values.shape[1] == seen.x.size else seen.edges
    for row, color in zip(values, colors, strict=True):
        ax.plot(factor * place, row, color=color, linestyle=style)
    _along(ax, seen, name)


def _log(ax: Axes, seen: Profiles, values: np.ndarray, name: str, colors: np.ndarray) -> None:
    _plain(ax, seen, values, name, colors)
    if (values > 0.0).any():  # at rest nothing is dissipated
        ax.set(yscale="log", ylim=log_range(values))


def _curve(ax: Axes, trace: Trace, seen: Profiles, device: Device, colors: np.ndarray) -> None:
    factor, unit = ampere_scale(trace.current)
    ax.axhline(0.0, color=MUTED, linewidth=0.5)
    ax.plot(trace.voltage, factor * trace.current, color=MUTED, linewidth=1.2)
    moments = factor * device.area * seen.j_total.mean(axis=1)
    ax.scatter(seen.voltage, moments, color=colors, s=38, zorder=3)
    ax.set(xlabel="voltage / V", ylabel=f"current / {unit}")


def _bands(ax: Axes, seen: Profiles, device: Device, colors: np.ndarray) -> None:
    conduction, _, fermi = band_edges(seen, device)
    _plain(ax, seen, fermi, "energy / eV", colors, ":")
    _plain(ax, seen, conduction, "energy / eV", colors)
    _styles(ax, (("conduction band", "-"), ("Fermi level of electrons", ":")))


def _field(ax: Axes, seen: Profiles, colors: np.ndarray) -> None:
    """Layers at the contacts, where the field can be a hundred times as large, are cut off and said in words."""
    values = 1e-6 * seen.field
    _plain(ax, seen, values, "electric field / MV m$^{-1}$", colors)
    channel = (seen.edges > 0.05 * seen.x[-1]) & (seen.edges < 0.95 * seen.x[-1])
    usual, largest = float(np.abs(values[:, channel]).max()), float(np.abs(values).max())
    if largest > 3.0 * usual > 0.0:
        ax.set_ylim(-1.5 * usual, 1.5 * usual)
        ax.set_title(f"at a contact up to {largest:.3g} MV/m", fontsize=8, fontweight="normal")


def _lowering(ax: Axes, trace: Trace, seen: Profiles, colors: np.ndarray) -> None:
    """Both barriers over the whole drive, and at the moments."""
    if not (seen.lowering_left.any() or seen.lowering_right.any()):
        nothing(ax, "no barrier lowering")
        return
    history = trace.history
    if history is not None:
        time = trace.time[: history.barrier_change_left.size]
        ax.plot(time, 1e3 * history.barrier_change_left, color=MUTED, linewidth=1.2)
        ax.plot(time, 1e3 * history.barrier_change_right, color=MUTED, linewidth=1.2, linestyle="--")
    ax.scatter(seen.time, 1e3 * seen.lowering_left, color=colors, s=38, zorder=3)
    ax.scatter(seen.time, 1e3 * seen.lowering_right, color=colors, s=38, marker="s", zorder=3)
    _styles(ax, (("left contact", "-"), ("right contact", "--")))
    ax.set(xlabel="time / s", ylabel="barrier lowering / meV")


def _electrons(ax: Axes, seen: Profiles, colors: np.ndarray) -> None:
    _log(ax, seen, seen.n, "electron density / m$^{-3}$", colors)
    if (seen.p > HOLES_MATTER * seen.n.max()).any():
        _plain(ax, seen, seen.p, "density / m$^{-3}$", colors, "--")
        _styles(ax, (("electrons", "-"), ("holes", "--")))
        ax.set_ylim(log_range(np.concatenate([seen.n, seen.p])))


def _parts(ax: Axes, seen: Profiles, colors: np.ndarray) -> None:
    """Magnitudes of the current parts; that of the holes only where it is one."""
    least = {"j_p": HOLES_MATTER * float(np.abs(seen.j_n).max())}
    shown = [p for p in PARTS if np.abs(getattr(seen, p[0])).max() > least.get(p[0], 0.0)]
    for name, _, style in shown:
        _plain(ax, seen, np.abs(getattr(seen, name)), "|current density| / A m$^{-2}$", colors, style)
    small = max(float(np.abs(seen.j_x).max()), float(np.abs(seen.j_displacement).max()))
    largest = max(float(np.abs(seen.j_n).max()), float(np.abs(seen.j_p).max()), small)
    if largest > 0.0:
        ax.set(yscale="log", ylim=(1e-3 * small, 10.0 * largest))
    _styles(ax, [(name, style) for _, name, style in shown])


def _styles(ax: Axes, entries: Sequence[tuple[str, LineStyle]]) -> None:
    """A legend of line styles, whatever the colour."""
    lines = [Line2D([], [], color=MUTED, linestyle=style) for _, style in entries]
    legend = ax.legend(
        lines,
        [name for name, _ in entries],
        fontsize=8,
        handlelength=2.0,
        columnspacing=1.0,
        ncols=len(entries),
        loc="lower center",
        bbox_to_anchor=(0.5, 0.98),
    )
    legend.set_in_layout(False)  # a wide one would push the columns apart
