"""`memflux report`: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from memflux.cli.output import Json, emit


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of the run: data/, surrogate/, sobol.json, pareto.json, fit.json.")
    ],
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a run.

    Example: memflux report runs/demo
    """
    from memflux.platform.report import build_report

    emit({"report": str(build_report(run).resolve())}, as_json)


def register(app: typer.Typer) -> None:
    """Mount the command of this module."""
    app.command("report")(report)
