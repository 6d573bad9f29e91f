"""Records of a made-up device behind a resistor, as CSV files: a loop that no model has to be large for."""

from pathlib import Path

import numpy as np

AMPLITUDES = (0.5, 0.75, 1.0, 1.25, 1.5)  # V


def write_records(folder: Path, amplitudes: tuple[float, ...] = AMPLITUDES) -> Path:
    """One period each at 4 Hz, of 64 samples, in files such as 0.5V.csv; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    phase = 2.0 * np.pi * np.arange(64) / 64
    for amplitude in amplitudes:
        source = amplitude * np.sin(phase)
        voltage = source / (1.0 + 5.0 * (0.3 + 0.1 * amplitude * np.cos(phase)))
        rows = np.stack([phase / (2.0 * np.pi * 4.0), source, voltage, (source - voltage) / 5e3], 1)
        header = "time_s,source_V,voltage_V,current_A"
        np.savetxt(folder / f"{amplitude}V.csv", rows, delimiter=",", header=header, comments="")
    return folder
