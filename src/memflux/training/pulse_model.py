"""A trained perceptron of pulse programming: settings in SI in, read currents out; saved as a folder."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float

from memflux import __version__
from memflux.errors import DataError, InvalidValue, check_integer, check_numbers
from memflux.folder import Folder
from memflux.pulse_curves import BOUNDS, MOST_PULSES, NAMES, UNITS, PulseCurves
from memflux.pulse_scale import AbsoluteScale, vector
from memflux.training.checkpoint import WEIGHTS, check_keys, load_weights, weights_of
from memflux.training.pulse_folds import LEAKS, Folds, folds
from memflux.training.pulse_mlp import PulseConfig, PulseNetworks
from memflux.training.pulse_spread import PulseSpread
from memflux.training.pulse_training import FittedNetworks, Progress, PulseRecipe, fit_networks

FORMAT = 1
DOCUMENT = "pulse_model.json"
KEYS = ("format", "memflux", "config", "pulses", "center", "scale", "settings", "absolute", "spread", "record")
MOST_SETTINGS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PulseModel:
    """One perceptron with its scaling, the settings it learned from, its scale in A, its spread and its record."""

    fitted: FittedNetworks  # of one network
    settings: Float[np.ndarray, "G 5"]  # of training, each once
    absolute: AbsoluteScale
    spread: PulseSpread | None  # None where a row split left no curve unseen
    record: Mapping[str, Any]

    @property
    def config(self) -> PulseConfig:
        """Size of the perceptron."""
        return self.fitted.networks.config

    @property
    def pulses(self) -> int:
        """Pulses of the predicted trains, P."""
        return self.fitted.pulses

    def scaled(self, settings: Float[np.ndarray, "S 5"]) -> Float[np.ndarray, "S P"]:
        """Scaled read current after each pulse of trains at these settings (columns as `pulse_curves.NAMES`)."""
        return self.fitted.curves(check_settings(settings))[0]

    def current(
        self, settings: Float[np.ndarray, "S 5"], first: Float[np.ndarray, " S"] | None = None
    ) -> Float[np.ndarray, "S P"]:
        """Read current [A]; `first` are measured read currents of the devices after their first pulse [A]."""
        begin, span = self.absolute.at(check_settings(settings), first)
        curve = self.scaled(settings)
        return begin[:, None] + span[:, None] * (curve - curve[:, :1])

    def band(self, settings: Float[np.ndarray, "S 5"]) -> tuple[Float[np.ndarray, "S P"], Float[np.ndarray, "S P"]]:
        """Lower and upper ends for the scaled current of a replicate; InvalidValue without a spread."""
        if self.spread is None:
            raise InvalidValue("a model of the row split has no unseen curves and so no band; split curves instead.")
        middle, half = self.scaled(settings), self.spread.half_width(check_settings(settings))
        return middle - half, middle + half

    def relative_range(self, settings: Float[np.ndarray, "S 5"], reference: int) -> Float[np.ndarray, " S"]:
        """Ranges that one device has at the settings, over that at the setting number `reference`."""
        return self.absolute.relative_range(check_settings(settings), reference)

    def scatter(self, settings: Float[np.ndarray, "S 5"]) -> Float[np.ndarray, " S"]:
        """Standard deviation of a single increment of the scaled current, reads included; zeros without a spread."""
        settings = check_settings(settings)
        return np.zeros(len(settings)) if self.spread is None else self.spread.step(settings)

    def covers(self, settings: Float[np.ndarray, "S 5"]) -> Bool[np.ndarray, " S"]:
        """Which settings lie within the box of those of training."""
        settings, slack = check_settings(settings), 1e-9
        low, high = self.settings.min(axis=0), self.settings.max(axis=0)
        return ((settings >= low - slack) & (settings <= high + slack)).all(axis=1)

    def save(self, folder: str | Path) -> None:
        """Write `weights.safetensors` and `pulse_model.json`; InvalidValue where something else is in the folder."""
        target = Folder.at(str(check_model_target(folder)))
        document = {
            "format": FORMAT,
            "memflux": __version__,
            "config": dataclasses.asdict(self.config),
            "pulses": self.pulses,
            "center": self.fitted.center[0].tolist(),
            "scale": self.fitted.scale[0].tolist(),
            "settings": self.settings.tolist(),
            "absolute": self.absolute.to_dict(),
            "spread": None if self.spread is None else self.spread.to_dict(),
            "record": dict(self.record),
        }
        target.create()
        target.write(WEIGHTS, weights_of(self.fitted.networks))
        target.write(DOCUMENT, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The model of a folder, rebuilt from JSON and its weights loaded strictly; DataError where it is damaged."""
        path = Path(folder) / DOCUMENT
        if not path.is_file():
            raise DataError(f"{folder} holds no {DOCUMENT}; give a folder that memflux pulses train wrote.")
        try:
            document = json.loads(Folder.at(str(folder)).read(DOCUMENT))
        except ValueError as error:
            raise DataError(f"{path} is not JSON ({error}); copy or train the model again.") from None
        check_keys(document, KEYS, str(path))
        if document["format"] != FORMAT:
            raise DataError(
                f"{path} has format {document['format']!r} and this memflux reads {FORMAT}; train it again."
            )
        try:
            model = cls._from_document(document)
        except (InvalidValue, TypeError, KeyError, AttributeError) as error:
            reason = str(error).rstrip(".")
            raise DataError(f"{path} is not usable: {reason}; copy or train the model again.") from None
        load_weights(folder, model.fitted.networks)
        model.fitted.networks.requires_grad_(False)
        return model

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Self:
        """Everything but the weights, which stay on the meta device until they are loaded."""
        config = PulseConfig(**document["config"])
        pulses = check_integer("pulses", document["pulses"], low=2, high=MOST_PULSES)
        with torch.device("meta"):
            networks = PulseNetworks(config, 1)
        scale = check_numbers("scale", vector("scale", document["scale"], 6), low=1e-12, high=1e12)
        fitted = FittedNetworks(
            networks=networks, center=vector("center", document["center"], 6)[None], scale=scale[None], pulses=pulses
        )
        spread = document["spread"]
        return cls(
            fitted=fitted,
            settings=check_settings(document["settings"]),
            absolute=AbsoluteScale.from_dict(document["absolute"]),
            spread=None if spread is None else PulseSpread.from_dict(spread, pulses),
            record=dict(document["record"]),
        )


