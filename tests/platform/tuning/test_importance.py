"""Importances of a synthetic error whose truth is known."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from memflux.errors import InvalidValue
from memflux.platform.tuning.importance import importances

DISTRIBUTIONS = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "kind": CategoricalDistribution(("a", "b", "c")),
    "width": IntDistribution(8, 128),
    "nothing": FloatDistribution(0.0, 1.0),
}
WEIGHTS = {"rate": 2.0, "kind": 1.0, "width": 0.4, "nothing": 0.0}  # deviation of ln(error) that each one makes


def trials(count, seed=0, pruned=()):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        params = {
            "rate": float(10 ** rng.uniform(-4, -1)),
            "kind": str(rng.choice(["a", "b", "c"])),
            "width": int(rng.integers(8, 129)),
            "nothing": float(rng.uniform()),
        }
        unit = {
            "rate": (np.log10(params["rate"]) + 2.5) / np.sqrt(0.75),
            "kind": ("abc".index(params["kind"]) - 1.0) / np.sqrt(2.0 / 3.0),
            "width": (params["width"] - 68.0) / 35.0,
            "nothing": 0.0,
        }
        error = float(0.01 * np.exp(sum(WEIGHTS[k] * unit[k] for k in WEIGHTS) + 0.05 * rng.normal()))
        if number in pruned:
            found.append(
                create_trial(
                    state=TrialState.PRUNED,
                    params=params,
                    distributions=DISTRIBUTIONS,
                    intermediate_values={5: 9.0, 10: error},
                )
            )
        else:
            found.append(create_trial(params=params, distributions=DISTRIBUTIONS, value=error))
    return found


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_three_rankings_agree_with_the_truth(seed):
    ranks = importances(trials(150, seed), seed)
    truth = np.array([WEIGHTS[name] ** 2 for name in ranks.names])
    truth /= truth.sum()
    for shares in (ranks.variance, ranks.gain, ranks.permutation):
        assert shares.sum() == pytest.approx(1.0)
        assert np.array_equal(np.argsort(-shares), np.argsort(-truth))
        assert shares == pytest.approx(truth, abs=0.1)
    assert ranks.r2 > 0.85
    assert [row["setting"] for row in ranks.to_dict()["settings"]] == ["rate", "kind", "width", "nothing"]


def test_pruned_trials_count_where_few_are_complete():
    some = importances(trials(60, pruned=range(40)))
    assert (some.trials, some.pruned) == (60, 40)
    assert some.names[some.order[0]] == "rate"
    many = importances(trials(60, pruned=range(15)))
    assert (many.trials, many.pruned) == (45, 0)


def test_failed_trials_and_those_without_a_finite_error_are_left_out():
    bad = [
        create_trial(state=TrialState.FAIL),
        create_trial(
            state=TrialState.PRUNED, params=trials(1)[0].params, distributions=DISTRIBUTIONS,
            intermediate_values={5: float("inf")},
        ),
    ]  # fmt: skip
    assert importances([*trials(30), *bad]).trials == 30


def test_too_few_trials():
    with pytest.raises(InvalidValue, match="11 trials with different errors are too few"):
        importances(trials(11))
    same = [create_trial(params=t.params, distributions=DISTRIBUTIONS, value=0.5) for t in trials(20)]
    with pytest.raises(InvalidValue, match="too few to rank"):
        importances(same)
