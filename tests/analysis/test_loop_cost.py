"""The distance from loops over a model's parameters."""

import numpy as np
import pytest

from memflux.analysis.loop_cost import LoopCost, scale_of, thinned, usual
from memflux.compact import GMMS, KEYS, MODELS, IonDrift
from memristors import EXAMPLES, loops_of


@pytest.mark.parametrize("from_rest", [False, True])
@pytest.mark.parametrize("kind", MODELS, ids=KEYS)
def test_the_gradient_is_that_of_the_cost(kind, from_rest):
    truth = next(m for m in EXAMPLES if isinstance(m, kind))
    problem = LoopCost(kind, loops_of(truth, samples=100), {}, 1, from_rest, None, 1)
    generator = np.random.default_rng(0)
    log = problem.log[: truth.values.size]
    along = np.append(np.where(log, np.log(np.abs(truth.values)), truth.values), [0.3] * from_rest)
    unit = (along - problem.low) / (problem.high - problem.low) + generator.normal(0.0, 0.01, along.size)
    cost, gradient = problem.log_cost_and_gradient(unit)
    assert np.log(1e-6) < cost < np.log(10.0)
    direction = generator.normal(size=unit.size)
    step = 1e-6 * direction
    ends = [problem.log_cost_and_gradient(unit + sign * step)[0] for sign in (1, -1)]
    assert gradient @ direction == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_what_is_usually_held():
    assert usual(GMMS) == {"beta": pytest.approx(38.68, rel=1e-3), "phi": 0.5}
    assert usual(IonDrift) == {}


def test_loops_arethinned_evenly():
    loops = loops_of(EXAMPLES[0], samples=200)
    assert thinned(loops, 125).source.shape == (3, 200)
    assert thinned(loops, 100).source.shape == (3, 100)
    assert thinned(loops, 500).source.shape == (3, 200)
    assert scale_of(loops).volt == pytest.approx(1.0)
