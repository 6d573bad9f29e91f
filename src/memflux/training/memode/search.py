"""What a study of neural ODEs of measured loops varies: their settings as numbers and words, and what they make."""

import itertools
from collections.abc import Mapping
from typing import Any

from memflux.errors import InvalidValue, check_choice, check_integer, check_names
from memflux.loops import MOST
from memflux.training.memode.fit import FitConfig
from memflux.training.memode.model import KINDS, MemOdeConfig, diamond
from memflux.training.setting import Among, Between, Preset, Setting, Value, ends_of

MODEL = "memode"  # what a study file calls them
WEIGHTS = 10_000  # that can be trained at most: an iteration solves a full matrix of so many rows
FOREVER = 1e9  # s: what a training comes to must not depend on the clock
OF_MODEL = ("kind", "states", "linear", "monotone", "sees_voltage", "steps")  # fields that are settings as they are
OF_FIT = ("starts", "iterations", "ridge", "balanced")
_MODEL, _FIT = MemOdeConfig(), FitConfig(balanced=False)  # slopes and curvatures help some networks and harm others
DEFAULTS: Mapping[str, Value] = {
    **{name: getattr(_MODEL, name) for name in OF_MODEL},
    "width": _MODEL.rate_widths[0],
    "layers": len(_MODEL.rate_widths),
    "memductance_width": _MODEL.memductance_widths[0],
    "memductance_layers": len(_MODEL.memductance_widths),
    **{name: getattr(_FIT, name) for name in OF_FIT},
    "folds": 7,
}
"""Settings by name, and what is taken where none is given.

`width` and `layers` are those of the network for f, a `diamond`, `memductance_*` those of the network for G; `folds`
are the parts of a cross-validation, the others those of `MemOdeConfig` and `FitConfig`.
"""

_RIDGE = Between(low=1e-7, high=1e-2, log=True)
PRESETS: Mapping[str, Preset] = {
    MODEL: Preset(
        model=MODEL,
        search={
            "states": Between(low=1, high=4),
            "linear": Among(values=(False, True)),
            "monotone": Among(values=(False, True)),
            "sees_voltage": Among(values=(False, True)),
            "width": Between(low=4, high=16, step=2),
            "layers": Between(low=1, high=2),
            "memductance_width": Between(low=4, high=16, step=2),
            "memductance_layers": Between(low=1, high=2),
            "ridge": _RIDGE,
            "balanced": Among(values=(False, True)),
        },
        fixed={"starts": 4, "iterations": 40},
    ),
    "memode-published": Preset(
        model=MODEL,
        source="Bednarz, Garda and Galias, section III B; widths above 16, activations, and what gradient descent "
        "needs (rate, optimiser, batch, clipping, patience) are left out: an iteration of Levenberg and Marquardt's "
        "method takes seconds with 2,000 weights",
        search={
            "states": Between(low=1, high=4),
            "layers": Between(low=1, high=5),
            "memductance_layers": Between(low=1, high=5),
            "ridge": _RIDGE,
        },
        fixed={"width": 16, "memductance_width": 16, "balanced": True, "starts": 2, "iterations": 40},
    ),
}


def candidate(settings: Mapping[str, Value | None], records: int = MOST) -> tuple[MemOdeConfig, FitConfig, int]:
    """Architecture, training, and parts of a cross-validation of so many records, from some settings.

    A single network has one state and no network for G, whatever the settings of these say: a study may vary its kind
    and them. Raises InvalidValue for unknown settings and for values out of range.
    """
    check_names(f"setting of {MODEL}", settings, DEFAULTS)
    every: dict[str, Any] = {**DEFAULTS, **settings}
    check_integer("memductance_width", every["memductance_width"], low=2, high=1024)
    check_integer("memductance_layers", every["memductance_layers"], low=1, high=8)
    if check_choice("kind", every["kind"], KINDS) == "single":
        every |= {"states": 1, "sees_voltage": False}
    config = MemOdeConfig(
        rate_widths=diamond(every["width"], every["layers"]),
        memductance_widths=diamond(every["memductance_width"], every["memductance_layers"]),
        **{name: every[name] for name in OF_MODEL},
    )
    weights = sum((a + 1) * b for sizes in config.sizes for a, b in itertools.pairwise(sizes))
    if weights > WEIGHTS:
        raise InvalidValue(f"{weights} weights are too many; lower width and layers of f or G, for {WEIGHTS} at most.")
    how = FitConfig(seconds=FOREVER, **{name: every[name] for name in OF_FIT})
    return config, how, check_integer("folds", every["folds"], low=2, high=records)


def check_search(search: Mapping[str, Setting], fixed: Mapping[str, Value | None], records: int = MOST) -> None:
    """See that both ends of every range can be trained on so many records. Raises InvalidValue, naming the setting."""
    for settings in ends_of(search, fixed):
        candidate(settings, records)
