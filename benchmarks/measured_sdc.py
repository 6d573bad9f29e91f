"""Neural ODEs of the tungsten SDC memristor: accuracy on records they never saw, time, and what the data allow."""

import dataclasses
import time
from collections.abc import Iterator

import numpy as np

import harness
import measured_pictures
from harness import Row
from measured_loops import Measured, drift, measured
from memflux.loops import Loops, loop_error
from memflux.training.memode.fit import FitConfig, cross_validate, fit
from memflux.training.memode.gradient import Recipe, descend
from memflux.training.memode.model import MemOde, MemOdeConfig

SINGLE = MemOdeConfig(kind="single", states=1, rate_widths=(16,))
DUAL = MemOdeConfig(states=2, rate_widths=(8,), memductance_widths=(8,))
BENT = MemOdeConfig(states=1, rate_widths=(8,), memductance_widths=(6,), sees_voltage=True)
LARGE = MemOdeConfig(states=3, rate_widths=(10,), memductance_widths=(8,), sees_voltage=True)
LINEAR = dataclasses.replace(LARGE, linear=True)
HOW = FitConfig(starts=12, balanced=False, seconds=150.0)
FULL = dataclasses.replace(HOW, balanced=True)
OF_SINGLE = dataclasses.replace(HOW, starts=24, iterations=200)
SCOUT = {"starts": 4, "iterations": 40}  # of a cross-validation
SEEDS = (0, 100, 200)
Candidates = dict[str, tuple[MemOdeConfig, FitConfig]]
TRAINING_SECONDS = 240.0  # 13 min 51 s published


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """L_b of the paper and of its revision, and the bars."""

    name: str
    validation: float
    every: float
    print_of: str


DUAL_OF = Published(
    name="DualNN", validation=5.0e-3, every=3.0e-3, print_of="8.28e-3 / 2.23e-3, revised 5.77e-3 / 5.26e-3"
)
SINGLE_OF = Published(
    name="SingleNN", validation=1.5e-2, every=1.5e-2, print_of="1.49e-2 / 1.52e-2, revised 1.73e-2 / 1.52e-2"
)


MODELS: dict[str, MemOde] = {}  # what was trained, for the picture


def dual(quick: bool) -> Iterator[Row]:
    """SDC, DualNN-MemODE: chosen by cross-validation inside the 14 records"""
    candidates = {
        "G(x)": (DUAL, HOW),
        "G(x, v)": (BENT, HOW),
        "3 states": (LARGE, HOW),
        "3 states, full loss": (LARGE, FULL),
        "the same, monotone": (dataclasses.replace(LARGE, monotone=True), FULL),
        "the same, f linear": (LINEAR, FULL),
        "the same, f linear, monotone": (dataclasses.replace(LINEAR, monotone=True), FULL),
    }
    yield from _rows(candidates, DUAL_OF, quick)


def single(quick: bool) -> Iterator[Row]:
    """SDC, SingleNN-MemODE: chosen by cross-validation inside the 14 records"""
    candidates = {
        "4 units": (dataclasses.replace(SINGLE, rate_widths=(4,)), OF_SINGLE),
        "16 units": (SINGLE, OF_SINGLE),
        "16 units, f linear in x": (dataclasses.replace(SINGLE, linear=True), OF_SINGLE),
        "16 units, full loss": (SINGLE, dataclasses.replace(OF_SINGLE, balanced=True)),
    }
    yield from _rows(candidates, SINGLE_OF, quick)


def prior(quick: bool) -> Iterator[Row]:
    """SDC, monotone: what it is worth that states rise with the voltage, and G with the states"""
    loops = measured()
    how = _smaller(FULL, quick)
    for config, name in ((LINEAR, "3 states, f linear"), (LARGE, "3 states")):
        for monotone in (False, True):
            trained = [fit(loops.training, dataclasses.replace(config, monotone=monotone), how, s) for s in SEEDS]
            errors = np.stack([t.model.errors(loops.every) for t in trained])
            held = [_of(row, loops, True) for row in errors]
            yield Row(
                what=f"SDC: {name}, {'monotone' if monotone else 'free'}: L_b, validation, mean of seeds", unit="1",
                value=float(np.mean(held)),
                note=f"full loss; {', '.join(f'{e:.2e}' for e in held)}; all {errors.mean():.2e}",
            )  # fmt: skip


def limits(quick: bool) -> Iterator[Row]:
    """SDC, limits: what the records themselves allow"""
    loops = measured()
    trained = fit(loops.every, LARGE, _smaller(HOW, quick))
    yield Row(
        what="SDC: DualNN that learns from all 18 records, L_b of all", value=trained.errors.mean(), unit="1",
        note="what the network can say at all; worst record "
        f"{loops.every.names[int(trained.errors.argmax())]} {trained.errors.max():.2e}",
    )  # fmt: skip
    without = np.array([name != "1.0V_50Hz" for name in loops.training.names])
    found = fit(loops.training[without], LARGE, _smaller(HOW, quick))
    of = dict(zip(loops.every.names, found.model.errors(loops.every), strict=True))
    yield Row(
        what="SDC: 1 V, 100 Hz by a DualNN that never saw 1 V, 50 Hz", value=of["1.0V_100Hz"], unit="1",
        note=f"1 V, 50 Hz, which it did not see either: {of['1.0V_50Hz']:.1e}",
    )  # fmt: skip


def drifts(quick: bool) -> Iterator[Row]:
    """SDC, drift: whether the records are of a device that had come to its periodic state"""
    eighths = drift()
    ranked = sorted(eighths.items(), key=lambda item: -item[1].max())
    yield Row(
        what="SDC: mean loop of an eighth of a record's cycles against that of all, L_b, worst", unit="1",
        value=ranked[0][1].max(),
        note="; ".join(f"{name} first {e[0]:.1e}, last {e[-1]:.1e}" for name, e in ranked),
    )  # fmt: skip


