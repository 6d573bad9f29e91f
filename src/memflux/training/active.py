"""Active learning: the members of an ensemble disagree most where they err most; such devices are simulated next.

The error of a device is guessed as half the mean spread of the members over the peak of the curve,
which has the form of its nMAE in A. Further devices are draws of the data set's own design, chosen
at random in proportion to that guess (`POWER` says which power of it): the chance keeps the devices
of one round apart, and no region is ever left out.

Error and weights are judged on parts of the data set that are random: a device's part follows from a
hash of its values, and only devices whose part is training are ever chosen.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from memflux import designs
from memflux.dataset import Dataset
from memflux.device import Devices
from memflux.errors import InvalidValue, check_integer, check_number
from memflux.training.data import split
from memflux.training.evaluate import evaluate
from memflux.training.spectral import SpectralConfig
from memflux.training.surrogate import Surrogate
from memflux.waveform import Waveform

HELD_OUT = (0.75, 0.1, 0.15)  # of the random devices: they are few, and their error decides
MEMBERS = 4  # two disagree by chance as often as by reason
POWER = 1.0  # of the guessed error, which chances are proportional to (docs/log.md)
CANDIDATES = 10  # draws to choose among for each device of the limit
NEIGHBOURS = 5  # simulated devices that say whether a solve is likely to succeed
CHUNK = 4096  # candidates looked at at once
TOLD = 2  # parameters that a choice is described by
SHIFT = 0.05  # of the mean within the range, from which on a parameter is worth telling

Simulate = Callable[[Sequence[int]], Dataset]
"""Make these draws rows of the data set, for good; returns all of it, with every row that it is to hold."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """When to stop, and how far to go at a time."""

    target: float
    """Mean nMAE in A on random devices, between 0 and 1."""
    limit: int
    """Devices simulated altogether, the first ones and failed ones among them."""
    round: int = 250
    """Devices chosen at a time."""
    candidates: int | None = None
    """Draws of the design that are looked at, from the first; None: ten times the limit."""

    def __post_init__(self) -> None:
        check_number("target", self.target, low=1e-9, high=1.0)
        check_integer("limit", self.limit, low=1, high=10**7)
        check_integer("round", self.round, low=1, high=10**6)
        if self.candidates is not None:
            check_integer("candidates", self.candidates, low=1, high=10**8)

    @property
    def pool(self) -> int:
        """Draws of the design that are looked at."""
        return self.candidates or CANDIDATES * self.limit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One training: on what, how good, and what it cost."""

    devices: int  # rows of the data set
    chosen: int  # of those, not random
    failed: int  # of those, whose solve failed
    error: float  # mean nMAE in A on random devices that training did not see
    uncertainty: float  # standard error of it
    tested: int  # how many these are
    simulation_s: float  # s of solving, of the devices new in this round
    training_s: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Choice:
    """What is to be simulated next."""

    draws: Int[np.ndarray, " K"]  # of the design, ascending
    guess: float  # mean guessed nMAE of these
    usual: float  # that of all candidates
    towards: tuple[str, ...]  # where these lie, such as "high mobility_electron"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """The last surrogate, whether it is good enough, and the history."""

    surrogate: Surrogate
    rounds: tuple[Round, ...]
    reached: bool
    status: str  # a sentence


def ensemble_for(count: int) -> SpectralConfig:
    """The architecture for `count` curves, with enough members to disagree."""
    config = SpectralConfig.of(count)
    return dataclasses.replace(config, members=max(MEMBERS, config.members))


def learn(
    simulate: Simulate,
    train: Callable[[Dataset], Surrogate],
    goal: Goal,
    seed: int = 0,
    rounds: Sequence[Round] = (),
    tell: Callable[[tuple[Round, ...], Choice | None], None] = lambda rounds, choice: None,
) -> Outcome:
    """Train, and simulate what the surrogate is least sure of, until it is good enough or the limit is met.

    A choice depends on the rows of the data set and the seed alone, so where `train` does too, the same call
    goes on after an interruption to the same choices. `rounds` are those that earlier calls told of;
    `tell` is called after each training with all rounds so far and, unless it was the last, what is
    simulated next. Raises InvalidValue for a surrogate without members or test devices.
    """
    seed = check_integer("seed", seed, low=0, high=2**63 - 1)
    data, known = simulate(()), tuple(rounds)
    while True:
        surrogate = train(data)
        before = [r for r in known if r.devices < len(data)]
        known = (*before, _measured(data, surrogate, before))
        last = known[-1]
        count = min(goal.round, goal.limit - len(data))
        choice = choose(data, surrogate, count, goal.pool, seed) if last.error > goal.target and count > 0 else None
        if choice is None or choice.draws.size == 0:
            tell(known, None)
            return Outcome(
                surrogate=surrogate,
                rounds=known,
                reached=last.error <= goal.target,
                status=_status(last, goal, exhausted=choice is not None),
            )
        tell(known, choice)
        data = simulate(choice.draws.tolist())


def choose(data: Dataset, surrogate: Surrogate, count: int, pool: int, seed: int = 0) -> Choice:
    """At most `count` of the first `pool` draws of the data set's design that are not in it yet.

    Only draws whose part is training can be chosen, in proportion to their guessed error times the
    share of the nearest simulated devices whose solve succeeded: what fails is not tried for ever.
    """
    draws, devices, drive = _candidates(data, surrogate, pool)
    guess = guessed_error(surrogate, devices, drive)
    points = surrogate.inputs.scale(surrogate.inputs.values(devices, drive))
    chance = guess**POWER * _likely_solved(data, surrogate, points)
    generator = np.random.default_rng([seed, len(data)])
    picked = np.sort(draw_in_proportion(chance, count, generator))
    return Choice(
        draws=draws[picked],
        guess=float(guess[picked].mean()) if picked.size else 0.0,
        usual=float(guess.mean()) if guess.size else 0.0,
        towards=_towards(surrogate.parameters, points, picked),
    )


