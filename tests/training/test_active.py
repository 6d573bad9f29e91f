"""Active learning on the compact model: what is chosen, when it ends, and that the verdict stays unbiased."""

import dataclasses

import numpy as np
import pytest

from memflux import designs
from memflux.dataset import Dataset
from memflux.errors import InvalidValue
from memflux.rows import Method, drive_family, rows_of
from memflux.shards import Manifest
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training import active
from memflux.training.active import HELD_OUT, Goal, choose, draw_in_proportion, guessed_error, learn, random_test
from memflux.training.data import split
from memflux.training.loop import fit
from memflux.training.schedule import Schedule
from memflux.training.spectral import SpectralConfig

SPACE = Space.preset("5d-parametric")
FIRST = 120
GOAL = Goal(target=1e-6, limit=180, round=30, candidates=600)


def data_of(index, failing=lambda unit: np.zeros(len(unit), dtype=bool), count=FIRST):
    """A data set of draws of the published design, seed 3, solved by the compact model; some may fail."""
    index = np.asarray(index)
    devices, drive = designs.at(SPACE, "published", index, 3)
    traces = StandIn(samples=8)(devices, drive)
    bad = failing(SPACE.coordinates(devices, drive))
    classes = np.where(bad, "diverged", traces.status_class.astype(object))
    current = np.where(bad[:, None], np.nan, traces.current)
    traces = dataclasses.replace(traces, current=current, status_class=classes)
    manifest = Manifest(
        recipe={"design": "published", "seed": 3},
        space=SPACE,
        drive=drive_family(drive),
        samples=8,
        cycles=2,
        count=count,
        shard_size=16,
        method=Method(),
    ).choosing(index.tolist(), count)
    rows = rows_of(index, devices, drive.for_batch(len(index)), traces, Method(), {"wall_time_s": 0.5})
    return Dataset.of(manifest, rows)


def train(data, members=3, fractions=HELD_OUT):
    config = SpectralConfig(components=8, members=members, width=16, layers=2)
    schedule = Schedule(epochs=25, batch_size=64)
    return fit(data.devices, data.drive, data.traces, SPACE, config, schedule, fractions=fractions)


class Laboratory:
    """Simulates into memory; `asked` are the draws of each round."""

    def __init__(self, have=range(FIRST)):
        self.have, self.asked = list(have), []

    def __call__(self, draws):
        if len(draws):
            self.asked.append(list(draws))
        self.have = sorted({*self.have, *draws})
        return data_of(self.have)


@pytest.fixture(scope="module")
def begun():
    """The first data set and the surrogate trained on it."""
    data = data_of(np.arange(FIRST))
    return data, train(data)


@pytest.fixture(scope="module")
def whole():
    """An undisturbed run to its limit."""
    laboratory, told = Laboratory(), []
    outcome = learn(laboratory, train, GOAL, seed=5, tell=lambda rounds, choice: told.append((rounds, choice)))
    return laboratory, outcome, told


def test_chosen_are_new_draws_of_the_training_part(begun):
    data, surrogate = begun
    choice = choose(data, surrogate, 50, 600, seed=1)
    assert len(set(choice.draws.tolist())) == 50
    assert choice.draws.min() >= FIRST
    assert choice.draws.max() < 600
    assert split(*designs.at(SPACE, "published", choice.draws, 3), HELD_OUT).train.all()
    again = choose(data, surrogate, 50, 600, seed=1)
    np.testing.assert_array_equal(choice.draws, again.draws)
    assert not np.array_equal(choice.draws, choose(data, surrogate, 50, 600, seed=2).draws)


def test_chosen_are_those_that_the_members_disagree_on(begun):
    data, surrogate = begun
    choice = choose(data, surrogate, 400, 8000)
    guess = guessed_error(surrogate, *designs.sample(SPACE, "published", 8000, 3))
    assert choice.usual == pytest.approx(guess.mean(), rel=0.02)
    chance = guess**active.POWER
    assert choice.guess == pytest.approx((chance * guess).sum() / chance.sum(), rel=0.04)
    assert choice.guess > 1.02 * choice.usual


def test_the_guess_has_the_form_of_the_error(begun):
    _, surrogate = begun
    devices, drive = SPACE.sample(5000, seed=9)
    guess = guessed_error(surrogate, devices, drive)
    some = slice(4090, 4110)  # across the border of two chunks
    spread, answer = surrogate.spread(devices[some], drive), surrogate(devices[some], drive).current
    np.testing.assert_allclose(guess[some], 0.5 * spread.mean(1) / np.abs(answer).max(1))


def test_a_round_is_more_diverse_than_the_most_uncertain(begun):
    data, surrogate = begun
    draws = np.arange(FIRST, 4000)
    devices, drive = designs.at(SPACE, "published", draws, 3)
    points = surrogate.inputs.scale(surrogate.inputs.values(devices, drive))
    top = points[np.argsort(guessed_error(surrogate, devices, drive))[-40:]]
    chosen = points[choose(data, surrogate, 40, 4000).draws - FIRST]
    assert nearest(chosen) > 1.2 * nearest(top)


