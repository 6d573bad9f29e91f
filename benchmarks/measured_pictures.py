"""What `measured_sdc.py` draws: measured loops of the SDC memristor, and those of our models."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from memflux.loops import Loops
from memflux.platform.figures import ACCENT, INK, MODEL, MUTED, STYLE

COLOURS = (MODEL, ACCENT)


def loops(
    measured: Loops, predicted: Mapping[str, tuple[np.ndarray, np.ndarray]], errors: Mapping[str, np.ndarray],
    held: tuple[str, ...],
) -> Figure:  # fmt: skip
    """A panel a record, amplitudes in rows; `predicted`: voltages [V], currents [A] of models; `errors`: their L_b."""
    peaks = np.round(np.ptp(measured.source, axis=1) / 2.0, 1)
    order = np.lexsort((measured.frequency, peaks))
    rows = np.unique(peaks).size
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.0, 2.3 * rows), layout="constrained")
        for ax, k in zip(np.ravel(figure.subplots(rows, -(-len(order) // rows))), order, strict=False):
            ax.plot(measured.voltage[k], 1e6 * measured.current[k], color=MUTED, linewidth=3.0, label="measured")
            for (name, (voltage, current)), color in zip(predicted.items(), COLOURS, strict=False):
                ax.plot(voltage[k], 1e6 * current[k], color=color, linewidth=1.0, label=name)
            worst = ", ".join(f"{error[k]:.2g}" for error in errors.values())
            title = f"{peaks[k]:g} V, {measured.frequency[k]:g} Hz"
            mark = ", held back" if measured.names[k] in held else ""
            ax.set_title(f"{title}{mark}\nL_b {worst}", fontsize=8, color=MODEL if mark else INK)
            ax.tick_params(labelsize=7)
        figure.supxlabel("voltage of the device / V", fontsize=9)
        figure.supylabel("current / uA", fontsize=9)
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure
