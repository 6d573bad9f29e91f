"""`memflux ask`: many analyses from one file, put to one model at once."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memflux.cli import fit, morris, optimise, pareto, sobol
from memflux.cli import map as metric_map
from memflux.cli import predictor as predictors
from memflux.cli.campaign import Address
from memflux.cli.output import Json, console, emit, progress
from memflux.cli.predictor import Model, ModelOption, NameOption, TokenOption, UrlOption
from memflux.cli.question import bar
from memflux.cli.tune import EXECUTORS, RUN, RunIsMeant
from memflux.errors import InvalidValue, MissingDependency, check_choice

if TYPE_CHECKING:
    from memflux.platform.asking.run import Asking, Ended, Outcome, Task

COMMANDS = (sobol, morris, metric_map, optimise, pareto, fit)  # whose analyses a file may hold


def register(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(
        no_args_is_help=True,
        cls=RunIsMeant,
        help="Many analyses from one file, put to one model at once. memflux ask questions.yaml --out DIR asks them.",
    )
    group.command(RUN)(run)
    group.command("new")(new)
    app.add_typer(group, name="ask")


def new(
    analyses: Annotated[
        list[str] | None,
        typer.Option("--analysis", help="sobol, morris, map, optimise, pareto, fit; repeatable; default: all but fit."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a commented file of questions, every option at its default; leave out what need not change.

    Example: memflux ask new --analysis sobol --analysis pareto > questions.yaml
    """
    from memflux.platform.asking.file import ANALYSES

    kinds = [check_choice("analysis", kind, ANALYSES) for kind in analyses or [k for k in ANALYSES if k != "fit"]]
    entries = [{"name": f"{kind}-{number}", **_defaults(kind)} for number, kind in enumerate(kinds, 1)]
    if as_json:
        emit({"analyses": entries}, True)
        return
    said = _help()
    lines = ["# Questions to one model: see `memflux ask --help`. Energies in eV, all else in SI units.", "analyses:"]
    for entry in entries:
        about = said[entry["analysis"]] | {"name": "of the answer, NAME.json"}
        for number, (key, value) in enumerate(entry.items()):
            text = f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=10**9).splitlines()[0]}"
            comment = f"  # {about[key]}" if key in about else ""
            lines.append(f"{'    ' if number else '  - '}{text:<34}{comment}".rstrip())
    sys.stdout.write("\n".join(lines) + "\n")


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of questions (YAML), as `ask new` writes it.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the answers; the same command asks what is missing.")],
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    executor: Annotated[
        str,
        typer.Option("--executor", help="ray: many at once; serial: one after the other. Default: Ray, if here."),
    ] = "",
    actors: Annotated[
        int | None, typer.Option("--actors", help="Questions at once; default: as many as there are cores.", min=1)
    ] = None,
    cpus: Annotated[
        float, typer.Option("--cpus", help="CPUs of an actor; a fraction where an endpoint does the work.")
    ] = 1.0,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Ask one model all the questions of a file, several at once, each answer in DIR/NAME.json.

    What is answered stays, unless its part of the file changed. The exit code is 0 where all are answered, 1 where one
    failed, and 75 where the run was stopped.

    Example: memflux ask questions.yaml --url http://127.0.0.1:8000 --token-file token --out answers --actors 4
    """
    from memflux.platform.asking.file import Questions
    from memflux.platform.asking.run import STATES, InTurn, Task, ask
    from memflux.platform.launching.command import STOPPED

    questions = Questions.from_yaml(file).analyses
    found = predictors.predictor(model, url, name, token_file)
    tasks = [Task(question, predictors.space_of(found, question.space)) for question in questions]
    with progress(as_json) as shown:
        line = shown.add_task("questions", total=None, note="")

        def tell(one: "Ended", done: int, total: int) -> None:
            what = "failed" if one.failure else "answered"
            shown.update(line, completed=done, total=total, note=f"{one.name} {what} after {one.seconds:.1f} s")

        if _by_ray(executor, actors, address):
            asking: Asking = _side_by_side(predictors.opener(model, url, name, token_file), actors, cpus, address)
        else:
            asking = InTurn(found, functools.partial(bar, shown))
        outcome = ask(tasks, found, asking, out, tell, lambda: console.print("stopping after the questions under way"))
    rows = [_row(task, outcome, out) for task in tasks]
    count = {state: sum(row["state"] == state for row in rows) for state in STATES}
    if as_json:
        emit({"folder": str(out), **count, "analyses": rows}, True)
    else:
        _show(rows)
    if count["left"]:
        if not as_json:
            console.print("stopped; run the same command again to go on.")
        raise typer.Exit(STOPPED)
    if count["failed"]:
        raise typer.Exit(1)


def _by_ray(executor: str, actors: int | None, address: str | None) -> bool:
    """Whether Ray is to ask; by default where it is installed."""
    chosen = check_choice("executor", executor or ("ray" if importlib.util.find_spec("ray") else "serial"), EXECUTORS)
    if chosen == "serial" and (actors is not None or address is not None):
        raise InvalidValue("--actors and --address are for --executor ray; leave them out with serial.")
    return chosen == "ray"


def _side_by_side(opened: Callable[[], Model], actors: int | None, cpus: float, address: str | None) -> "Asking":
    try:
        from memflux.platform.asking.executor_ray import SideBySide
    except ImportError as error:
        raise MissingDependency(
            f"--executor ray needs Ray ({error}); pip install 'memflux[cluster]', or use --executor serial."
        ) from None
    return SideBySide(opened, actors, cpus, address)


def _row(task: "Task", outcome: "Outcome", out: Path) -> dict[str, Any]:
    """What became of a question, for machines and for the table."""
    name = task.analysis.name
    one, state = outcome.ended.get(name), outcome.state(name)
    return {
        "name": name,
        "analysis": task.analysis.command,
        "state": state,
        "seconds": None if one is None else round(one.seconds, 3),
        "answer": str(out / f"{name}.json") if state in ("answered", "kept") else None,
        "failure": one.failure if one is not None and state == "failed" else None,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("name", "analysis", "", "seconds", "answer", title="answers", title_justify="left")
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        told = Text(row["failure"] or row["answer"] or "", overflow="fold")
        table.add_row(row["name"], row["analysis"], row["state"], seconds, told)
    Console().print(table)


def _defaults(kind: str) -> dict[str, Any]:
    """An analysis with all of its options, but for what has to be given."""
    from memflux.platform.asking.file import ANALYSES

    required = {"curve": "measured.csv"} if kind == "fit" else {}
    return ANALYSES[kind].read(kind, required).asked()


def _help() -> dict[str, dict[str, str]]:
    """What the options of each command are for, by their names in a file."""
    app = typer.Typer()
    for module in COMMANDS:
        module.register(app)
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        kind: {
            part.opts[-1].lstrip("-").replace("-", "_"): str(part.help).replace("\\[", "[") for part in command.params
        }
        for kind, command in commands.items()
    }
