"""`memflux map`: a quantity over two or three parameters."""

from typing import TYPE_CHECKING, Annotated, Any

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
from memflux.cli.question import Fix, Out, Quantities, Seed, Voltage, bars, check_out, finish

if TYPE_CHECKING:
    from memflux.analysis.maps import MapResult


def metric_map(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    quantities: Quantities = None,
    voltage: Voltage = 5.0,
    axes: Annotated[
        list[str] | None,
        typer.Option("--axis", help="PARAMETER or PARAMETER=POINTS, two or three times; default: as published."),
    ] = None,
    fix: Fix = None,
    statistic: Annotated[
        str | None,
        typer.Option(help="mean, deviation, median, minimum or maximum over the other parameters; default: hold them."),
    ] = None,
    draws: Annotated[int, typer.Option(help="Devices a node where --statistic is given.")] = 64,
    seed: Seed = 0,
    figure: Picture = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """A quantity over two or three parameters; the others are held, or a statistic is taken over them.

    Example: memflux map --model 5d-parametric --axis barrier_left=64 --axis barrier_right=64 --figure maps.png
    """
    from memflux.platform.asking.questions import Map

    check_out(out)
    check_picture(figure)
    options = dict(
        quantity=quantities, voltage=voltage, axis=axes, fix=fix, statistic=statistic, draws=draws, seed=seed
    )
    question = Map.read("options", options)
    predictor, where = asked(model, url, name, token_file, space)
    result = question.answer(predictor, where, bars(as_json))
    if figure is not None:
        from memflux.platform.analysis_figures import metric_maps

        write_picture(metric_maps(result), figure)
    finish(result, out, as_json, _map_table(result), f"maps over {where.name}")


def _map_table(result: "MapResult") -> dict[str, Any]:
    import numpy as np

    table: dict[str, Any] = {}
    for q, name in enumerate(result.quantities):
        known = np.isfinite(result.values[q])
        if not known.any():
            table[name] = "undefined everywhere"
            continue
        for what, index in (("smallest", np.nanargmin(result.values[q])), ("largest", np.nanargmax(result.values[q]))):
            place = np.unravel_index(index, known.shape)
            lines = (result.x, result.y, result.z)
            where = {axis: f"{lines[k][place[k]]:.4g}" for k, axis in enumerate(result.axes)}  # type: ignore[index]
            table[f"{name}, {what}"] = {name: f"{result.values[q][place]:.4f}"} | where
        table[f"{name}, without a value"] = f"{result.undefined[q]} of {result.evaluations} devices"
    return table | {"held": {k: f"{v:.4g}" for k, v in result.held.items()}, "refused by the rule": result.refused}


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("map")(metric_map)
