"""What the commands that ask a predictor share: options, quantities by name, the bar, and how a result is shown."""

import runpy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from memflux.cli.output import emit, progress
from memflux.errors import DataError, InvalidValue

if TYPE_CHECKING:
    from memflux.analysis.constraint import Constraint
    from memflux.analysis.quantities import Quantity
    from memflux.analysis.results import AbstractResult

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

EXAMPLES = {
    "--fix": "--fix period=8",
    "--target": "--target symmetry=0, or symmetry=0/0.1",
    "--at-least": "--at-least on_off_ratio=0.7",
    "--at-most": "--at-most symmetry=0.3",
    "--spread": "--spread barrier_left=0.05",
}


def quantity(text: str, voltage: float) -> "Quantity":
    """The quantity a user means: a name, one with parameters as `symmetry(cycle=0)`, or FILE.py:FUNCTION."""
    from memflux.analysis.quantities import OnOffRatio, quantity_from_text

    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        return _own(Path(file), function)
    return OnOffRatio(voltage=voltage) if text == OnOffRatio.name else quantity_from_text(text)


def quantities_of(texts: list[str] | None, voltage: float) -> "list[Quantity]":
    """The quantities a user means; the published ones where none is named."""
    return [quantity(text, voltage) for text in texts or ("symmetry", "on_off_ratio")]


def _own(file: Path, name: str) -> "Quantity":
    """The user's own function Traces -> [B]; the file is run, as it would be by Python."""
    if not file.is_file():
        raise DataError(f"{file} is no file; give FILE.py:FUNCTION with a function of Traces in it.")
    found = runpy.run_path(str(file)).get(name)
    if not callable(found):
        raise InvalidValue(f"{file} has no function {name!r}; give the name of a function of Traces in it.")
    return cast("Quantity", found)


def objective(text: str, voltage: float) -> "tuple[Quantity, str]":
    """A quantity and its sense from QUANTITY:min or QUANTITY:max."""
    name, colon, sense = text.rpartition(":")
    if not colon:
        raise InvalidValue(f"--objective {text} has no sense; give {text}:min or {text}:max.")
    return quantity(name, voltage), sense


def number(option: str, text: str, part: str) -> float:
    """The number that `part` of what was given to an option must be."""
    try:
        return float(part)
    except ValueError:
        raise InvalidValue(f"{option} {text} does not end in =NUMBER; write for example {EXAMPLES[option]}.") from None


def assigned(option: str, texts: list[str] | None) -> dict[str, float]:
    """Names and numbers of what was given to an option as NAME=NUMBER; a name may hold an = in brackets."""
    pairs = [(text, *text.rpartition("=")) for text in texts or []]
    return {name.strip(): number(option, text, part) for text, name, _, part in pairs}


def constraints(at_least: list[str] | None, at_most: list[str] | None, voltage: float) -> "list[Constraint]":
    """Limits on quantities from QUANTITY=NUMBER, one for each quantity named."""
    from memflux.analysis.constraint import Constraint

    low, high = assigned("--at-least", at_least), assigned("--at-most", at_most)
    names = dict.fromkeys([*low, *high])
    return [Constraint(quantity=quantity(name, voltage), low=low.get(name), high=high.get(name)) for name in names]


def check_out(out: Path | None) -> None:
    """Refuse an output path that cannot work before minutes are spent."""
    if out is not None and (out.is_dir() or not out.resolve().parent.is_dir()):
        raise DataError(f"--out {out} is not a file in an existing folder; make the folder or name another file.")


@contextmanager
def bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that is told (done, all)."""
    with progress(quiet) as shown:
        task = shown.add_task(what, total=None, note="")

        def tick(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        yield tick


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
