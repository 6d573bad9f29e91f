import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from memflux.analysis.crossbar.weights import dequantise, from_bits, quantise, to_bits
from memflux.errors import InvalidValue


@given(st.integers(1, 32), st.data())
def test_twos_complement_round_trip(bits, data):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    words = np.array(data.draw(st.lists(st.integers(low, high), max_size=40)), dtype=np.int64)
    found = to_bits(words, bits)
    assert found.shape == (words.size, bits)
    assert np.array_equal(from_bits(found), words)
    assert np.array_equal(found[:, 0], words < 0)


@given(st.integers(1, 16), arrays.arrays(np.bool_, st.tuples(st.integers(0, 30), st.just(7))))
def test_every_pattern_is_a_word(bits, found):
    assert np.array_equal(to_bits(from_bits(found), 7), found)


def test_three_bits_by_hand():
    words = np.array([-4, -1, 0, 3])
    assert to_bits(words, 3).astype(int).tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 1, 1]]


def test_the_published_quantiser_by_hand():
    weights = np.array([[-2.0, -1.1, -0.4, 0.0], [0.4, 0.7, 1.9, 2.0]])
    words, scale = quantise(weights, 3)
    assert scale == 2.0
    assert words.tolist() == [[-4, -2, 0, 0], [0, 1, 2, 3]]
    assert quantise(weights, 3, "nearest")[0].tolist() == [[-4, -2, -1, 0], [1, 1, 3, 3]]


@given(
    st.integers(2, 16),
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
    st.sampled_from(["towards-zero", "nearest"]),
)
def test_what_comes_back_is_within_a_step(bits, weights, rounding):
    words, scale = quantise(weights, bits, rounding)
    step = scale / (2 ** (bits - 1) - 1)
    error = np.abs(dequantise(words, bits, scale) - weights)
    assert (error <= step * (1.0 if rounding == "towards-zero" else 0.5) * (1 + 1e-9)).all()
    assert error[np.abs(weights).argmax()] <= 1e-9 * scale


def test_one_bit_holds_minus_one_and_zero():
    words, scale = quantise(np.array([-1.0, -0.2, 0.3, 1.0]), 1)
    assert words.tolist() == [-1, 0, 0, 0]
    assert dequantise(words, 1, scale).tolist() == [-1.0, 0.0, 0.0, 0.0]


def test_zeros_stay_zeros():
    words, scale = quantise(np.zeros((2, 3)), 4)
    assert scale == 0.0
    assert not words.any()
    assert not dequantise(words, 4, scale).any()


def test_misuse_is_one_sentence():
    with pytest.raises(InvalidValue, match="not finite"):
        quantise(np.array([1.0, np.nan]), 3)
    for bits in (0, 33):
        with pytest.raises(InvalidValue, match=f"bits = {bits}"):
            quantise(np.ones(2), bits)
    with pytest.raises(InvalidValue, match="3 bits hold -4 to 3"):
        to_bits(np.array([4]), 3)
    with pytest.raises(InvalidValue, match="Did you mean 'nearest'"):
        quantise(np.ones(2), 3, "nearst")
