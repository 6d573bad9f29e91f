"""Learning pulse trains, by either recipe."""

import numpy as np
import pytest

from measured_trains import made_up
from memflux.errors import InvalidValue
from memflux.training.pulse_folds import folds
from memflux.training.pulse_mlp import PulseConfig
from memflux.training.pulse_training import PublishedRecipe, SummedRecipe, fit_networks


def mse(fitted, curves):
    return float(((fitted.curves(curves.unique_settings)[:, curves.setting] - curves.scaled) ** 2).mean())


@pytest.mark.parametrize(
    ("recipe", "share"),
    [(SummedRecipe(steps=150), 0.6), (PublishedRecipe(epochs=200, learning_rate=3e-3, dropout=0.0), 1.0)],
)
def test_both_recipes_learn_the_shape(recipe, share):
    curves = made_up(noise=0.001)  # single increments drown in more
    fitted = fit_networks(curves, folds(curves, "curves").train[:2], PulseConfig(), recipe)
    predicted = fitted.curves(curves.unique_settings)
    assert predicted.shape == (2, 5, 30)
    np.testing.assert_array_equal(predicted[..., 0], 0.0)
    scatter = float(((curves.scaled - curves.scaled.mean(axis=0)) ** 2).mean())
    assert mse(fitted, curves) < share * scatter


def test_members_learn_alone():
    """What a network learns does not depend on those that learn beside it, but for its first weights."""
    curves = made_up()
    train = folds(curves, "curves").train
    one = fit_networks(curves, train[:1], PulseConfig(width=8), SummedRecipe(steps=20))
    two = fit_networks(curves, np.stack([train[0], train[0]]), PulseConfig(width=8), SummedRecipe(steps=20))
    assert one.center.shape == (1, 6)
    np.testing.assert_allclose(two.center[0], one.center[0])
    assert mse(two, curves) < 2.0 * mse(one, curves)


def test_the_same_seed_learns_the_same():
    curves = made_up(replicates=2)
    train = folds(curves, "curves").train[:1]
    for recipe in (SummedRecipe(steps=20), PublishedRecipe(epochs=2)):
        first = fit_networks(curves, train, PulseConfig(), recipe, seed=3).curves(curves.unique_settings)
        again = fit_networks(curves, train, PulseConfig(), recipe, seed=3).curves(curves.unique_settings)
        np.testing.assert_array_equal(again, first)
        other = fit_networks(curves, train, PulseConfig(), recipe, seed=4).curves(curves.unique_settings)
        assert (other != first).any()


def test_masked_pulses_are_not_learned():
    curves = made_up(replicates=2)
    train = np.ones((1, *curves.current.shape), dtype=bool)
    train[:, 3] = False
    spoiled = curves.current.copy()
    spoiled[3] = spoiled[3, ::-1]
    other = type(curves)(ids=curves.ids, settings=curves.settings, current=spoiled)
    recipe = SummedRecipe(steps=20)
    np.testing.assert_array_equal(
        fit_networks(other, train, PulseConfig(), recipe).curves(curves.unique_settings),
        fit_networks(curves, train, PulseConfig(), recipe).curves(curves.unique_settings),
    )


def test_progress_is_told():
    curves, told = made_up(replicates=1), []
    train = np.ones((1, *curves.current.shape), dtype=bool)
    fit_networks(curves, train, PulseConfig(), SummedRecipe(steps=20), progress=lambda *x: told.append(x))
    assert told == [(k, 20) for k in range(1, 21)]


def test_an_empty_training_part():
    curves = made_up(replicates=1)
    with pytest.raises(InvalidValue, match="has no pulse"):
        fit_networks(curves, np.zeros((1, *curves.current.shape), dtype=bool), PulseConfig(), SummedRecipe())


@pytest.mark.parametrize(
    "make", [lambda: SummedRecipe(steps=0), lambda: PublishedRecipe(dropout=1.0), lambda: SummedRecipe(average=1.0)]
)
def test_recipes_are_checked(make):
    with pytest.raises(InvalidValue):
        make()
