"""The `memflux` command: mounts one module a command group; heavy imports happen inside them."""

import sys

import typer
from rich.text import Text

from memflux import __version__
from memflux.cli import (
    ask,
    calibrate,
    campaign,
    cluster,
    compact,
    crossbar,
    doctor,
    export,
    fit,
    loops,
    morris,
    optimise,
    pareto,
    pulses,
    report,
    serve,
    simulate,
    sobol,
    submit,
    sweep,
    train,
    tune,
)
from memflux.cli import (
    map as metric_map,
)
from memflux.cli.output import console
from memflux.errors import MemfluxError

app = typer.Typer(
    name="memflux",
    help="From the physics of memristive devices to answers. Energies in eV, everything else in SI units.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> bool:
    if wanted:
        sys.stdout.write(f"memflux {__version__}\n")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that come before the command."""


simulate.register(app)
campaign.register(app)
submit.register(app)
cluster.register(app)
doctor.register(app)
train.register(app)
tune.register(app)
calibrate.register(app)
export.register(app)
serve.register(app)
sobol.register(app)
morris.register(app)
pareto.register(app)
fit.register(app)
compact.register(app)
metric_map.register(app)
optimise.register(app)
sweep.register(app)
crossbar.register(app)
ask.register(app)
loops.register(app)
pulses.register(app)
report.register(app)


def main() -> None:
    """Entry point: a caller's mistake is one sentence and exit code 1 or 2, never a traceback."""
    try:
        app()
    except MemfluxError as error:
        console.print("[bold red]error[/]:", Text(str(error)), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("stopped")
        sys.exit(130)
