import subprocess
import sys

import numpy as np
import pytest

from memflux.analysis.crossbar.networks import (
    Network,
    Training,
    ambiguous,
    flip_pixels,
    flipped,
    margin,
    quantise_network,
    train,
    train_quantised,
)
from memflux.errors import InvalidValue

IMAGES = np.eye(6)[:3] + np.eye(6)[3:]  # three images of two pixels
LABELS = np.arange(3)
SMALL = Training(hidden=(8,), epochs=300, learning_rate=1e-2)


def by_hand():
    weights = (np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]]))
    return Network(weights=weights, biases=(np.array([0.0, 0.5]), np.array([0.1, 0.0, 0.0])))


def test_scores_by_hand():
    scores = by_hand().scores(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert scores == pytest.approx(np.array([[1.1, 0.0, -1.0], [0.1, 3.0, 0.75]]))
    assert by_hand().predict(np.array([[1.0, 0.0], [0.0, 1.0]])).tolist() == [0, 1]


def test_training_tells_what_it_was_shown():
    network = train(IMAGES, LABELS, SMALL, seed=0)
    assert network.accuracy(IMAGES, LABELS) == 1.0
    assert margin(network, IMAGES, LABELS) > 0
    again = train(IMAGES, LABELS, SMALL, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(network.tensors, again.tensors, strict=True))


def test_margin_of_a_wrong_answer_is_negative():
    assert margin(by_hand(), np.array([[1.0, 0.0]]), np.array([1])) < 0


def test_bits_go_out_and_come_back():
    quantised = quantise_network(train(IMAGES, LABELS, SMALL, seed=1), 5)
    bits = quantised.to_bits()
    assert bits.size == 5 * (6 * 8 + 8 + 8 * 3 + 3)
    back = quantised.with_bits(bits)
    assert np.array_equal(back.words, quantised.words)
    worse = quantised.with_bits(~bits)
    assert np.array_equal(worse.words, ~quantised.words)  # of two's complement


def test_many_bits_are_the_network_and_integers_are_integers():
    network = train(IMAGES, LABELS, SMALL, seed=2)
    fine = quantise_network(network, 24)
    for ours, theirs in zip(fine.network().tensors, network.tensors, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6 * np.abs(theirs).max())
    for tensor in quantise_network(network, 3).network(scaled=False).tensors:
        assert np.array_equal(tensor, np.round(tensor))
        assert -4 <= tensor.min() <= tensor.max() <= 3


def test_more_starts_are_never_worse():
    few = Training(hidden=(3,), epochs=30, learning_rate=1e-2)
    merits = []
    for starts in (1, 6):
        _, quantised = train_quantised(IMAGES, LABELS, few, 3, starts=starts)
        found = quantised.network()
        merits.append((found.accuracy(IMAGES, LABELS), margin(found, IMAGES, LABELS)))
    assert merits[1] >= merits[0]


def test_every_single_flip():
    images, labels = flipped(IMAGES, LABELS)
    assert images.shape == (18, 6)
    assert labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    differs = images != np.repeat(IMAGES, 6, axis=0)
    assert (differs.sum(axis=1) == 1).all()
    assert (differs.reshape(3, 6, 6).sum(axis=1) == 1).all()  # each pixel of each image


def test_flips_that_nobody_can_tell():
    images, labels = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.arange(3)
    assert ambiguous(*flipped(images, labels), images, labels) == 4
    assert ambiguous(images, labels, images, labels) == 0


def test_pixels_that_are_flipped_at_random():
    inputs = np.random.default_rng(0).random((50, 20))
    for pixels in (0, 3, 20):
        changed = flip_pixels(inputs, pixels, seed=1)
        assert ((changed != inputs).sum(axis=1) == pixels).all()
        assert changed[changed != inputs] == pytest.approx(1 - inputs[changed != inputs])


def test_misuse_is_one_sentence():
    with pytest.raises(InvalidValue, match="at least three classes"):
        train(IMAGES, np.array([0, 1, 1]), SMALL, seed=0)
    with pytest.raises(InvalidValue, match="at least three classes"):
        train(IMAGES, np.array([1, 2, 3]), SMALL, seed=0)
    with pytest.raises(InvalidValue, match="hidden"):
        Training(hidden=())
    with pytest.raises(InvalidValue, match="hidden = 0"):
        Training(hidden=(0,))
    with pytest.raises(InvalidValue, match="at most 20000000"):
        train(IMAGES, LABELS, Training(hidden=(100_000, 100_000)), seed=0)
    with pytest.raises(InvalidValue, match="pixels = 7"):
        flip_pixels(IMAGES, 7, seed=0)
    with pytest.raises(InvalidValue, match="starts"):
        train_quantised(IMAGES, LABELS, SMALL, 3, starts=0)


def test_without_scikit_learn_the_remedy_is_told():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from memflux.errors import MissingDependency\n"
        "try:\n    import memflux.analysis.crossbar.networks\n"
        "except MissingDependency as error:\n    print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'memflux[analysis]'" in found.stdout
