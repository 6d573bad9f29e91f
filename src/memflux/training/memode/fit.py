"""How a `MemOde` is trained: Levenberg and Marquardt with the exact derivatives of periodic orbits.

The error of a model on records is L_b + lambda_v L_v + lambda_c L_c (Bednarz, Garda and Galias, eqs. 2-7), the mean
squared errors of voltage and current, of their slopes and of their curvatures, each over the record's own variance.
The weights follow Algorithm 1 there: each term is brought to their geometric mean, within bounds. All of it is a sum
of squares, a record has some hundred samples and a network some hundred weights, so Gauss and Newton's matrix is at
hand: an iteration costs a few milliseconds, and some hundred do what gradient descent does not do in ten thousand.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from memflux.errors import check_bool, check_integer, check_number
from memflux.loops import Loops
from memflux.training.memode.model import MemOde, MemOdeConfig, Orbits, Scales, resampled

SMALLEST, LARGEST = 1e-3, 1.0  # of lambda_v and lambda_c over lambda_b
CLOSED = 1e-4  # of the states over a period: a step that leaves the orbit more open than that is refused
RATES = 8  # frequencies that a trained model is tried at
PHASES, ALIKE = 16, 0.1  # sources are alike that differ by less of the largest, at so many phases
RUN = 60  # periods from anywhere
ANYWHERE = 4  # iterations, in the last of which the states begin anywhere
SMALL = 4  # units of a layer of a network that starts
SCOUT = 25  # iterations of one that starts
GROWN = 2  # of those that started
TRIALS = 8  # of one step, each with a larger damping
REFUSALS = 3  # iterations without a step before the search ends


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How a `MemOde` is trained."""

    starts: int = 12
    """Small networks that start from different random weights; the best of them grow."""
    iterations: int = 60
    """Steps at most, from one size to the next."""
    ridge: float = 1e-5
    """Weight of the sum of squared weights beside the error."""
    balanced: bool = True
    """Whether slopes and curvatures count too, as Algorithm 1 weighs them; False: L_b alone."""
    seconds: float = 240.0
    """After which no other training begins; half of it is for those that start."""

    def __post_init__(self) -> None:
        check_integer("starts", self.starts, low=1, high=10_000)
        check_integer("iterations", self.iterations, low=1, high=1_000_000)
        check_number("ridge", self.ridge, low=0.0, high=1e6)
        check_bool("balanced", self.balanced)
        check_number("seconds", self.seconds, low=0.0, high=1e9, unit="s")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """The best model of all."""

    model: MemOde
    errors: Float[np.ndarray, " R"]  # L_b of the records it learned from
    of_starts: Float[np.ndarray, " S"]  # mean L_b after each start, before growth; infinite where `_closes` is not so
    iterations: int  # of all
    seconds: float


def fit(
    loops: Loops, config: MemOdeConfig, how: FitConfig | None = None, seed: int = 0,
    watch: Callable[[int, float], None] | None = None,
) -> Trained:  # fmt: skip
    """Train on all records of `loops`; `watch` hears the number of a start and its mean L_b.

    A small network of one state finds its way from random weights more often than a large one of many. So many small
    ones start, and the best grow into what `config` asks for, state by state.
    """
    how = how or FitConfig()
    began = time.perf_counter()
    stages, scales, training = _stages(config), Scales.of(loops), _Training(loops, how)
    scouts, grown = list[_Found](), list[_Found]()
    for start in range(how.starts):
        if scouts and time.perf_counter() - began > 0.5 * how.seconds:
            break
        untrained = MemOde.untrained(stages[0], scales, seed + start)
        scouts.append(training.run(untrained, seed + start, min(how.iterations, SCOUT)))
        if watch is not None:
            watch(start, scouts[-1].error)
    for scout in sorted(scouts, key=_Found.rank)[:GROWN]:
        if grown and time.perf_counter() - began > how.seconds:
            break
        grown.append(training.grow(scout, stages, seed))
    best = min(grown, key=_Found.rank)
    return Trained(
        model=best.model,
        errors=best.errors,
        of_starts=np.array([scout.error for scout in scouts]),
        iterations=training.iterations,
        seconds=time.perf_counter() - began,
    )


class _Found(NamedTuple):
    """A model, L_b of the records that it learned from, and whether it `_closes` between them."""

    model: MemOde
    errors: Float[np.ndarray, " R"]
    closes: bool

    @property
    def error(self) -> float:
        return float(self.errors.mean()) if self.closes else np.inf

    def rank(self) -> tuple[bool, float]:
        """The less the better."""
        return not self.closes, float(self.errors.mean())


def _stages(config: MemOdeConfig) -> list[MemOdeConfig]:
    """From a small network of one state over a large one to all states."""
    small = dataclasses.replace(
        config,
        states=1,
        rate_widths=tuple(min(width, SMALL) for width in config.rate_widths),
        memductance_widths=tuple(min(width, SMALL) for width in config.memductance_widths),
    )
    return [small, *(dataclasses.replace(config, states=n) for n in range(1, config.states + 1))]


