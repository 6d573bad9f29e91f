"""`memflux campaign status | verify | export`: what a campaign has made."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json, emit, progress
from memflux.errors import DataError, InvalidValue

if TYPE_CHECKING:
    from memflux.dataset import Summary

Folder = Annotated[str, typer.Argument(metavar="DIR", help="Data set: a folder, or the URL of one.")]


def register(group: typer.Typer) -> None:
    """Mount the commands on the group `campaign`."""
    for command in (status, verify, export):
        group.command(command.__name__)(command)


def status(folder: Folder, as_json: Json = False) -> None:
    """Count, hash and time what a campaign has made so far, and say what its failures have in common.

    It may be running: only footers of shards are read, and some rows where devices have failed.

    Example: memflux campaign status data/c --json
    """
    from memflux.dataset import summarise

    summary = summarise(folder)
    tally, method = summary.tally, summary.manifest.method
    result: dict[str, Any] = {
        "wanted": summary.manifest.rows,
        "done": tally.rows,
        "failed": tally.failures,
        "failed_by_class": summary.failed_by_class,
        "failures_have_in_common": _common(summary, folder),
        "rate": tally.rate(),
        "work_hours": tally.work_s / 3600.0,
        "newton_steps": tally.newton_steps,
        "shards": summary.shards,
        "disk_mb": None if summary.disk_bytes is None else summary.disk_bytes / 1e6,
        "engine": method.engine,
        "solver_version": method.solver_version,
        "content_hash": tally.content_hash,
    }
    emit(result, as_json, title=folder)


def _common(summary: "Summary", folder: str) -> list[str]:
    """A sentence a region of the parameters where devices fail."""
    if summary.tally.failures == 0:
        return []
    try:
        from memflux.platform.campaigns.failures import ENOUGH, common_regions
    except ImportError as error:
        return [f"not looked for: {error}; pip install 'memflux[cluster]'"]
    if summary.tally.failures < ENOUGH:
        return [f"not looked for: fewer than {ENOUGH} failures"]
    return [str(region) for region in common_regions(summary, folder)] or ["nothing that the parameters tell"]


def verify(
    folder: Folder,
    solve: Annotated[int, typer.Option(help="Random rows to solve again and compare.", min=0, max=100_000)] = 0,
    seed: Annotated[int, typer.Option(help="Of the choice of rows.")] = 0,
    as_json: Json = False,
) -> None:
    """Check every shard against the checksum in its name and the rows it should hold; exit code 1 if one is damaged.

    Shards that are missing are counted: a campaign may be unfinished.

    Example: memflux campaign verify data/c --solve 20
    """
    from memflux import dataset

    found = dataset.verify(folder)
    result: dict[str, Any] = {"wanted": found.wanted, "present": found.present, "missing": found.missing}
    result |= {"damaged": len(found.damaged), "sentences": found.damaged}
    wrong: tuple[str, ...] = ()
    if solve and not found.damaged:
        again, wrong = _solve_again(folder, solve, seed, as_json)
        result |= again
    emit(result, as_json, title=folder)
    if found.damaged:
        raise DataError(f"{len(found.damaged)} of {found.present} shards of {folder} are damaged: {found.damaged[0]}")
    if wrong:
        raise DataError(f"{len(wrong)} of {result['solved_again']} rows are not what the solver makes: {wrong[0]}.")


def _solve_again(folder: str, count: int, seed: int, as_json: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    from memflux.platform.campaigns.recheck import recheck

    with progress(as_json) as bar:
        task = bar.add_task("rows solved again", total=count, note="")
        found = recheck(folder, count, seed, on_row=lambda: bar.advance(task))
    worst = found.worst if math.isfinite(found.worst) else None  # None: another class, or another extent
    told = {"solved_again": found.rows, "identical": found.identical, "worst_deviation": worst}
    return told | {"sentences": found.wrong}, found.wrong


def export(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: .nc, .h5 or .csv.")],
    form: Annotated[str | None, typer.Option("--format", help="netcdf, hdf5 or csv; default: by the suffix.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a data set as one file for other programs, a shard at a time.

    DuckDB, polars, pandas and Ray Data read the folder as it lies: 'DIR/shard-*.parquet'.

    Example: memflux campaign export data/c c.nc
    """
    from memflux.export import export as write

    if target.is_dir():
        raise InvalidValue(f"{target} is a folder; give the name of a file that ends with .nc, .h5 or .csv.")
    rows = write(folder, target, form, overwrite=overwrite)
    emit({"rows": rows, "file": str(target), "mb": target.stat().st_size / 1e6}, as_json)
