"""Which settings decide: three rankings, which should agree before anyone believes one.

* variance: fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) on a random forest, as Optuna computes it;
* gain: what each setting contributes to a gradient-boosted model of the error, which says how well it predicts
  trials that it was not fitted to (R2);
* permutation: how much worse that model predicts held-out trials when a setting is shuffled (ten times).

The error enters as its logarithm: it spans decades, and a trial that diverged must not decide alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from jaxtyping import Float
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from memflux.errors import InvalidValue
from memflux.platform.tuning.journal import value_of

FEWEST = 12  # trials below which no ranking is worth its name
ENOUGH = 40  # complete trials from which pruned ones are left out
FOLDS, REPEATS = 5, 10
TREES = {"n_estimators": 200, "max_depth": 3, "learning_rate": 0.05, "subsample": 0.7}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Importances:
    """Three rankings of the same settings, each adding up to 1, or all zero where nothing matters."""

    names: tuple[str, ...]
    variance: Float[np.ndarray, " P"]
    gain: Float[np.ndarray, " P"]
    permutation: Float[np.ndarray, " P"]
    r2: float  # of the boosted model, on trials that it was not fitted to
    trials: int
    pruned: int  # of these, counted with the error at which they were ended

    @property
    def order(self) -> list[int]:
        """Places in `names`, the most important on the mean of the three first."""
        return np.argsort(-(self.variance + self.gain + self.permutation), kind="stable").tolist()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the most important first."""
        rows = [
            {
                "setting": self.names[k],
                "variance": float(self.variance[k]),
                "gain": float(self.gain[k]),
                "permutation": float(self.permutation[k]),
            }
            for k in self.order
        ]
        return {"r2": self.r2, "trials": self.trials, "pruned": self.pruned, "settings": rows}


def importances(trials: Sequence[FrozenTrial], seed: int = 0) -> Importances:
    """Rank the settings of a study by its trials, one objective.

    Failed trials say nothing here. Where few are complete, pruned ones count with their last error. Raises
    InvalidValue for fewer than 12, and where all have the same error.
    """
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    pruned = [t for t in trials if t.state == TrialState.PRUNED and t.intermediate_values]
    used = complete if len(complete) >= ENOUGH else complete + pruned
    errors = np.array([value_of(t) for t in used])
    sound = (errors > 0) & (errors < np.inf)
    used, errors = [t for t, keep in zip(used, sound, strict=True) if keep], errors[sound]
    if len(used) < FEWEST or np.ptp(errors) == 0:
        raise InvalidValue(f"{len(used)} trials with different errors are too few to rank settings; run {FEWEST}.")
    names = tuple(sorted(used[0].distributions))
    target = np.log(errors)
    table, owner = _table(used, names)
    gain, shuffled, r2 = _boosted(table, owner, target, len(names), seed)
    return Importances(
        names=names,
        variance=_variance(used, names, target, seed),
        gain=gain,
        permutation=shuffled,
        r2=r2,
        trials=len(used),
        pruned=sum(t.state == TrialState.PRUNED for t in used),
    )


def _variance(
    trials: Sequence[FrozenTrial], names: Sequence[str], target: np.ndarray, seed: int
) -> Float[np.ndarray, " P"]:
    # Optuna's integrates along the value even where it is drawn in its logarithm, and takes the choices of a setting
    # for independent columns: a learning rate got 0.43 of a variance of which it makes 0.78.
    distributions = {n: _numeric(trials[0].distributions[n]) for n in names}
    study = optuna.create_study(study_name="importances")
    for trial, value in zip(trials, target, strict=True):
        params = {n: _number(trial.distributions[n], trial.params[n]) for n in names}
        study.add_trial(create_trial(params=params, distributions=distributions, value=float(value)))
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed)
    )
    return _shares(np.array([found.get(name, 0.0) for name in names]))


def _boosted(
    table: Float[np.ndarray, "N C"], owner: np.ndarray, target: np.ndarray, count: int, seed: int
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"], float]:
    """Gain and permutation importance of each setting, R2 on held-out trials; `owner` is the setting of a column."""
    gain, loss, predicted = np.zeros(count), np.zeros(count), np.zeros(len(target))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(table):
        model = GradientBoostingRegressor(random_state=seed, **TREES).fit(table[train], target[train])
        predicted[test] = model.predict(table[test])
        gain += np.bincount(owner, model.feature_importances_, minlength=count)
        loss += _permuted(model, table[test], owner, target[test], count, seed)
    return _shares(gain), _shares(loss.clip(0.0)), float(r2_score(target, predicted))


def _permuted(
    model: GradientBoostingRegressor, table: np.ndarray, owner: np.ndarray, target: np.ndarray, count: int, seed: int
) -> Float[np.ndarray, " P"]:
    """Rise of the squared error when a setting, with all of its columns, is shuffled among the trials."""
    draw = np.random.default_rng(seed)
    before = np.mean((model.predict(table) - target) ** 2)
    rise = np.zeros(count)
    for setting in range(count):
        columns = owner == setting
        for _ in range(REPEATS):
            shuffled = table.copy()
            shuffled[:, columns] = table[draw.permutation(len(table))][:, columns]
            rise[setting] += np.mean((model.predict(shuffled) - target) ** 2) - before
    return rise * len(table)


def _table(trials: Sequence[FrozenTrial], names: Sequence[str]) -> tuple[Float[np.ndarray, "N C"], np.ndarray]:
    """Settings as numbers: logarithms where they are drawn so, a column a choice; and the setting of each column."""
    columns, owner = [], []
    for place, name in enumerate(names):
        distribution = trials[0].distributions[name]
        values = [trial.params[name] for trial in trials]
        if isinstance(distribution, CategoricalDistribution):
            columns += [[float(v == choice) for v in values] for choice in distribution.choices]
            owner += [place] * len(distribution.choices)
            continue
        columns.append([float(_number(distribution, v)) for v in values])
        owner.append(place)
    return np.array(columns).T, np.array(owner)


def _numeric(distribution: BaseDistribution) -> BaseDistribution:
    """Where `_number` lies."""
    if isinstance(distribution, CategoricalDistribution):
        return IntDistribution(0, len(distribution.choices) - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return FloatDistribution(_number(distribution, distribution.low), _number(distribution, distribution.high))


def _number(distribution: BaseDistribution, value: Any) -> int | float:
    """A setting as it is drawn evenly: the place of a choice, the logarithm of what is drawn so."""
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.choices.index(value))
    return float(np.log(value)) if getattr(distribution, "log", False) else float(value)


def _shares(values: np.ndarray) -> Float[np.ndarray, " P"]:
    total = values.sum()
    return values / total if total > 0 else np.zeros(len(values))
