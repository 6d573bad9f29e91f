"""The `memflux` command: mounts one module a command group; heavy imports happen inside them."""

import sys

import click
import typer

from memflux import __version__
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


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"memflux {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that come before the command."""


def main() -> None:
    """Entry point: a caller's mistake is one sentence and exit code 1 or 2, never a traceback."""
    try:
        code = app(standalone_mode=False)
    except click.exceptions.Abort:
        console.print("stopped")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("stopped")
        sys.exit(130)
    except MemfluxError as error:
        console.print(f"[bold red]error[/]: {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
