"""What a hyperparameter study of surrogates varies: the presets by name, and the training that settings make."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from memflux.errors import check_choice, check_names
from memflux.training.models import CONFIGS, MODELS, Config, check_any_drive, config_for
from memflux.training.neural_ode import ACTIVATIONS, POSITIVE
from memflux.training.schedule import Schedule
from memflux.training.setting import Among, Between, Preset, Setting, Value, ends_of

_RATE = Between(low=1e-3, high=1e-1, log=True)
_DECAY = Between(low=1e-4, high=1.0, log=True)
_CLIP = Between(low=0.01, high=10.0, log=True)
PRESETS: Mapping[str, Preset] = {
    "spectral": Preset(
        model="spectral",
        search={
            "components": Between(low=16, high=128, log=True),
            "degree": Between(low=0, high=2),
            "members": Between(low=1, high=4),
            "width": Between(low=32, high=192, log=True),
            "layers": Between(low=2, high=8),
            "learning_rate": _RATE,
            "weight_decay": _DECAY,
            "batch_size": Among(values=(128, 256, 512, 1024)),
            "optimiser": Among(values=("muon", "adamw")),
        },
    ),
    "lstm": Preset(
        model="lstm",
        search={
            "layers": Between(low=1, high=2),
            "units": Between(low=32, high=128, step=16),
            "dropout": Between(low=0.0, high=0.3),
            "output": Among(values=("published", "peaks")),
            "learning_rate": _RATE,
            "weight_decay": _DECAY,
            "clip": _CLIP,
            "batch_size": Among(values=(16, 32, 64, 128)),
            "optimiser": Among(values=("muon", "adamw")),
        },
    ),
    "hybrid": Preset(
        model="hybrid",
        search={
            "filters": Between(low=8, high=64, log=True),
            "kernel": Between(low=3, high=9, step=2),
            "units": Between(low=32, high=128, step=16),
            "width": Between(low=32, high=192, log=True),
            "dropout": Between(low=0.0, high=0.5),
            "alpha": Between(low=0.0, high=1.0),
            "peak_weight": Between(low=0.1, high=10.0, log=True),
            "peak_threshold": Between(low=0.1, high=0.9),
            "learning_rate": _RATE,
            "weight_decay": _DECAY,
            "batch_size": Among(values=(32, 64, 128, 256)),
        },
    ),
    "neural_ode": Preset(
        model="neural_ode",
        search={
            "latent": Between(low=2, high=16),
            "width": Between(low=16, high=96, step=16),
            "layers": Between(low=1, high=4),
            "memductance_layers": Between(low=1, high=4),
            "activation": Among(values=tuple(ACTIVATIONS)),
            "output_activation": Among(values=tuple(POSITIVE)),
            "learning_rate": _RATE,
            "weight_decay": _DECAY,
            "clip": _CLIP,
            "batch_size": Among(values=(16, 32, 64)),
            "optimiser": Among(values=("muon", "adamw")),
        },
    ),
    "lstm-published": Preset(
        model="lstm",
        source="Spetzler et al., arXiv 2505.13882, section 4.4 and Table 3; dropout around the 0.1 that was chosen",
        search={
            "layers": Between(low=1, high=2),
            "units": Between(low=64, high=196, step=4),
            "dropout": Between(low=0.0, high=0.3),
            "learning_rate": Between(low=1e-4, high=8e-4, log=True),
            "batch_size": Among(values=(128, 256, 512)),
        },
        fixed={"optimiser": "adam", "decay": "constant", "weight_decay": 0.0},
    ),
    "neural_ode-published": Preset(
        model="neural_ode",
        source="Bednarz, Garda and Galias, section III B; AdaBelief, identity and ReLU outputs are left out",
        search={
            "latent": Between(low=1, high=4),
            "width": Between(low=16, high=512, step=16),
            "layers": Between(low=1, high=5),
            "memductance_layers": Between(low=1, high=5),
            "activation": Among(values=("relu", "gelu", "silu", "tanh", "elu", "leaky_relu", "sigmoid", "sine")),
            "output_activation": Among(values=tuple(POSITIVE)),
            "optimiser": Among(values=("adam", "sgd", "adamw", "nadam")),
            "learning_rate": Between(low=1e-4, high=1e-1, log=True),
            "batch_size": Between(low=1, high=18),
            "clip": _CLIP,
            "weight_decay": Between(low=1e-6, high=1e-2, log=True),
            "patience": Between(low=5, high=50),
        },
    ),
}


def settings_of(model: str) -> tuple[str, ...]:
    """The names that a study of this model may vary or fix: the fields of its config and of the schedule."""
    kind = CONFIGS[check_choice("model", model, MODELS)]
    return tuple(f.name for part in (kind, Schedule) for f in dataclasses.fields(part))


def configured(
    model: str, settings: Mapping[str, Value | None], count: int, drive: str = "triangle"
) -> tuple[Config, Schedule]:
    """Config and schedule of an architecture with some settings at other than their default.

    `count` and `drive` (of the space) are those of the data set, on which defaults depend.
    Raises InvalidValue for unknown settings and for values out of range.
    """
    check_names(f"setting of {model}", settings, settings_of(model))
    config = config_for(model, count, drive)
    own = {f.name for f in dataclasses.fields(config)}
    mine: Mapping[str, Any] = {k: v for k, v in settings.items() if k in own}
    config = dataclasses.replace(config, **mine)
    rest = {k: v for k, v in settings.items() if k not in own}
    return config, dataclasses.replace(Schedule.of(config), **rest)  # type: ignore[arg-type]


def defaults_of(model: str, count: int, drive: str = "triangle") -> dict[str, Value | None]:
    """The settings that a model is trained with where none are given."""
    config, schedule = configured(model, {}, count, drive)
    return {**dataclasses.asdict(config), **dataclasses.asdict(schedule)}


def check_search(
    model: str,
    search: Mapping[str, Setting],
    fixed: Mapping[str, Value | None],
    count: int = 1,
    drive: str = "triangle",
) -> None:
    """See that both ends of every range can be trained on such a data set. Raises InvalidValue, naming the setting."""
    for settings in ends_of(search, fixed):
        config, _ = configured(model, settings, count, drive)
        if drive == "random":
            check_any_drive(config)
