"""`memflux sobol`: which parameters a quantity, or the whole curve, depends on."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from memflux.cli.output import Json
from memflux.cli.picture import Picture, check_picture, write_picture
from memflux.cli.predictor import (
    ModelOption,
    NameOption,
    SpaceOption,
    TokenOption,
    UrlOption,
    asked,
)
from memflux.cli.question import Out, Quantities, Seed, Voltage, bars, check_out, finish

if TYPE_CHECKING:
    from memflux.analysis.curve_sensitivity import CurveSobolResult
    from memflux.analysis.sensitivity import SobolResult


def sobol(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    quantities: Quantities = None,
    voltage: Voltage = 5.0,
    base_samples: Annotated[int, typer.Option(help="Rows of the design, a power of two.")] = 1024,
    second_order: Annotated[bool, typer.Option("--second-order", help="Pairs of parameters, too.")] = False,
    tolerance: Annotated[
        float | None, typer.Option(help="Double the sample until every 95 % interval is +- this or less.")
    ] = None,
    largest: Annotated[int, typer.Option(help="Base samples that --tolerance may grow to.")] = 65_536,
    along_curve: Annotated[
        bool, typer.Option("--along-curve", help="Of log10|I| at every sample of the last cycle, not of a quantity.")
    ] = False,
    seed: Seed = 0,
    out: Out = None,
    figure: Picture = None,
    as_json: Json = False,
) -> None:
    """Which parameters a quantity, or the whole curve, depends on: Sobol indices with 95 % intervals.

    Example: memflux sobol --model 5d-parametric --second-order --tolerance 0.02 --out sobol.json --figure sobol.png
    """
    from memflux.platform.asking.questions import Sobol

    check_out(out)
    check_picture(figure)
    options = dict(
        quantity=quantities,
        voltage=voltage,
        base_samples=base_samples,
        second_order=second_order,
        tolerance=tolerance,
        largest=largest,
        along_curve=along_curve,
        seed=seed,
    )
    question = Sobol.read("options", options)
    predictor, where = asked(model, url, name, token_file, space)
    result = question.answer(predictor, where, bars(as_json))
    if figure is not None:
        _draw(result, figure)
    finish(result, out, as_json, _table(result), f"Sobol indices over {where.name}")


def _draw(result: "SobolResult | CurveSobolResult", path: Path) -> None:
    from memflux.analysis.sensitivity import SobolResult
    from memflux.platform import sensitivity_figures as figures

    drawn = figures.sobol(result) if isinstance(result, SobolResult) else figures.along_curve(result)
    write_picture(drawn, path)


def _table(result: "SobolResult | CurveSobolResult") -> dict[str, Any]:
    from memflux.analysis.sensitivity import SobolResult

    table = _of_quantities(result) if isinstance(result, SobolResult) else _of_curve(result)
    return table | {"evaluations": result.evaluations} | ({"notes": "\n".join(result.notes)} if result.notes else {})


def _of_quantities(result: "SobolResult") -> dict[str, Any]:
    table: dict[str, Any] = {}
    for q, name in enumerate(result.quantities):
        for order in ("first", "total"):
            table[f"{name}, {order} order"] = dict(
                zip(result.names, map(_cell, *_columns(result, order, q)), strict=True)
            )
        if result.second is not None:
            index, half, wide = _columns(result, "second", q)
            table[f"{name}, second order"] = {
                f"{result.names[j]} and {result.names[k]}": _cell(index[j, k], half[j, k], wide[j, k])
                for j, k in zip(*np.triu_indices(len(result.names), 1), strict=True)
            }
    return table


def _columns(result: "SobolResult", order: str, q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of one quantity, its sampling interval, and that with the error of the model."""
    index, half, wide = (getattr(result, order + end)[q] for end in ("", "_interval", "_interval_with_error"))
    return index, half, wide


def _of_curve(result: "CurveSobolResult") -> dict[str, Any]:
    return {
        f"whole cycle, {order} order": dict(
            zip(
                result.names,
                map(_cell, getattr(result, f"generalised_{order}"), getattr(result, f"generalised_{order}_interval")),
                strict=True,
            )
        )
        for order in ("first", "total")
    }


def _cell(index: float, half: float, wide: float = math.nan) -> str:
    """An index with its interval, and with the one that holds the error of the model where that is known."""
    text = f"{index:.3f} ± {half:.3f}"
    return text if math.isnan(wide) else f"{text}; ± {wide:.3f} with the error of the model"


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("sobol")(sobol)
