"""The finite-volume mesh: two geometric half grids, mirrored at the middle of the channel."""

import functools
import math

import numpy as np
from jaxtyping import Float

from memflux.errors import InvalidValue, check_number


@functools.lru_cache(maxsize=32)
def _unit_mesh(first: float, largest: float) -> np.ndarray:
    cells = 2
    while True:
        ratio = _ratio(first, cells)
        if first * ratio ** (cells - 1) <= largest:
            break
        cells += 1
    half = np.concatenate([[0.0], np.cumsum(first * ratio ** np.arange(cells))])
    half *= 0.5 / half[-1]
    nodes = np.concatenate([half, 1.0 - half[-2::-1]])
    nodes.flags.writeable = False
    return nodes


def _ratio(first: float, cells: int) -> float:
    """Root q > 1 of first (q^cells - 1)/(q - 1) = 1/2 by bisection; 1 where the cells more than fill the half."""
    if first * cells >= 0.5:
        return 1.0
    low = growth = 1e-12
    while first * _cells(growth, cells) < 0.5:
        low, growth = growth, 2.0 * growth
    high = growth
    for _ in range(200):
        middle = 0.5 * (low + high)
        if first * _cells(middle, cells) < 0.5:
            low = middle
        else:
            high = middle
    return 1.0 + 0.5 * (low + high)


def _cells(growth: float, count: int) -> float:
    """Length of `count` cells in units of the first, each `growth` longer (relatively) than the last."""
    return math.expm1(count * math.log1p(growth)) / growth


def graded_mesh(length: float, first: float, largest: float) -> Float[np.ndarray, " N"]:
    """Nodes x [m] of a channel of `length` [m], finest at both contacts.

    `first` is the spacing at the contacts and `largest` the greatest allowed, both as fractions
    of the length. Each half has the smallest number of cells whose geometric growth keeps to
    `largest`; 5e-4 and 2e-2 give the 189 nodes of the published grid. The same node count for
    every length, because everything scales.
    """
    first = check_number("first", first, low=1e-7, high=0.25)
    largest = check_number("largest", largest, low=1e-4, high=0.5)
    if first > largest:
        raise InvalidValue(f"first = {first:g} is above largest = {largest:g}; give a finer first spacing.")
    return length * _unit_mesh(first, largest)


def layered_mesh(length: float, first: float, growth: float, largest: float) -> Float[np.ndarray, " N"]:
    """Nodes x [m] of a channel of `length` [m] with spacing min(first + growth x, largest) from either contact.

    All three relative to the length: the spacing rises in proportion to the distance x from the
    contact, through the accumulation layer (Debye lengths of 0.1 nm and more) and the depletion zone, and is
    then uniform, because the fronts of the vacancies cross the whole channel. The topology
    is the same for all devices, so results vary smoothly with them.
    """
    return length * _unit_layers(first, growth, largest)


@functools.lru_cache(maxsize=32)
def _unit_layers(first: float, growth: float, largest: float) -> np.ndarray:
    graded = min((largest - first) / growth, 0.5)
    layer = math.log1p(growth * graded / first) / growth  # cells up to there, not yet a whole number
    cells = layer + (0.5 - graded) / largest
    s = np.linspace(0.0, cells, math.ceil(cells) + 1)
    inner = first / growth * np.expm1(growth * np.minimum(s, layer))
    half = np.where(s < layer, inner, graded + (s - layer) * largest)
    half *= 0.5 / half[-1]
    nodes = np.concatenate([half, 1.0 - half[-2::-1]])
    nodes.flags.writeable = False
    return nodes


def control_volumes(x: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Volumes V_k = (h_{k-1} + h_k)/2 a unit area [m]; half cells at the ends."""
    volumes = np.zeros_like(x)
    h = np.diff(x)
    volumes[:-1] += 0.5 * h
    volumes[1:] += 0.5 * h
    return volumes