def nearest(points):
    """Mean distance of points to the nearest other."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    return (distance + np.diag(np.full(len(points), np.inf))).min(1).mean()


def test_chances_are_proportional():
    chance = np.array([0.0, 1.0, 2.0, 7.0])
    generator = np.random.default_rng(0)
    first = [int(draw_in_proportion(chance, 1, generator)[0]) for _ in range(4000)]
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, chance / 10, atol=0.03)
    assert sorted(draw_in_proportion(chance, 9, generator)) == [1, 2, 3]


def test_regions_that_fail_are_left_alone():
    def failing(unit):
        return unit[:, 0] > 0.7

    data = data_of(np.arange(FIRST), failing)
    choice = choose(data, train(data), 60, 2000)
    devices, drive = designs.at(SPACE, "published", choice.draws, 3)
    assert failing(SPACE.coordinates(devices, drive)).mean() < 0.15
    grown = data_of([*range(FIRST), *choice.draws], failing)
    assert not set(choose(grown, train(grown), 60, 2000).draws) & set(choice.draws.tolist())


def test_it_stops_at_the_limit_and_says_so(whole):
    laboratory, outcome, told = whole
    assert [len(draws) for draws in laboratory.asked] == [30, 30]
    assert [(r.devices, r.chosen, r.failed) for r in outcome.rounds] == [(120, 0, 0), (150, 30, 0), (180, 60, 0)]
    assert not outcome.reached
    assert outcome.status.startswith("target not reached, limit of 180 devices met: mean nMAE")
    assert [r.simulation_s for r in outcome.rounds] == pytest.approx([60.0, 15.0, 15.0])
    assert all(r.training_s > 0 for r in outcome.rounds)
    assert [len(rounds) for rounds, _ in told] == [1, 2, 3]
    assert [None if c is None else c.draws.tolist() for _, c in told] == [*laboratory.asked, None]


def test_the_error_is_that_of_the_same_random_devices_throughout(whole):
    laboratory, outcome, _ = whole
    assert len({r.tested for r in outcome.rounds}) == 1
    data = data_of(laboratory.have)
    rows = random_test(data, HELD_OUT)
    assert data.index[rows].max() < FIRST
    parts = split(data.devices, data.drive.for_batch(len(data)), HELD_OUT)
    assert parts.train[data.index >= FIRST].all()
    assert outcome.rounds[-1].error == pytest.approx(outcome.surrogate.test_errors["nmae"]["mean"])


def test_it_stops_at_the_target():
    laboratory = Laboratory()
    outcome = learn(laboratory, train, dataclasses.replace(GOAL, target=0.5))
    assert outcome.reached
    assert laboratory.asked == []
    assert outcome.status.startswith("target reached: mean nMAE")


def test_it_goes_on_to_the_same_choices(whole):
    undisturbed, outcome, told = whole
    laboratory = Laboratory([*range(FIRST), *undisturbed.asked[0]])
    again = learn(laboratory, train, GOAL, seed=5, rounds=told[0][0])
    assert laboratory.asked == undisturbed.asked[1:]
    assert [r.error for r in again.rounds] == [r.error for r in outcome.rounds]
    assert [r.simulation_s for r in again.rounds] == pytest.approx([60.0, 15.0, 15.0])


def test_it_ends_where_no_candidate_is_left():
    laboratory = Laboratory()
    outcome = learn(laboratory, train, dataclasses.replace(GOAL, candidates=140, limit=1000))
    assert len(laboratory.asked) == 1
    assert "no candidates left among 140 draws" in outcome.status


def test_bad_input(begun):
    data, surrogate = begun
    with pytest.raises(InvalidValue, match=r"target = 0 is out of range; give a number from 1e-09 to 1"):
        Goal(target=0.0, limit=100)
    with pytest.raises(InvalidValue, match=r"round = 0 is out of range"):
        Goal(target=0.1, limit=100, round=0)
    with pytest.raises(InvalidValue, match="fewer than two members"):
        choose(data, train(data, members=1), 5, 300)
    with pytest.raises(InvalidValue, match="no recipe"):
        choose(Dataset.of(dataclasses.replace(data.manifest, recipe={}), data.rows), surrogate, 5, 300)
    with pytest.raises(InvalidValue, match="none of the first 120 devices is a solved one of the test part"):
        learn(Laboratory(), lambda d: train(d, fractions=(0.8, 0.2, 0.0)), GOAL)


def test_an_ensemble_has_enough_members():
    assert active.ensemble_for(100).members == active.ensemble_for(5000).members == active.MEMBERS
    assert active.ensemble_for(5000).layers > active.ensemble_for(100).layers