def check_model_target(folder: str | Path) -> Path:
    """`folder`, or InvalidValue where it holds something that is not a pulse model."""
    target = Path(folder)
    if target.exists() and not (target / DOCUMENT).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidValue(f"{target} exists and holds no pulse model; give a new or empty folder.")
    return target


def check_settings(settings: object) -> Float[np.ndarray, "S 5"]:
    """Settings [S, 5] as float64, each column within its bounds, or InvalidValue that names the column."""
    array = check_numbers("settings", settings, low=-1e4, high=1e4, ndim=2)
    if array.shape[1] != len(NAMES) or not 1 <= len(array) <= MOST_SETTINGS:
        raise InvalidValue(f"settings has shape {array.shape}; give 1 to {MOST_SETTINGS} rows of {', '.join(NAMES)}.")
    for k, (name, (low, high), unit) in enumerate(zip(NAMES, BOUNDS, UNITS, strict=True)):
        check_numbers(name, array[:, k], low=low, high=high, unit=unit)
    return array


def train_model(
    curves: PulseCurves,
    config: PulseConfig,
    recipe: PulseRecipe,
    split: str = "curves",
    seed: int = 0,
    progress: Progress | None = None,
) -> PulseModel:
    """A model of the first of five folds, split 3:1:1, with its errors on the three parts in its record."""
    parts = folds(curves, split, seed=seed)
    parts = Folds(split=split, train=parts.train[:1], validation=parts.validation[:1], test=parts.test[:1])
    began = time.perf_counter()
    fitted = fit_networks(curves, parts.train, config, recipe, seed, progress)
    error = fitted.curves(curves.unique_settings)[0, curves.setting] - curves.scaled
    known = parts.train[0].any(axis=1)
    record = {
        "seed": seed,
        "split": split,
        "remark": LEAKS[split],
        "recipe": {"kind": type(recipe).__name__, **dataclasses.asdict(recipe)},
        "curves": len(curves),
        "test_curves": [] if split == "rows" else curves.ids[parts.test[0].any(axis=1)].tolist(),
        "seconds": time.perf_counter() - began,
        "mse": {part: float((error[getattr(parts, part)[0]] ** 2).mean()) for part in ("train", "validation", "test")},
    }
    spread = None
    if split != "rows":
        held = parts.validation[0].any(axis=1)
        spread = PulseSpread.fit(curves.take(known), error[known], curves.take(held), error[held])
    learned = curves.take(known)
    if not all(math.isfinite(value) for value in record["mse"].values()):
        raise InvalidValue("training diverged: an error is not finite; give a smaller learning rate.")
    return PulseModel(
        fitted=fitted, settings=learned.unique_settings, absolute=AbsoluteScale.fit(learned), spread=spread,
        record=record,
    )  # fmt: skip