class _Training:
    """Searches on the same records, counted."""

    def __init__(self, loops: Loops, how: FitConfig) -> None:
        self.loops, self.between, self.how, self.iterations = loops, _between(loops), how, 0

    def run(self, model: MemOde, seed: int, iterations: int) -> _Found:
        search = _Search(self.loops, self.between, dataclasses.replace(self.how, iterations=iterations), seed)
        found = self.judged(search.run(model))
        self.iterations += search.iterations
        return found

    def judged(self, model: MemOde) -> _Found:
        return _Found(model, model.errors(self.loops), _closes(model, self.between))

    def grow(self, scout: _Found, stages: list[MemOdeConfig], seed: int) -> _Found:
        """What a small network becomes: at no stage worse than at the one before."""
        found = min(scout, self.run(scout.model, seed, self.how.iterations), key=_Found.rank)
        for config in stages[1:]:
            larger = found.model.grown(config, seed)
            trained = self.run(larger, seed, self.how.iterations)
            found = min(self.judged(larger), trained, key=_Found.rank)
        return found


def _between(loops: Loops) -> Loops:
    """Every source of the records at the frequencies of the others, where no record is like it.

    That is the box a model is asked in, and more than the records themselves show: nothing measured is needed for it.
    """
    rates = np.unique(loops.frequency)
    rates = rates[np.unique(np.linspace(0, rates.size - 1, RATES).round().astype(int))]
    places, rates = (grid.ravel() for grid in np.meshgrid(np.arange(len(loops)), rates, indexing="ij"))
    some = loops.source[:, :: -(-loops.source.shape[1] // PHASES)]
    alike = [row.tobytes() for row in np.round(some / (ALIKE * np.abs(some).max())).astype(np.int64)]
    seen = set(zip(alike, loops.frequency, strict=True))
    fresh = dict[tuple[bytes, float], int]()
    for k, (place, rate) in enumerate(zip(places, rates, strict=True)):
        if (alike[place], rate) not in seen:
            fresh.setdefault((alike[place], rate), k)
    kept = np.array(list(fresh.values()), dtype=np.int64)
    return dataclasses.replace(loops[places[kept]], frequency=rates[kept])


def _closes(model: MemOde, between: Loops) -> bool:
    """Whether the model comes to a periodic orbit there from rest."""
    return len(between) == 0 or bool(model.orbits(between).missed.max() < CLOSED)


class _Search:
    """One search from one set of weights."""

    def __init__(self, loops: Loops, between: Loops, how: FitConfig, seed: int) -> None:
        self.loops, self.between, self.how = loops, between, how
        self.generator = np.random.default_rng(seed)
        self.lambdas = np.array([1.0, 0.0, 0.0])
        self.damping = 0.1
        self.closes = False  # between the records, as from the first model on that does
        self.iterations = 0

    def run(self, model: MemOde) -> MemOde:
        targets = _Targets(self.loops, model.config.steps)
        found = model.orbits(self.loops, derivatives=True)
        self.closes = _closes(model, self.between)
        refused = 0
        for iteration in range(self.how.iterations):
            self.iterations += 1
            if self.how.balanced:
                self.lambdas = _balance(targets.losses(found.voltage))
            stepped = self._step(model, found, targets)
            refused = 0 if stepped else refused + 1
            if refused > REFUSALS:
                break
            if stepped:
                model, found = stepped
                self.closes = self.closes or _closes(model, self.between)
            # A device has one orbit a drive, wherever it came from. A model may have two; then it has to learn of both.
            anywhere = iteration % ANYWHERE == ANYWHERE - 1 or not stepped
            found = (
                model.orbits(self.loops, self.generator.random(found.start.shape), periods=RUN, derivatives=True)
                if anywhere
                else model.orbits(self.loops, found.start, towards=found.towards, derivatives=True)
            )
        return dataclasses.replace(model, rest=np.clip(found.start.mean(0), 0.0, 1.0))

    def _step(self, model: MemOde, found: Orbits, targets: "_Targets") -> tuple[MemOde, Orbits] | None:
        """A step that makes the error smaller, or None.

        Weights at a bound that they would leave are held there, others end at it (projected Newton's method, D. P.
        Bertsekas, doi 10.1137/0320018).
        """
        residuals, jacobian = targets.residuals(found.voltage, self.lambdas, found.by_weights)
        now = residuals @ residuals + self.how.ridge * model.weights @ model.weights
        matrix = jacobian.T @ jacobian
        matrix[np.diag_indices_from(matrix)] += self.how.ridge
        gradient = jacobian.T @ residuals + self.how.ridge * model.weights
        bounded = model.config.bounded
        held = bounded & (model.weights <= 0.0) & (gradient > 0.0)
        gradient[held], matrix[held], matrix[:, held], matrix[held, held] = 0.0, 0.0, 0.0, 1.0
        size = np.maximum(np.diag(matrix), 1e-7)
        for _ in range(TRIALS):
            step = -np.linalg.solve(matrix + self.damping * np.diag(size), gradient)
            weights = model.weights + step
            moved = dataclasses.replace(model, weights=np.where(bounded, np.maximum(weights, 0.0), weights))
            step = moved.weights - model.weights
            start = np.clip(found.start + found.start_by_weights @ step, 0.0, 1.0)
            orbits = moved.orbits(self.loops, start, towards=found.towards, periods=RUN)
            left, _ = targets.residuals(orbits.voltage, self.lambdas, None)
            error = left @ left + self.how.ridge * moved.weights @ moved.weights
            closed = orbits.missed.max() < CLOSED
            if error < now and closed and (not self.closes or _closes(moved, self.between)):
                self.damping = max(self.damping / 3.0, 1e-9)
                return moved, orbits
            self.damping = min(3.0 * self.damping, 1e6)
        return None


class _Targets:
    """What orbits of K steps are compared with: voltages and currents R_s i, their slopes and their curvatures."""

    def __init__(self, loops: Loops, steps: int) -> None:
        self.voltage, self.source = resampled(loops.voltage, steps), resampled(loops.source, steps)
        self.drop = loops.series_resistance * resampled(loops.current, steps)
        self.spread = [
            [_differences(part, order).std(1, ddof=1, keepdims=True) for order in range(3)]
            for part in (self.voltage, self.drop)
        ]

    def residuals(
        self, voltage: Float[np.ndarray, "R K"], lambdas: Float[np.ndarray, "3"],
        by_weights: Float[np.ndarray, "R K P"] | None,
    ) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, "J P"]]:  # fmt: skip
        """Whose sum of squares is the error, and their derivatives; none without those of the voltage."""
        values, jacobian = [], []
        for order, weight in enumerate(lambdas):
            if weight == 0.0:
                continue
            share = np.sqrt(weight / voltage.size)
            off = _differences(voltage - self.voltage, order), _differences(self.source - voltage - self.drop, order)
            for part, sign, spread in zip(off, (1.0, -1.0), (s[order] for s in self.spread), strict=True):
                values.append((share * part / spread).ravel())
                if by_weights is not None:
                    rows = sign * share * _differences(by_weights, order) / spread[:, :, None]
                    jacobian.append(rows.reshape(-1, by_weights.shape[2]))
        return np.concatenate(values), np.concatenate(jacobian) if jacobian else np.empty((0, 0))

    def losses(self, voltage: Float[np.ndarray, "R K"]) -> Float[np.ndarray, "3"]:
        """L_b, L_v and L_c (eqs. 5-7)."""
        alone = np.eye(3)
        return np.array([np.sum(self.residuals(voltage, row, None)[0] ** 2) for row in alone])


