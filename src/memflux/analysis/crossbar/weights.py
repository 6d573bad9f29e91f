"""Real weights as b-bit words of two's complement, one cell a bit.

The quantiser is that of Marraccini et al., Nanoscale (2025), doi 10.1039/d5nr02690c: each tensor is divided by its
largest magnitude, multiplied by 2^(b-1) where it is not positive and by 2^(b-1) - 1 where it is, and cut towards zero.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from memflux.errors import InvalidValue, check_choice, check_integer, check_number

MOST_BITS = 32
ROUNDINGS = ("towards-zero", "nearest")


def quantise(
    weights: Float[np.ndarray, "*shape"], bits: int, rounding: str = "towards-zero"
) -> tuple[Int[np.ndarray, "*shape"], float]:
    """Integers from -2^(b-1) to 2^(b-1) - 1, and the largest magnitude of the weights, by which they were divided.

    `rounding`: "towards-zero" as published, or "nearest", which keeps weights of half a step and above.
    """
    bits = check_integer("bits", bits, low=1, high=MOST_BITS)
    check_choice("rounding", rounding, ROUNDINGS)
    if not np.isfinite(weights).all():
        raise InvalidValue("weights hold what is not finite; train the network again with a smaller learning rate.")
    scale = float(np.abs(weights).max(initial=0.0))
    if scale == 0.0:
        return np.zeros(weights.shape, dtype=np.int64), 0.0
    steps = weights / scale * np.where(weights > 0, 2.0 ** (bits - 1) - 1, 2.0 ** (bits - 1))
    return (np.trunc(steps) if rounding == "towards-zero" else np.rint(steps)).astype(np.int64), scale


def dequantise(words: Int[np.ndarray, "*shape"], bits: int, scale: float) -> Float[np.ndarray, "*shape"]:
    """The weights that stand for `words`: each sign with its own step, so that the largest magnitude comes back."""
    bits = check_integer("bits", bits, low=1, high=MOST_BITS)
    scale = check_number("scale", scale, low=0.0, high=1e300)
    return words * np.where(words > 0, scale / max(2.0 ** (bits - 1) - 1, 1.0), scale / 2.0 ** (bits - 1))


def to_bits(words: Int[np.ndarray, " W"], bits: int) -> Bool[np.ndarray, "W b"]:
    """Two's complement, the most significant bit (the sign) first."""
    bits = check_integer("bits", bits, low=1, high=MOST_BITS)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if words.size and not low <= int(words.min()) <= int(words.max()) <= high:
        raise InvalidValue(f"words reach from {words.min()} to {words.max()}; {bits} bits hold {low} to {high}.")
    return (words[:, None] >> np.arange(bits - 1, -1, -1)) & 1 == 1


def from_bits(found: Bool[np.ndarray, "W b"]) -> Int[np.ndarray, " W"]:
    """The inverse of `to_bits`."""
    bits = check_integer("bits", found.shape[1], low=1, high=MOST_BITS)
    values = 2 ** np.arange(bits - 1, -1, -1, dtype=np.int64)
    values[0] *= -1
    return found @ values
