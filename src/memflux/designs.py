"""Designs: how the points of a space are laid out, one at a time, so that any worker can make its own share.

Point i depends on (space, design, seed, i) alone, whatever `count` is: a campaign that grows keeps
what it has. "published" draws independently; the others spread the points more evenly, at every
size, by the nested uniform scrambling of Owen (in Niederreiter and Shiue (eds.), Monte Carlo and
Quasi-Monte Carlo Methods in Scientific Computing, 1995, doi:10.1007/978-1-4612-2552-2_19), with a
hash in the place of a table of random bits (Burley, JCGT 9(4), 2020). We hash each prefix
in full: the short cut that renderers take saves microseconds a device and has visible flaws.
"""

import functools
import zlib

import numpy as np
from jaxtyping import Float, Int, UInt64

from memflux.device import Devices
from memflux.errors import check_choice, check_integer
from memflux.space import Space
from memflux.waveform import Waveform

DESIGNS = ("published", "sobol", "latin-hypercube")
BITS = 53  # of a coordinate: what a float64 in [0, 1) holds
INDEX_BITS = 41  # of the index of a device: first + count <= 2^41
SOBOL_BITS = 32  # of the library's sequence: fast_forward of more fails in SciPy 1.9 to 1.17
_GOLDEN = 0x9E3779B97F4A7C15  # odd, 2^64 over the golden ratio


def sample(space: Space, design: str, count: int, seed: int, first: int = 0) -> tuple[Devices, Waveform]:
    """Devices `first` .. `first + count - 1` of a design over `space`, and their drive.

    "published": independent, on 10,000 values a parameter (`Space.sample`). "sobol": the Sobol
    sequence, Owen-scrambled; its first 2^k points, and every aligned block of 2^k, are a (t, k, s)-net.
    "latin-hypercube": every aligned block of 2^k points is a Latin hypercube, for every k. A point that
    breaks the rule of the space is replaced by the one that another scramble has at the same index.
    Raises InvalidValue for an unknown design, and where `Space.sample` does.
    """
    if check_choice("design", design, DESIGNS) == "published":
        return space.sample(count, seed, first)
    limit = 2**SOBOL_BITS if design == "sobol" else 2**INDEX_BITS
    count = check_integer("count", count, low=0, high=limit)
    first = check_integer("first", first, low=0, high=limit - count)
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    index = np.arange(first, first + count, dtype=np.uint64)[:, None]
    parameters = len(space.parameters)

    def draw(attempt: int) -> Float[np.ndarray, "B P"]:
        shuffle, scramble = _keys(space, design, seed, attempt)
        points = sobol(index, parameters) if design == "sobol" else van_der_corput(owen(index, shuffle, INDEX_BITS))
        return owen(points, scramble, BITS) * 2.0**-BITS

    return space.keep(draw)


def at(space: Space, design: str, index: Int[np.ndarray, " B"], seed: int) -> tuple[Devices, Waveform]:
    """The devices of a design with these indices, in their order, and their drive.

    What lies between the smallest and the largest is drawn too, so give those of a neighbourhood.
    """
    first = int(index.min())
    devices, drive = sample(space, design, int(index.max()) - first + 1, seed, first)
    return devices[index - first], drive[index - first]


def owen(integers: UInt64[np.ndarray, "B #P"], key: UInt64[np.ndarray, " P"], bits: int) -> UInt64[np.ndarray, "B P"]:
    """Nested uniform scramble of `bits`-bit integers: each bit is flipped, or not, by a hash of the bits above it.

    A bijection that maps every aligned block of 2^k integers to one. On an index it is a shuffle
    within all nested blocks; on a coordinate it moves points within all nested intervals.
    """
    scrambled = np.repeat(integers, key.size // integers.shape[1], axis=1)
    for level in range(bits):
        prefix = integers >> np.uint64(level + 1)
        coin = _mix(prefix * np.uint64(_GOLDEN) + _mix(key + np.uint64(level))) >> np.uint64(63)
        scrambled ^= coin << np.uint64(level)
    return scrambled


def van_der_corput(index: UInt64[np.ndarray, "B P"]) -> UInt64[np.ndarray, "B P"]:
    """Bits of the index in reverse order, behind the point: coordinates times 2^BITS."""
    point = np.zeros_like(index)
    for bit in range(INDEX_BITS):
        point |= ((index >> np.uint64(bit)) & np.uint64(1)) << np.uint64(BITS - 1 - bit)
    return point


def sobol(index: UInt64[np.ndarray, "B 1"], parameters: int) -> UInt64[np.ndarray, "B P"]:
    """Points of the Sobol sequence, times 2^BITS: linear in the bits of the index, so any of them at once."""
    point = np.zeros((len(index), parameters), np.uint64)
    for bit in range(int(index.max(initial=0)).bit_length()):
        point ^= ((index >> np.uint64(bit)) & np.uint64(1)) * _sobol_corner(parameters, bit)
    return point


@functools.cache
def _sobol_corner(parameters: int, bit: int) -> UInt64[np.ndarray, " P"]:
    """Point 2^bit of the Sobol sequence, times 2^BITS; found once a process, in 7 ns times 2^bit."""
    from scipy.stats import qmc

    engine = qmc.Sobol(parameters, scramble=False, bits=SOBOL_BITS).fast_forward(2**bit)
    return (engine.random(1)[0] * 2.0**BITS).astype(np.uint64)


def _keys(space: Space, design: str, seed: int, attempt: int) -> UInt64[np.ndarray, "2 P"]:
    """Independent keys: of the shuffle and of the scramble of each parameter."""
    names = [zlib.crc32(name.encode()) for name in (design, space.name)]
    state = np.random.SeedSequence([seed, attempt, *names]).generate_state(2 * len(space.parameters), np.uint64)
    return state.reshape(2, -1)


def _mix(x: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """A 64-bit hash: every bit of the result depends on every bit of x (finaliser of SplitMix64, variant 13)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
