"""How far the members of an ensemble disagree, at every time of a curve: a first guess at the error."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memflux.contracts import Predictor
from memflux.device import Devices
from memflux.errors import InvalidValue
from memflux.training.model import AbstractModel
from memflux.training.scaling import OutputScaling
from memflux.training.spectral import Spectral
from memflux.waveform import Waveform

Spread = Callable[[Devices, Waveform], np.ndarray]  # standard deviation among members [B, T], A
CHUNK = 512  # devices evaluated at once


def spread_of_members(
    module: AbstractModel, outputs: OutputScaling, unit: Float[np.ndarray, "B P"]
) -> Float[np.ndarray, "B T"] | None:
    """Standard deviation [A] among the members of one model; None for a model without at least two."""
    if not isinstance(module, Spectral) or module.config.members < 2:
        return None
    weight = next(module.parameters())
    result = np.empty((len(unit), module.mean_shape.numel()))
    for first in range(0, len(unit), CHUNK):
        part = slice(first, first + CHUNK)
        with torch.no_grad():
            out = module.members_of(torch.tensor(unit[part], dtype=weight.dtype, device=weight.device))
            shapes = module.mean_shape + out[..., :-1] @ module.basis
            scaled: Iterable[tuple[Tensor, ...]] = zip(shapes, out[..., -1], strict=True)
            currents = [outputs.unscale(*parts, xp=torch) for parts in scaled]
            result[part] = torch.stack(currents).std(0).double().cpu().numpy()
    return result


def spread_among(predictors: Sequence[Predictor]) -> Spread:
    """Standard deviation [A] among several predictors, such as surrogates of different seeds."""
    if len(predictors) < 2:
        raise InvalidValue(f"predictors has {len(predictors)} entries; give at least two to compare.")

    def spread(devices: Devices, drive: Waveform) -> np.ndarray:
        return np.stack([predict(devices, drive).current for predict in predictors]).std(axis=0, ddof=1)

    return spread
