"""What the commands that ask a predictor share: options, the bars, and how a result is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import emit, progress
from memflux.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress

    from memflux.analysis.results import AbstractResult
    from memflux.platform.asking.questions import Stage

Out = Annotated[Path | None, typer.Option("--out", help="JSON file to write the whole result to.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Quantities = Annotated[
    list[str] | None,
    typer.Option("--quantity", help="A name as symmetry or symmetry(cycle=0), or FILE.py:FUNCTION; repeatable."),
]
Fix = Annotated[list[str] | None, typer.Option("--fix", help="PARAMETER=VALUE to hold it at (SI, eV); repeatable.")]
AtLeast = Annotated[list[str] | None, typer.Option("--at-least", help="QUANTITY=VALUE to keep above; repeatable.")]
AtMost = Annotated[list[str] | None, typer.Option("--at-most", help="QUANTITY=VALUE to keep below; repeatable.")]
Voltage = Annotated[
    float, typer.Option("--voltage", help="Voltage [V] at which the on-off ratio is read, where it is given no other.")
]


def check_out(out: Path | None) -> None:
    """Refuse an output path that cannot work before minutes are spent."""
    if out is not None and (out.is_dir() or not out.resolve().parent.is_dir()):
        raise DataError(f"--out {out} is not a file in an existing folder; make the folder or name another file.")


def bars(quiet: bool) -> "Stage":
    """A progress bar for each part of an analysis, told (done, all)."""

    @contextmanager
    def stage(what: str) -> Iterator[Callable[[int, int], None]]:
        with progress(quiet) as shown, bar(shown, what) as tick:
            yield tick

    return stage


@contextmanager
def bar(shown: "Progress", what: str) -> Iterator[Callable[[int, int], None]]:
    """One more bar among those that are shown, told (done, all), as long as the block lasts."""
    task = shown.add_task(what, total=None, note="")
    yield lambda done, total: shown.update(task, completed=done, total=total)


def finish(
    result: "AbstractResult",
    out: Path | None,
    as_json: bool,
    table: dict[str, Any],
    title: str,
) -> None:
    """Write the whole result, and show it: all of it to machines, the essence to people."""
    if out is not None:
        result.to_json(out)
    emit(result.to_dict() if as_json else table | ({"written to": str(out)} if out else {}), as_json, title)
