import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memflux.analysis.crossbar.analogue import (
    AnalogueResult,
    Levels,
    against_imperfections,
    analogue_network,
    from_pairs,
    to_pairs,
)
from memflux.analysis.crossbar.bitmaps import Images
from memflux.analysis.crossbar.lines import Lines, dot
from memflux.analysis.crossbar.networks import Training, train
from memflux.errors import InvalidValue

IMAGES = Images(inputs=np.eye(6)[:3] + np.eye(6)[3:], labels=np.arange(3))


@pytest.fixture(scope="module")
def network():
    return train(IMAGES.inputs, IMAGES.labels, Training(hidden=(8,), epochs=300, learning_rate=1e-2), seed=0)


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None)
def test_pairs_stand_for_their_weights(seed, rows, columns):
    weights = np.random.default_rng(seed).normal(size=(rows, columns))
    levels = Levels()
    conductances, unit = to_pairs(weights, levels)
    assert from_pairs(conductances, unit) == pytest.approx(weights, abs=1e-9)
    assert conductances.min() >= levels.low
    assert conductances.max() == pytest.approx(levels.high)
    assert (conductances.min(axis=-1) == levels.low).all()  # one cell of a pair is in its lowest level


def test_two_levels_are_three_weights():
    weights = np.array([[-1.0, -0.4, 0.1, 0.6, 1.0]])
    assert from_pairs(*to_pairs(weights, Levels(count=2))) == pytest.approx(np.array([[-1, 0, 0, 1, 1]]), abs=1e-12)


def test_zeros_are_pairs_of_equals():
    conductances, unit = to_pairs(np.zeros((2, 2)), Levels())
    assert (unit, np.ptp(conductances)) == (0.0, 0.0)


def test_the_spread_is_that_of_the_logarithm():
    conductances, _ = to_pairs(np.ones((200, 200)), Levels(spread=0.3), seed=1)
    logs = np.log(conductances[..., 0] * 519.0)
    assert logs.mean() == pytest.approx(0.0, abs=0.01)
    assert logs.std() == pytest.approx(0.3, rel=0.02)


def test_perfect_arrays_compute_the_network(network):
    found = analogue_network(network, Levels())
    assert found.scores(IMAGES.inputs) == pytest.approx(network.scores(IMAGES.inputs), rel=1e-9)


@pytest.mark.parametrize("lines", [None, Lines(row=20.0, column=5.0)])
def test_a_layer_is_the_currents_of_its_array(network, lines):
    levels = Levels(count=8)
    conductances, unit = to_pairs(np.vstack([network.weights[0], network.biases[0]]), levels)
    read = 0.1  # V
    voltages = read * np.hstack([IMAGES.inputs, np.ones((3, 1))])
    currents = dot(conductances.reshape(7, -1), voltages, lines).reshape(3, -1, 2)
    sums = (currents[..., 0] - currents[..., 1]) * unit / read
    ours = analogue_network(network, levels, lines)
    assert sums == pytest.approx(IMAGES.inputs @ ours.weights[0] + ours.biases[0], rel=1e-9, abs=1e-12)


def test_the_study(network, tmp_path):
    result = against_imperfections(network, IMAGES, arrays=2)
    assert result.by_level[-1] == result.by_spread[0] == result.by_ohms[0] == result.float_accuracy == 1.0
    result.to_json(tmp_path / "a.json")
    assert AnalogueResult.from_json(tmp_path / "a.json").to_dict() == result.to_dict()


def test_misuse_is_one_sentence():
    with pytest.raises(InvalidValue, match="not below high"):
        Levels(low=1e-2)
    with pytest.raises(InvalidValue, match="count = 1"):
        Levels(count=1)
    with pytest.raises(InvalidValue, match="not finite"):
        to_pairs(np.array([[np.inf]]), Levels())