def _differences(values: np.ndarray, order: int) -> np.ndarray:
    """Differences of some order between neighbours along the phase, axis 1, which has no end."""
    for _ in range(order):
        values = np.roll(values, -1, axis=1) - values
    return values


def _balance(losses: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Algorithm 1 over lambda_b, so that the error is in units of L_b: only the ratios decide where it is smallest."""
    return np.concatenate([[1.0], np.clip(losses[0] / (losses[1:] + 1e-12), SMALLEST, LARGEST)])


class Fold(NamedTuple):
    """A part of the records, and a model of the others."""

    held: Int[np.ndarray, " H"]  # places of the records left out
    errors: Float[np.ndarray, " H"]  # L_b of these; infinite where an orbit does not close
    iterations: int  # of the training


def folds_of(
    loops: Loops, config: MemOdeConfig, how: FitConfig, folds: int = 7, *, deal: int = 0, seed: int = 0, first: int = 0
) -> Iterator[Fold]:
    """Train without one part of the records after the other, from part `first` on.

    Records are dealt to the parts at random, by `deal` alone; `seed` is that of each training.
    """
    folds = check_integer("folds", folds, low=2, high=len(loops))
    places = np.random.default_rng(deal).permutation(len(loops))
    for held in np.array_split(places, folds)[first:]:
        trained = fit(loops[np.setdiff1d(places, held)], config, how, seed)
        yield Fold(held, trained.model.errors(loops[held]), trained.iterations)


def cross_validate(
    loops: Loops, candidates: Sequence[tuple[MemOdeConfig, FitConfig]], folds: int = 7, seed: int = 0
) -> Float[np.ndarray, "C R"]:
    """L_b of every record under models that did not see it, for each candidate; infinite where an orbit does not close.

    Records are dealt to the folds at random, the same for all candidates.
    """
    errors = np.empty((len(candidates), len(loops)))
    for errors_of, (config, how) in zip(errors, candidates, strict=True):
        for fold in folds_of(loops, config, how, folds, deal=seed, seed=seed):
            errors_of[fold.held] = fold.errors
    return errors
