"""The architectures by name: their configs, and how one is built."""

from collections.abc import Mapping

from memflux.errors import check_choice
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


def config_for(name: str, count: int) -> Config:
    """The config of an architecture by its name, for a data set of `count` curves."""
    kind = CONFIGS[check_choice("model", name, MODELS)]
    return SpectralConfig.of(count) if kind is SpectralConfig else kind()


def name_of(config: Config) -> str:
    """The name of a config's architecture."""
    return next(name for name, kind in CONFIGS.items() if type(config) is kind)


def config_from_dict(name: str, fields: Mapping[str, object]) -> Config:
    """The config of an architecture from its saved fields."""
    return CONFIGS[check_choice("model", name, MODELS)].from_dict(fields)
