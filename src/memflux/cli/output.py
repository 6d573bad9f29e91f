"""What every command does alike: results for people or machines, and errors in one sentence."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output, for machines.")]

console = Console(stderr=True)  # progress and remarks; standard output belongs to results


def emit(result: Mapping[str, Any], as_json: bool, title: str = "") -> None:
    """Print a result: one JSON object, or a table of its plain entries."""
    if as_json:
        sys.stdout.write(json.dumps(result, default=_plain, allow_nan=False) + "\n")
        return
    table = Table(title=Text(title) if title else None, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # of a hash every digit counts
    for key, value in result.items():
        table.add_row(key, Text(_shown(value)))
    Console().print(table)


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """A progress bar on standard error; silent with `quiet` (machines) or where nobody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=quiet) as bar:
        yield bar


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "\n".join(f"{k}: {_shown(v)}" for k, v in value.items())
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(_shown(v) for v in value)
    return str(value)
