"""The architectures by name: their configs, and how one is built."""

import dataclasses
from collections.abc import Mapping

from memflux.errors import InvalidValue, check_choice, check_names
from memflux.training.hybrid import Hybrid, HybridConfig
from memflux.training.lstm import Lstm, LstmConfig
from memflux.training.model import AbstractModel
from memflux.training.neural_ode import NeuralOde, NeuralOdeConfig
from memflux.training.spectral import Spectral, SpectralConfig

Config = SpectralConfig | LstmConfig | HybridConfig | NeuralOdeConfig
CONFIGS: dict[str, type[Config]] = {
    "spectral": SpectralConfig,
    "lstm": LstmConfig,
    "hybrid": HybridConfig,
    "neural_ode": NeuralOdeConfig,
}
MODELS = tuple(CONFIGS)
NOUNS = {
    "spectral": "a spectral model",
    "lstm": "an LSTM model",
    "hybrid": "a hybrid model",
    "neural_ode": "a neural ODE",
}


def build(config: Config, *, inputs: int, times: int) -> AbstractModel:
    """A model of `inputs` parameters and `times` times, its weights drawn from torch's generator."""
    match config:
        case SpectralConfig():
            return Spectral(config, inputs=inputs, times=times)
        case LstmConfig():
            return Lstm(config, inputs=inputs, times=times)
        case HybridConfig():
            return Hybrid(config, inputs=inputs, times=times)
        case NeuralOdeConfig():
            return NeuralOde(config, inputs=inputs, times=times)


def config_for(name: str, count: int, drive: str = "triangle") -> Config:
    """The config of an architecture by its name, for a data set of `count` curves from a space of that drive."""
    kind = CONFIGS[check_choice("model", name, MODELS)]
    if drive == "random" and kind in (LstmConfig, NeuralOdeConfig):
        return kind.any_drive()
    return SpectralConfig.of(count) if kind is SpectralConfig else kind()


def check_any_drive(config: Config) -> None:
    """InvalidValue unless a model of this config can answer for any drive, piece by piece."""
    if getattr(config, "output", None) != "conductance":
        raise InvalidValue(
            f"{NOUNS[name_of(config)]} of this config cannot answer for any drive; give LstmConfig.any_drive() or "
            "NeuralOdeConfig.any_drive() (--model lstm or neural_ode)."
        )


def name_of(config: Config) -> str:
    """The name of a config's architecture."""
    return next(name for name, kind in CONFIGS.items() if type(config) is kind)


def config_to_dict(config: Config) -> dict[str, object]:
    """JSON-ready; the name of the architecture is not in it."""
    return dataclasses.asdict(config)


def config_from_dict(name: str, fields: Mapping[str, object]) -> Config:
    """The inverse of `config_to_dict` for an architecture by its name; unknown fields are refused."""
    kind = CONFIGS[check_choice("model", name, MODELS)]
    check_names(f"field of {NOUNS[name]}", fields, [f.name for f in dataclasses.fields(kind)])
    return kind(**fields)  # type: ignore[arg-type]