def recipe(quick: bool) -> Iterator[Row]:
    """SDC, gradient descent: the published way to train, beside ours"""
    loops = measured()
    began = time.perf_counter()
    epochs = 20 if quick else 360
    model, history = descend(loops.training, dataclasses.replace(SINGLE, steps=100), Recipe(epochs=epochs))
    seconds = time.perf_counter() - began
    errors = model.errors(loops.every)
    note = (
        f"{epochs} epochs of AdamW in {seconds:.0f} s; learned from {_of(errors, loops, False):.2e}; by ours see above"
    )
    yield Row(what="SDC: SingleNN by gradient descent, L_b of all", value=errors.mean(), unit="1", note=note)
    yield Row(what="SDC: SingleNN by gradient descent, best L_b of an epoch", value=history.min(), unit="1")


def _rows(candidates: Candidates, of: Published, quick: bool) -> Iterator[Row]:
    loops = measured()
    config, how, note = _chosen(candidates, quick)
    how = _smaller(how, quick)
    began = time.perf_counter()
    trained = fit(loops.training, config, how)
    seconds = time.perf_counter() - began
    errors = trained.model.errors(loops.every)
    held = _of(errors, loops, True)
    per = ", ".join(f"{name} {e:.1e}" for name, e in zip(loops.every.names, errors, strict=True))
    yield Row(
        what=f"SDC {of.name}: L_b, validation", value=held, unit="1", bar=of.validation,
        note=f"published {of.print_of} (validation / all); {note}",
    )  # fmt: skip
    yield Row(what=f"SDC {of.name}: L_b, all", value=errors.mean(), unit="1", bar=of.every, note=per)
    yield Row(what=f"SDC {of.name}: L_b, learned from", value=_of(errors, loops, False), unit="1")
    other = np.setdiff1d(np.arange(len(loops.every)), loops.every.names.index("1.0V_100Hz"))
    rest = np.intersect1d(other, np.flatnonzero(np.isin(loops.every.names, loops.validation.names)))
    yield Row(what=f"SDC {of.name}: L_b, validation but 1 V, 100 Hz", value=errors[rest].mean(), unit="1")
    yield Row(
        what=f"SDC {of.name}: training time", value=seconds, unit="s", bar=TRAINING_SECONDS,
        note=f"{len(trained.of_starts)} starts; L_b {', '.join(f'{e:.1e}' for e in np.sort(trained.of_starts))}",
    )  # fmt: skip
    yield Row(
        what=f"SDC {of.name}: evaluation of a trajectory",
        value=1e3 * _evaluation(trained.model, loops.every),
        unit="ms",
    )
    other = fit(loops.training, config, dataclasses.replace(how, balanced=not how.balanced))
    losses = {how.balanced: errors, not how.balanced: other.model.errors(loops.every)}
    for full, name in ((False, "base loss alone"), (True, "full loss (L_v, L_c, Algorithm 1)")):
        yield Row(
            what=f"SDC {of.name}: {name}, validation", value=_of(losses[full], loops, True), unit="1",
            note=f"all {losses[full].mean():.2e}; published SingleNN: base alone 2.24e-2, full 1.85e-2",
        )  # fmt: skip
    if not quick:
        _draw(of.name, trained.model, loops)


def _draw(name: str, model: MemOde, records: Measured) -> None:
    """The loops of both models beside the measured ones, once both are trained in this run (--only NN-MemODE)."""
    MODELS[name] = model
    if len(MODELS) < 2:
        return
    predicted = {name: model.predict(records.every) for name, model in MODELS.items()}
    errors = {name: loop_error(*loops, records.every) for name, loops in predicted.items()}
    figure = measured_pictures.loops(records.every, predicted, errors, records.validation.names)
    figure.savefig(harness.ROOT / "docs" / "images" / "sdc-loops.png", dpi=130)


def _chosen(candidates: Candidates, quick: bool) -> tuple[MemOdeConfig, FitConfig, str]:
    """The network and training of smaller median L_b on records left out, of the 14."""
    effort = {"starts": 1, "iterations": 10} if quick else SCOUT
    pairs = [(config, dataclasses.replace(how, **effort)) for config, how in candidates.values()]
    errors = cross_validate(measured().training, pairs, folds=2 if quick else 5)
    # a median over records: one that no model foretells would choose alone
    medians = np.median(errors, axis=1)
    shown = zip(candidates, medians, errors, strict=True)
    note = ", ".join(f"{name}: {median:.2e} ({e.mean():.2e})" for name, median, e in shown)
    return *list(candidates.values())[int(medians.argmin())], f"cross-validated median (mean) L_b: {note}"


def _smaller(how: FitConfig, quick: bool) -> FitConfig:
    return dataclasses.replace(how, starts=2, iterations=30) if quick else how


def _of(errors: np.ndarray, loops: Measured, validation: bool) -> float:
    return float(errors[np.isin(loops.every.names, loops.validation.names) == validation].mean())


def _evaluation(model: MemOde, loops: Loops) -> float:
    """Seconds a trajectory of one period of 1,000 samples, from the states of its orbit."""
    found = model.orbits(loops, steps=1000)
    began = time.perf_counter()
    for _ in range(20):
        model.orbits(loops, found.start, steps=1000, periods=0)
    return (time.perf_counter() - began) / (20 * len(loops))


ROWS = (dual, single, prior, limits, drifts, recipe)
