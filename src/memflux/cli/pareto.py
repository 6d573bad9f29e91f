"""`memflux pareto`: what can be had at once."""

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
from memflux.cli.question import Out, Seed, Voltage, bar, check_out, finish, objective

if TYPE_CHECKING:
    from memflux.analysis.pareto import ParetoResult

SHOWN = 12  # rows of a front in the terminal


def pareto(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    objectives: Annotated[
        list[str] | None, typer.Option("--objective", help="QUANTITY:min or QUANTITY:max; repeatable.")
    ] = None,
    voltage: Voltage = 5.0,
    population: Annotated[int, typer.Option(help="Devices of one generation.")] = 200,
    generations: Annotated[int, typer.Option(help="Generations.")] = 200,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """What can be had at once: the Pareto front of two or more quantities.

    Example: memflux pareto --model surrogate --objective symmetry:min --objective on_off_ratio:max --out front.json
    """
    from memflux.analysis.pareto import pareto as analyse

    check_out(out)
    pairs = [objective(text, voltage) for text in objectives or ("symmetry:min", "on_off_ratio:max")]
    predictor, where = asked(model, url, name, token_file, space)
    with bar("Pareto front", as_json) as tick:
        result = analyse(
            predictor, where, pairs, population=population, generations=generations, seed=seed, progress=tick
        )
    finish(result, out, as_json, _pareto_table(result), f"Pareto front over {where.name}")


def _pareto_table(result: "ParetoResult") -> dict[str, Any]:
    count = len(result.objectives)
    rows = sorted({round(k * (count - 1) / max(SHOWN - 1, 1)) for k in range(SHOWN)})
    table: dict[str, Any] = {"devices on the front": count}
    for k in rows:
        values = ", ".join(f"{q} {v:.4f}" for q, v in zip(result.quantities, result.objectives[k], strict=True))
        table[values] = {n: f"{v:.4g}" for n, v in zip(result.names, result.parameters[k], strict=True)}
    return table | {"evaluations": result.evaluations, "without a value": result.undefined}


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("pareto")(pareto)
