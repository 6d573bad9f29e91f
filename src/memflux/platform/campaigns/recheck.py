"""Rows of a data set solved again: what is on the disk against what the solver says today."""

import dataclasses
from collections.abc import Callable

import numpy as np

from memflux.contracts import Predictor
from memflux.errors import DataError, InvalidValue
from memflux.folder import Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.shard_work import UNLUCKY, Job, cpu_target, manifest_of, solver_for
from memflux.rows import Rows
from memflux.shards import Manifest, complete_shards, parse, read_shard

TOLERANCE = 1e-8  # of the peak current, where another CPU made the row


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recheck:
    """What came of it."""

    rows: int  # that were solved again
    identical: int  # to the last bit
    worst: float  # deviation of a current, of the peak of its curve
    wrong: tuple[str, ...]  # a sentence a row that is not what it should be


def recheck(
    url: str,
    count: int,
    seed: int = 0,
    solver_factory: Callable[[Campaign], Predictor] = solver_for,
    on_row: Callable[[], None] = lambda: None,
) -> Recheck:
    """Solve `count` random rows again and compare them.

    On the CPU target that made a row it must be the same to the last bit; on another one, and on a
    GPU, the class must be the same and currents within 1e-8 of the peak. Rows that a crash, a lack of
    memory, a lost node or the budget of seconds ended are left out: they say nothing about the solver.
    Raises InvalidValue where the data set is not that of a campaign, DataError where another solver
    version made it.
    """
    folder = Folder.at(url)
    manifest = Manifest.read(folder)
    job = Job(campaign=campaign_of(manifest), out="", manifest=manifest, solver_factory=solver_factory)
    today = manifest_of(job.campaign).method
    if today != manifest.method:
        raise DataError(
            f"{url} was made by {manifest.method} and this is {today}; rows can be counted, not made again."
        )
    predictor = solver_factory(job.campaign)
    identical, worst, wrong = 0, 0.0, []
    chosen = _choose(folder, manifest, count, seed)
    for row in chosen:
        again = job.rows(predictor, row.index)
        same = again.content().tobytes() == row.content().tobytes()
        identical += same
        deviation = 0.0 if same else _deviation(row, again)
        worst = max(worst, deviation)
        exact = manifest.method.engine != "cuda" and row.biography["cpu_target"][0] == cpu_target()
        if not same and (exact or not deviation <= TOLERANCE):
            wrong.append(
                f"row {row.index[0]} ({row.status_class[0]}) is {again.status_class[0]} when solved again, "
                f"its currents {deviation:.2g} of the peak apart"
            )
        on_row()
    return Recheck(rows=len(chosen), identical=identical, worst=worst, wrong=tuple(wrong))


def campaign_of(manifest: Manifest) -> Campaign:
    """The campaign that a data set is made by; InvalidValue where none did."""
    if not manifest.recipe:
        raise InvalidValue(
            "this data set was written from memory and has no recipe; only a campaign's can be solved again."
        )
    return Campaign(**{**manifest.recipe, "engine": manifest.method.engine})


def _choose(folder: Folder, manifest: Manifest, count: int, seed: int) -> list[Rows]:
    """Random rows, each from a random shard; fewer than `count` where shards are small."""
    shards, _ = complete_shards(folder, manifest)
    if not shards:
        raise DataError(f"{folder.url} has no shards yet; run its campaign first.")
    generator = np.random.default_rng(seed)
    numbers = np.sort(generator.integers(len(shards), size=count))
    found = []
    for number in np.unique(numbers):
        rows = parse(folder, shards[number], read_shard(folder, shards[number]), manifest)
        lucky = np.flatnonzero(~np.isin(rows.status_class.astype(str), UNLUCKY))
        wanted = generator.permutation(lucky)[: int((numbers == number).sum())]
        found += [rows[i : i + 1] for i in wanted]
    return found


def _deviation(row: Rows, again: Rows) -> float:
    """Largest difference of currents over the peak; infinite where class or extent differ."""
    there, here = row.current[0], again.current[0]
    if row.status_class[0] != again.status_class[0] or not np.array_equal(np.isnan(there), np.isnan(here)):
        return float("inf")
    peak = np.nanmax(np.abs(there), initial=0.0)
    return float(np.nanmax(np.abs(there - here), initial=0.0) / (peak or 1.0))
