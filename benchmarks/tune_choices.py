"""Samplers and pruners beside each other, on emulated trainings: the grounds for what `platform/tuning/study.py` takes.

The random studies of tune_quality.py, some 300 trainings a model, make a Gaussian process of the logarithm of the error
at some looks, given the settings. It answers in a millisecond, so that dozens of studies of each kind cost minutes.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import cross_val_score

import harness
import tune_quality
from harness import Row
from memflux.platform.tuning import study as real
from memflux.training.search_space import PRESETS
from memflux.training.setting import Among, Setting

LOOKS = (5, 8, 10, 16, 20, 25, 33, 41, 50, 66, 83, 100)  # percent of a training
STUDIES = 16

Sampler = Callable[[int], optuna.samplers.BaseSampler]
Pruner = Callable[[], optuna.pruners.BasePruner]


def tpe(**options: object) -> Sampler:
    """TPE after ten random trials."""
    return lambda seed: optuna.samplers.TPESampler(
        seed=seed, **{"n_startup_trials": real.RANDOM, "multivariate": False, **options}
    )


def halving(first: int, factor: int) -> Pruner:
    """Successive halving from so many percent, one trial in `factor` kept."""
    return lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)


KINDS: Mapping[str, tuple[Sampler, Pruner]] = {
    "ours (tpe, asha)": (lambda seed: real._sampler("tpe", seed), lambda: real._pruner("asha")),
    "TPE, no pruner": (tpe(), optuna.pruners.NopPruner),
    "TPE, first 10 %, one in 3": (tpe(), halving(10, 3)),
    "TPE, first 5 %, one in 4": (tpe(), halving(5, 4)),
    "TPE, first 20 %, one in 4": (tpe(), halving(20, 4)),
    "TPE after 20 random trials, first 10 %, one in 4": (tpe(n_startup_trials=20), halving(10, 4)),
    "TPE multivariate, first 10 %, one in 3": (tpe(multivariate=True), halving(10, 3)),
    "random, first 10 %, one in 4": (lambda seed: optuna.samplers.RandomSampler(seed=seed), halving(10, 4)),
}


def spectral(quick: bool) -> Iterator[Row]:
    """spectral: kinds of studies"""
    yield from _kinds("spectral", quick)


def lstm(quick: bool) -> Iterator[Row]:
    """LSTM: kinds of studies"""
    yield from _kinds("lstm", quick)


def _kinds(model: str, quick: bool) -> Iterator[Row]:
    emulator = Emulator(model, quick)
    yield Row(what=f"{model}, emulation of the final error: R2, cross-validated", value=emulator.r2, unit="1",
              note=f"logarithm; {emulator.count} trainings")  # fmt: skip
    for percent, agreement in emulator.ranks.items():
        yield Row(what=f"{model}, trainings: Spearman's rank correlation of the error at {percent} % with the last",
                  value=agreement, unit="1", better="higher")  # fmt: skip
    seeds = range(2 if quick else STUDIES)
    random = [_study(emulator, optuna.samplers.RandomSampler, optuna.pruners.NopPruner(), seed) for seed in seeds]
    for name, (sampler, pruner) in KINDS.items():
        runs = [_study(emulator, sampler, pruner(), seed) for seed in seeds]
        ratios = []
        for ours, other in zip(runs, random, strict=True):
            target = max(ours.best, other.best)
            ratios.append(other.epochs_to(target) / ours.epochs_to(target))
        low, high = np.quantile(ratios, (0.25, 0.75))
        cost = np.mean([run.spent[-1] for run in runs]) / np.mean([run.spent[-1] for run in random])
        best = f"{100 * np.median([a.best for a in runs]):.3g} and {100 * np.median([b.best for b in random]):.3g} %"
        note = f"quartiles {low:.2f} and {high:.2f}; best {best}; all trials cost {cost:.2f} of random's"
        yield Row(what=f"{model}, emulated, {name}: times fewer epochs than random", value=np.median(ratios), unit="1",
                  better="higher", note=note)  # fmt: skip


class Emulator:
    """The error of a training at its looks, given the settings."""

    def __init__(self, model: str, quick: bool) -> None:
        self.space, self.epochs = PRESETS[model].search, tune_quality.EPOCHS[model]
        studies = tune_quality._studies(model, "random", 1 if quick else tune_quality.SEEDS, quick)
        done = [trial for study in studies for trial in study if trial.values]
        self.count = len(done)
        places = np.array([self._place(trial.params) for trial in done])
        errors = np.log([[min(_error_at(trial, percent), 1.0) for percent in LOOKS] for trial in done])
        self.ranks = {
            percent: float(spearmanr(errors[:, LOOKS.index(percent)], errors[:, -1]).statistic)
            for percent in (10, 33, 50)
        }
        self.mean, self.deviation = errors.mean(axis=0), errors.std(axis=0)
        scaled = (errors - self.mean) / self.deviation
        kernel = ConstantKernel() * Matern(np.ones(places.shape[1]), (0.05, 30.0), nu=2.5) + WhiteKernel(
            0.05, (1e-3, 1)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # lengths at their bounds: settings without effect
            self._fits = [GaussianProcessRegressor(kernel, random_state=0).fit(places, y) for y in scaled.T]
        last = GaussianProcessRegressor(self._fits[-1].kernel_, optimizer=None)
        self.r2 = float(cross_val_score(last, places, scaled[:, -1], cv=8).mean())

    def curve(self, params: Mapping[str, object], generator: np.random.Generator) -> np.ndarray:
        """The errors after each percent of an epoch, with half of the noise of trainings of equal settings."""
        place, luck = np.array([self._place(params)]), 0.5 * generator.standard_normal()
        signal = [float((fit.kernel_.k1(place, fit.X_train_) @ fit.alpha_)[0]) for fit in self._fits]
        noise = [luck * math.sqrt(fit.kernel_.k2.noise_level) for fit in self._fits]
        logarithms = self.mean + self.deviation * np.add(signal, noise)
        return np.exp(np.interp([100 * epoch // self.epochs for epoch in range(1, self.epochs + 1)], LOOKS, logarithms))

    def _place(self, params: Mapping[str, object]) -> list[float]:
        return [x for name, setting in self.space.items() for x in _coordinates(setting, params[name])]


def _coordinates(setting: Setting, value: object) -> list[float]:
    if isinstance(setting, Among):
        return [float(value == other) for other in setting.values[1:]]
    low, high, x = (math.log(v) if setting.log else float(v) for v in (setting.low, setting.high, value))  # type: ignore[arg-type]
    return [(x - low) / (high - low)]


def _error_at(trial: FrozenTrial, percent: int) -> float:
    if percent == 100:
        return trial.values[0]
    looks = trial.intermediate_values
    return looks[max((p for p in looks if p <= percent), default=min(looks))]


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """A study: epochs after each trial, and the errors of the complete ones."""

    spent: list[int]
    errors: list[float]  # infinite where a trial was ended early

    @property
    def best(self) -> float:
        """The lowest error."""
        return min(self.errors)

    def epochs_to(self, target: float) -> int:
        """Epochs up to the first trial that is as good."""
        return next(s for s, e in zip(self.spent, self.errors, strict=True) if e <= target)


def _study(emulator: Emulator, sampler: Sampler, pruner: optuna.pruners.BasePruner, seed: int) -> Spent:
    """As `Study` asks and tells."""
    study, result = optuna.create_study(pruner=pruner), Spent([], [])
    for number in range(tune_quality.TRIALS):
        study.sampler = sampler(real._seed(seed, number, 0))
        trial = study.ask()
        for name, setting in emulator.space.items():
            real._draw(trial, name, setting)
        curve = emulator.curve(trial.params, np.random.default_rng([seed, number]))
        epoch, pruned = 0, False
        while epoch < emulator.epochs and not pruned:
            percent = 100 * (epoch + 1) // emulator.epochs
            trial.report(curve[epoch], percent)
            pruned = percent <= real.LATEST and trial.should_prune()
            epoch += 1
        study.tell(trial, None if pruned else curve[-1], TrialState.PRUNED if pruned else TrialState.COMPLETE)
        result.spent.append(epoch + (result.spent[-1] if result.spent else 0))
        result.errors.append(math.inf if pruned else float(curve[-1]))
    return result


if __name__ == "__main__":
    harness.run("tune_choices", [spectral, lstm])
