"""Whether posteriors of fitted curves hold the truth: 100 solved curves, and 500 of the surrogate's own.

Truths are drawn from the prior, the curves get noise of 2 % and 0.1 % of the peak. Each is fitted, and its
posterior sampled, as by `memflux fit --posterior` but with shorter chains. Solved curves test the
model's own error in the likelihood; the surrogate's own curves have none, and their ranks (Talts et al.,
arXiv 1804.06788) test noise, prior and sampler.
"""

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process a core, each with one thread

import numpy as np
import torch
from scipy.stats import chisquare

import harness
import published
from harness import Row
from memflux import Space, Surrogate
from memflux.analysis.identifiability import identify
from memflux.analysis.inverse import fit_curve
from memflux.analysis.likelihood import Noise
from memflux.analysis.posterior import posterior
from memflux.contracts import CurveCost

NAME = "5d-parametric"
SPACE = Space.preset(NAME)
SOLVED, OWN = 100, 500
SEED = 77
DRAWS = 99  # of each posterior, nearly independent
BINS = 20  # of their 100 ranks
STARTS, ITERATIONS, POLISH = 128, 20, 40
WALKERS, STEPS = 128, 80


class Task(NamedTuple):
    """One curve without noise and the device it is of."""

    curve: np.ndarray  # A, one cycle
    truth: np.ndarray  # unit cube
    seed: int
    exact: bool  # whether the surrogate itself made it


class Outcome(NamedTuple):
    """What one posterior says of the truth; arrays over parameters."""

    covered: np.ndarray  # by the middle 90 %
    rank: np.ndarray
    error: np.ndarray  # of the mean, in deviations
    width: np.ndarray  # deviation over that of the prior


def solved(quick: bool) -> Iterator[Row]:
    """solved curves: coverage of the 90 % posterior"""
    devices, drive, traces = published.tests(NAME)
    rows = np.flatnonzero(traces.ok)[: 8 if quick else SOLVED]
    truth = SPACE.coordinates(devices[rows], drive[rows])
    curves = traces.on_grid(Surrogate.load(NAME).samples).cycle(-1).current[rows]
    outcomes = _outcomes(
        [Task(c, t, SEED + k, exact=False) for k, (c, t) in enumerate(zip(curves, truth, strict=True))]
    )
    covered = np.mean([o.covered for o in outcomes], axis=0)
    errors, widths = np.array([o.error for o in outcomes]), np.mean([o.width for o in outcomes], axis=0)
    for k, name in enumerate(SPACE.names):
        note = f"of {len(rows)} curves; mean width {widths[k]:.3f} of the prior's"
        share = 100 * covered[k]
        yield Row(
            what=f"90 % posterior covers {name}, at least", value=share, unit="%", bar=80, better="higher", note=note
        )
        yield Row(what=f"90 % posterior covers {name}, at most", value=share, unit="%", bar=98)
    beyond = int((np.abs(errors) > 3.0).sum())
    note = f"{beyond} of {errors.size} beyond; the largest {np.abs(errors).max():.2f}"
    share = 100 * (1.0 - beyond / errors.size)
    yield Row(
        what="abs(error) within 3 posterior deviations", value=share, unit="%", bar=99, better="higher", note=note
    )


def own(quick: bool) -> Iterator[Row]:
    """the surrogate's own curves: uniform ranks"""
    count = 8 if quick else OWN
    devices, drive = SPACE.sample(count, SEED)
    curves = Surrogate.load(NAME)(devices, drive).cycle(-1).current
    truth = SPACE.coordinates(devices, drive)
    outcomes = _outcomes([Task(c, t, SEED + k, exact=True) for k, (c, t) in enumerate(zip(curves, truth, strict=True))])
    ranks = np.array([o.rank for o in outcomes])
    bins = 2 if quick else BINS
    for k, name in enumerate(SPACE.names):
        counts = np.histogram(ranks[:, k], bins, (0, DRAWS + 1))[0]
        note = f"mean rank {ranks[:, k].mean() / DRAWS:.3f} of 0.5"
        p = chisquare(counts).pvalue
        yield Row(what=f"ranks of {name}: p of uniform", value=p, unit="1", bar=0.01, better="higher", note=note)


def _outcomes(tasks: list[Task]) -> list[Outcome]:
    """One process a core, one thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context, torch.set_num_threads, (1,)) as pool:
        return list(pool.map(_outcome, tasks, chunksize=4))


def _outcome(task: Task) -> Outcome:
    surrogate = Surrogate.load(NAME).on("cpu", "float32")  # as it is served
    if task.exact:
        surrogate = dataclasses.replace(surrogate, bands=None)
    noise, random = Noise(), np.random.default_rng(task.seed)
    target = task.curve + noise.of(task.curve) * random.standard_normal(task.curve.size)
    cost = CurveCost(kind="log_curve", target=target)
    fit = fit_curve(surrogate, SPACE, cost, STARTS, ITERATIONS, POLISH, seed=task.seed)
    found = identify(surrogate, SPACE, cost, fit, noise, profile=False)
    drawn = posterior(surrogate, SPACE, cost, found, WALKERS, STEPS, task.seed)
    values = SPACE.values(task.truth[None])[0]
    unit = SPACE.unit(drawn.samples)
    few = drawn.samples[np.linspace(0, len(unit) - 1, DRAWS).astype(int)]
    return Outcome(
        covered=(drawn.low <= values) & (values <= drawn.high),
        rank=(few < values).sum(axis=0),
        error=(unit.mean(axis=0) - task.truth) / unit.std(axis=0),
        width=drawn.width,
    )


if __name__ == "__main__":
    harness.run("fit_recovery", [solved, own])
