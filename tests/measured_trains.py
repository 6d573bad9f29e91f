"""Made-up pulse trains and the folder that holds them."""

from pathlib import Path

import numpy as np

from memflux.pulse_curves import COLUMNS, PulseCurves

SETTINGS = np.array([
    [0.05, 2.0, 0.05, 0.05, 0.0],
    [0.1, 2.0, 0.1, 0.1, 0.0],
    [0.1, 2.0, 0.1, 0.1, -0.5],
    [0.2, 2.0, 0.1, 0.1, 0.0],
    [0.5, 2.1, 0.5, 0.5, 0.0],
])  # fmt: skip


def made_up(
    replicates: int = 6, pulses: int = 30, noise: float = 0.01, seed: int = 0, speed: float = 0.15
) -> PulseCurves:
    """Saturating trains whose speed and range grow with the set duration, over devices of different scale."""
    random = np.random.default_rng(seed)
    settings = np.tile(SETTINGS, (replicates, 1))
    speeds = speed * (settings[:, 0] / 0.1) ** 0.5 * (1.0 + settings[:, 4])
    speeds *= np.exp(0.1 * random.standard_normal(len(settings)))
    rise = 1.0 - np.exp(-speeds[:, None] * np.arange(pulses))
    scale = 1e-6 * np.repeat(10.0 ** random.uniform(-0.3, 0.3, replicates), len(SETTINGS))
    scale *= (settings[:, 0] / 0.1) ** 0.4
    current = scale[:, None] * (0.4 + rise + noise * random.standard_normal(rise.shape))
    ids = np.arange(len(settings)) * 2
    return PulseCurves(ids=ids, settings=settings, current=current)


def write(curves: PulseCurves, folder: Path) -> Path:
    """The two files of a record."""
    folder.mkdir(exist_ok=True)
    rows = [",".join(["curve", "note", *COLUMNS])]
    rows += [
        ",".join([str(i), "x", *map(repr, row.tolist())]) for i, row in zip(curves.ids, curves.settings, strict=True)
    ]
    (folder / "curves.csv").write_text("\n".join(rows) + "\n")
    rows = [",".join(["curve", *(f"n{k}" for k in range(curves.pulses))])]
    rows += [",".join([str(i), *map(repr, row.tolist())]) for i, row in zip(curves.ids, curves.current, strict=True)]
    (folder / "read_current_A.csv").write_text("\n".join(rows) + "\n")
    return folder
