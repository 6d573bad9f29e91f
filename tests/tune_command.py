"""The group `memflux tune` as a person calls it."""

from typer import Typer
from typer.testing import CliRunner

from memflux.cli import tune as commands


def run(*words):
    app = Typer()
    app.command("other")(lambda: None)  # a single group would be taken for the program itself
    commands.register(app)
    return CliRunner().invoke(app, ["tune", *map(str, words)])
