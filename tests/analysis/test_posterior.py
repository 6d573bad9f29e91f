"""Posterior samples of a compact model, where one parameter alone has a posterior that is known."""

import numpy as np
import pytest

from memflux.analysis.identifiability import identify
from memflux.analysis.inverse import fit_curve
from memflux.analysis.likelihood import Noise
from memflux.analysis.posterior import posterior
from memflux.contracts import CurveCost
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=20)
TRUTH = np.array([[0.4, 0.6, 0.7, 0.3, 0.55]])


@pytest.fixture(scope="module")
def asked():
    curve = MODEL(*SPACE.build(TRUTH)).cycle(-1).current[0]
    noisy = curve + Noise().of(curve) * np.random.default_rng(2).standard_normal(curve.size)
    cost = CurveCost(kind="log_curve", target=noisy)
    values = dict(zip(SPACE.names, SPACE.values(TRUTH)[0].tolist(), strict=True))
    fixed = {n: values[n] for n in ("vacancy_offset", "barrier_left", "barrier_right")}
    fit = fit_curve(MODEL, SPACE, cost, starts=8, iterations=20, polish=20, fixed=fixed)
    return cost, identify(MODEL, SPACE, cost, fit, profile=False)


def test_where_the_model_is_nearly_linear_the_posterior_is_the_normal_of_fisher_information(asked):
    cost, found = asked
    drawn = posterior(MODEL, SPACE, cost, found, walkers=32, steps=200)
    assert drawn.names == ("mobility_electron", "mobility_vacancy")
    np.testing.assert_allclose(drawn.width, found.width, rtol=0.15)
    np.testing.assert_allclose(drawn.correlation, found.correlation, atol=0.1)
    samples = np.log(drawn.samples / SPACE.values(TRUTH)[0, 1:3])  # 0 is the truth, on the logarithmic scale
    assert (np.abs(samples.mean(axis=0)) < 3.0 * samples.std(axis=0)).all()
    assert ((drawn.low < drawn.median) & (drawn.median < drawn.high)).all()
    assert 0.1 < drawn.acceptance < 0.9
    assert drawn.effective > 300
    assert "determines mobility_electron" in "\n".join(drawn.verdict)


def test_seeds_repeat_and_leave_the_global_generator_alone(asked):
    cost, found = asked
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [posterior(MODEL, SPACE, cost, found, walkers=16, steps=20, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0].samples, runs[1].samples)
    assert not np.array_equal(runs[0].samples, runs[2].samples)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_progress_ends_at_all(asked):
    cost, found = asked
    seen = []
    posterior(MODEL, SPACE, cost, found, walkers=16, steps=20, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (25, 25)


@pytest.mark.parametrize(("changes", "words"), [({"walkers": 4}, "walkers = 4"), ({"steps": 1}, "steps = 1")])
def test_bad_arguments_are_one_sentence(asked, changes, words):
    cost, found = asked
    with pytest.raises(InvalidValue, match=words):
        posterior(MODEL, SPACE, cost, found, **changes)
