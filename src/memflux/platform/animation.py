"""A sweep as a film: the I-V curve as it grows, and bands, electrons and vacancies that move with it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import animation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from memflux.device import Device
from memflux.errors import DataError, InvalidValue, MissingDependency
from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, STYLE, ampere_scale
from memflux.platform.inside_figures import HOLES_MATTER, band_edges, length_scale, log_range, nothing, seen_profiles
from memflux.traces import Profiles, Trace

FRAMES_A_SECOND = 12
DOTS_AN_INCH = 100
LARGE = STYLE | {"font.size": 11, "legend.fontsize": 10}  # a film is looked at from farther away than a page


class _Moving(NamedTuple):
    """A line and what it shows: one row a frame."""

    line: Line2D
    rows: np.ndarray  # [K, N]


class _Scene(NamedTuple):
    """The figure and what changes in it from frame to frame."""

    figure: Figure
    path: Line2D  # the part of the curve that has been swept
    dot: Line2D
    moving: list[_Moving]


def check_animation(path: str | os.PathLike[str]) -> None:
    """Refuse what `animate` could not write: a suffix but .gif or .mp4, .mp4 without ffmpeg, a missing folder."""
    target = Path(path)
    if target.suffix.lower() not in (".gif", ".mp4"):
        raise InvalidValue(f"{target} is no animation that can be written; give a name that ends in .gif or .mp4.")
    if target.suffix.lower() == ".mp4" and not animation.writers.is_available("ffmpeg"):
        raise MissingDependency(
            f"{target} needs the program ffmpeg, which is not there; apt-get install ffmpeg, or give a .gif."
        )
    if not target.resolve().parent.is_dir():
        raise DataError(f"{target} is not in an existing folder; make the folder first.")


def animate(
    trace: Trace,
    device: Device,
    path: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write one frame a profile of `trace` to a .gif or .mp4; `progress(done, all)` after each.

    The axes keep their limits from the first frame to the last. Raises InvalidValue without profiles,
    and what `check_animation` raises.
    """
    check_animation(path)
    seen = seen_profiles(trace)
    with matplotlib.rc_context(LARGE):
        scene = _scene(trace, seen, device)
        gif = Path(path).suffix.lower() == ".gif"
        writer = (animation.PillowWriter if gif else animation.FFMpegWriter)(fps=FRAMES_A_SECOND)
        with writer.saving(scene.figure, os.fspath(path), DOTS_AN_INCH):
            for k in range(seen.time.size):
                _show(scene, trace, seen, device, k)
                writer.grab_frame()
                if progress is not None:
                    progress(k + 1, seen.time.size)


def _scene(trace: Trace, seen: Profiles, device: Device) -> _Scene:
    figure = Figure(figsize=(9.0, 6.2), layout="constrained")
    axes = figure.subplots(2, 2)
    path, dot = _curve(axes[0, 0], trace, seen)
    moving = _bands(axes[0, 1], seen, device)
    moving += _carriers(axes[1, 0], seen)
    if seen.vacancy.max() > 0.0:
        moving.append(_moving_line(axes[1, 1], seen, seen.vacancy, ACCENT, "vacancies"))
        _label(axes[1, 1], seen, "vacancy density / m$^{-3}$")
        axes[1, 1].set(yscale="log", ylim=log_range(seen.vacancy))
    else:
        nothing(axes[1, 1], "no vacancies")
    scene = _Scene(figure, path, dot, moving)
    _show(scene, trace, seen, device, 0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout of the first frame is that of all
    return scene


def _show(scene: _Scene, trace: Trace, seen: Profiles, device: Device, k: int) -> None:
    factor, unit = ampere_scale(trace.current)
    voltage, current = float(seen.voltage[k]), factor * device.area * float(seen.j_total[k].mean())
    swept = (trace.time >= seen.time[0]) & (trace.time < seen.time[k])
    scene.path.set_data(np.append(trace.voltage[swept], voltage), np.append(factor * trace.current[swept], current))
    scene.dot.set_data([voltage], [current])
    for line, rows in scene.moving:
        line.set_ydata(rows[k])
    time = f"{seen.time[k]:8.2e}" if seen.time[-1] < 0.1 else f"{seen.time[k]:6.2f}"
    text = f"t = {time} s    V = {voltage:+6.2f} V    I = {current:+6.1f} {unit}"  # of one width: it must not dance
    scene.figure.suptitle(text.replace("-", "\N{MINUS SIGN}"), fontsize=13, color=INK, family="monospace")


def _curve(ax: Axes, trace: Trace, seen: Profiles) -> tuple[Line2D, Line2D]:
    factor, unit = ampere_scale(trace.current)
    shown = (trace.time >= seen.time[0]) & (trace.time <= seen.time[-1])
    ax.axhline(0.0, color=MUTED, linewidth=0.5)
    ax.plot(trace.voltage[shown], factor * trace.current[shown], color=MUTED, linewidth=0.8)
    (path,) = ax.plot([], [], color=INK, linewidth=2.0)
    (dot,) = ax.plot([], [], "o", color=MODEL, markersize=9)
    ax.set(xlabel="voltage / V", ylabel=f"current / {unit}")
    ax.locator_params(nbins=5)
    return path, dot


def _bands(ax: Axes, seen: Profiles, device: Device) -> list[_Moving]:
    conduction, valence, fermi = band_edges(seen, device)
    lines = [
        _moving_line(ax, seen, conduction, INK, "conduction band"),
        _moving_line(ax, seen, valence, ACCENT, "valence band"),
        _moving_line(ax, seen, fermi, MODEL, "Fermi level", (0, (4, 2))),
    ]
    margin = 0.05 * float(np.ptp([valence.min(), conduction.max()]))
    _label(ax, seen, "energy / eV")
    ax.set_ylim(valence.min() - margin, conduction.max() + margin)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, columnspacing=0.9, handlelength=1.5)
    return lines


def _carriers(ax: Axes, seen: Profiles) -> list[_Moving]:
    lines = [_moving_line(ax, seen, seen.n, INK, "electrons")]
    values = seen.n
    if (seen.p > HOLES_MATTER * seen.n.max()).any():
        lines.append(_moving_line(ax, seen, seen.p, MODEL, "holes", (0, (4, 2))))
        values = np.concatenate([seen.n, seen.p])
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=2)
    _label(ax, seen, "electron density / m$^{-3}$" if len(lines) == 1 else "density / m$^{-3}$")
    ax.set(yscale="log", ylim=log_range(values))
    return lines


def _moving_line(ax: Axes, seen: Profiles, rows: np.ndarray, color: str, name: str, style: object = "-") -> _Moving:
    factor, _ = length_scale(seen)
    (line,) = ax.plot(factor * seen.x, rows[0], color=color, linestyle=style, linewidth=2.0, label=name)
    return _Moving(line, rows)


def _label(ax: Axes, seen: Profiles, name: str) -> None:
    factor, unit = length_scale(seen)
    ax.set(xlabel=f"position / {unit}", ylabel=name, xlim=(0.0, factor * seen.x[-1]))