def guessed_error(surrogate: Surrogate, devices: Devices, drive: Waveform) -> Float[np.ndarray, " B"]:
    """nMAE in A of each device, as far as the members' disagreement tells; InvalidValue where there are none."""
    drive = drive.for_batch(len(devices))
    guess = np.empty(len(devices))
    for first in range(0, len(devices), CHUNK):
        part = slice(first, first + CHUNK)
        spread = surrogate.spread(devices[part], drive[part])
        if spread is None:
            raise InvalidValue("the surrogate has fewer than two members that could disagree; train a spectral one.")
        guess[part] = 0.5 * spread.mean(axis=1) / np.abs(surrogate(devices[part], drive[part]).current).max(axis=1)
    finite = np.isfinite(guess)
    # an extrapolation that overflows is as unsure as can be
    return np.where(finite, guess, guess[finite].max(initial=1.0))


def draw_in_proportion(
    chance: Float[np.ndarray, " B"], count: int, generator: np.random.Generator
) -> Int[np.ndarray, " K"]:
    """At most `count` different places, drawn one after the other in proportion to `chance`; none of chance 0.

    Exponential waiting times do it at once (Efraimidis and Spirakis, doi 10.1016/j.ipl.2005.11.003).
    """
    wait = generator.exponential(size=chance.size) / np.where(chance > 0, chance, 1.0)
    order = np.argsort(np.where(chance > 0, wait, np.inf), kind="stable")
    return order[: min(count, int((chance > 0).sum()))]


def _candidates(data: Dataset, surrogate: Surrogate, pool: int) -> tuple[np.ndarray, Devices, Waveform]:
    """Draws that are no rows yet and would be of the training part, with their devices and drive."""
    manifest = data.manifest
    if manifest.space is None or not {"design", "seed"} <= set(manifest.recipe):
        raise InvalidValue("this data set has no recipe, so it has no further draws; give one that a campaign makes.")
    design, seed = manifest.recipe["design"], manifest.recipe["seed"]
    first = manifest.count
    devices, drive = designs.sample(manifest.space, design, max(pool - first, 0), seed, first)
    draws = np.arange(first, first + len(devices))
    free = np.flatnonzero(~np.isin(draws, data.index) & split(devices, drive, surrogate.record["fractions"]).train)
    return draws[free], devices[free], drive[free]


def _likely_solved(data: Dataset, surrogate: Surrogate, points: Float[np.ndarray, "B P"]) -> Float[np.ndarray, " B"]:
    """Share of the nearest simulated devices whose solve succeeded."""
    solved = data.traces.ok
    if solved.all() or not len(points):
        return np.ones(len(points))
    there = surrogate.inputs.scale(surrogate.inputs.values(data.devices, data.drive.for_batch(len(data))))
    near = KDTree(there).query(points, min(NEIGHBOURS, len(there)))[1].reshape(len(points), -1)
    return solved[near].mean(axis=1)


def _towards(names: Sequence[str], points: Float[np.ndarray, "B P"], picked: Int[np.ndarray, " K"]) -> tuple[str, ...]:
    if not picked.size:
        return ()
    shift = points[picked].mean(axis=0) - points.mean(axis=0)
    most = np.argsort(-np.abs(shift), kind="stable")[:TOLD]
    return tuple(f"{'high' if shift[k] > 0 else 'low'} {names[k]}" for k in most if abs(shift[k]) > SHIFT)


def _measured(data: Dataset, surrogate: Surrogate, before: Sequence[Round]) -> Round:
    """The error on the random devices of the test part, and what the newest rows cost."""
    rows = random_test(data, surrogate.record["fractions"])
    if not rows.any():
        raise InvalidValue(
            f"none of the first {data.manifest.count} devices is a solved one of the test part, which decides when to "
            "stop; begin with more devices."
        )
    drive = data.drive.for_batch(len(data))
    errors = evaluate(surrogate, data.devices[rows], drive[rows], data.traces[rows]).nmae
    chosen = data.index >= data.manifest.count
    spent = sum(r.simulation_s for r in before)
    return Round(
        devices=len(data),
        chosen=int(chosen.sum()),
        failed=int((~data.traces.ok).sum()),
        error=float(errors.mean()),
        uncertainty=float(errors.std() / np.sqrt(errors.size)),
        tested=int(errors.size),
        simulation_s=max(float(np.nansum(data.biography["wall_time_s"])) - spent, 0.0),
        training_s=float(surrogate.record["seconds"]),
    )


def random_test(data: Dataset, fractions: Sequence[float]) -> Bool[np.ndarray, " B"]:
    """Solved rows of the test part that nobody chose: the same ones in every round."""
    test = split(data.devices, data.drive.for_batch(len(data)), fractions).test
    return test & data.traces.ok & (data.index < data.manifest.count)


def _status(last: Round, goal: Goal, exhausted: bool) -> str:
    found = (
        f"mean nMAE {100 * last.error:.3g} % (standard error {100 * last.uncertainty:.2g} %) on {last.tested} random "
        f"devices after {last.devices} simulations"
    )
    if last.error <= goal.target:
        return f"target reached: {found}"
    if exhausted:
        return f"target not reached, no candidates left among {goal.pool} draws: {found}; raise the limit"
    return f"target not reached, limit of {goal.limit} devices met: {found}; raise the limit to go on"
