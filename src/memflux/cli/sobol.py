"""`memflux sobol`: which parameters a quantity depends on."""

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
from memflux.cli.question import Out, Seed, Voltage, bar, check_out, finish, quantity

if TYPE_CHECKING:
    from memflux.analysis.sensitivity import SobolResult


def sobol(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    quantities: Annotated[
        list[str] | None,
        typer.Option("--quantity", help="A name as symmetry or symmetry(cycle=0), or FILE.py:FUNCTION; repeatable."),
    ] = None,
    voltage: Voltage = 5.0,
    base_samples: Annotated[int, typer.Option(help="Rows of the design, a power of two.")] = 1024,
    second_order: Annotated[bool, typer.Option("--second-order", help="Pairs of parameters, too.")] = False,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Which parameters a quantity depends on: Sobol indices with 95 % intervals.

    Example: memflux sobol --model surrogate --base-samples 4096 --second-order --out sobol.json
    """
    from memflux.analysis.sensitivity import sobol as analyse

    check_out(out)
    numbers = [quantity(q, voltage) for q in quantities or ("symmetry", "on_off_ratio")]
    predictor, where = asked(model, url, name, token_file, space)
    with bar("Sobol indices", as_json) as tick:
        result = analyse(
            predictor, where, numbers, base_samples=base_samples, second_order=second_order, seed=seed, progress=tick
        )
    finish(result, out, as_json, _sobol_table(result), f"Sobol indices over {where.name}")


def _sobol_table(result: "SobolResult") -> dict[str, Any]:
    table: dict[str, Any] = {}
    for q, name in enumerate(result.quantities):
        for order in ("first", "total"):
            index, half = getattr(result, order)[q], getattr(result, f"{order}_interval")[q]
            cells = (f"{i:.3f} ± {h:.3f}" for i, h in zip(index, half, strict=True))
            table[f"{name}, {order} order"] = dict(zip(result.names, cells, strict=True))
    return table | {"evaluations": result.evaluations} | ({"notes": "\n".join(result.notes)} if result.notes else {})


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("sobol")(sobol)
