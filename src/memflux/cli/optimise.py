"""`memflux optimise`: the device that comes nearest to what is wanted."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json
from memflux.cli.predictor import (
    ModelOption,
    NameOption,
    SpaceOption,
    TokenOption,
    UrlOption,
    asked,
)
from memflux.cli.question import AtLeast, AtMost, Fix, Out, Seed, Voltage, bars, check_out, finish

if TYPE_CHECKING:
    from memflux.analysis.optimise import OptimiseResult


def optimise(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", help="QUANTITY=VALUE or QUANTITY=VALUE/SCALE; repeatable; default: as published."),
    ] = None,
    at_least: AtLeast = None,
    at_most: AtMost = None,
    voltage: Voltage = 5.0,
    fix: Fix = None,
    population: Annotated[int, typer.Option(help="Devices of one generation.")] = 64,
    generations: Annotated[int, typer.Option(help="Generations.")] = 80,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The device whose quantities are nearest to given values, in units of a scale each, under constraints.

    Example: memflux optimise --model 5d-parametric --target symmetry=0 --target on_off_ratio=1 --at-most energy=1e-3
    """
    from memflux.platform.asking.options import PUBLISHED
    from memflux.platform.asking.questions import Optimise

    check_out(out)
    options = dict(
        target=targets or PUBLISHED,
        at_least=at_least,
        at_most=at_most,
        voltage=voltage,
        fix=fix,
        population=population,
        generations=generations,
        seed=seed,
    )
    question = Optimise.read("options", options)
    predictor, where = asked(model, url, name, token_file, space)
    result = question.answer(predictor, where, bars(as_json))
    finish(result, out, as_json, _optimise_table(result), f"optimum over {where.name}")


def _optimise_table(result: "OptimiseResult") -> dict[str, Any]:
    table: dict[str, Any] = {"cost": f"{result.cost:.6g}"}
    for q, name in enumerate(result.quantities):
        bounds = {"target": result.targets[q], "at least": result.low[q], "at most": result.high[q]}
        asked_for = ", ".join(f"{what} {value:.4g}" for what, value in bounds.items() if value == value)
        table[name] = f"{result.values[q]:.5g} ({asked_for})"
    for name, value in result.parameters.items():
        table[name] = f"{value:.5g}" + (" (given)" if name in result.fixed else "")
    return table | {"evaluations": result.evaluations, "without a value": result.undefined}


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("optimise")(optimise)
