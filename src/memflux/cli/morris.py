"""`memflux morris`: which parameters matter at all."""

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
from memflux.cli.question import Out, Quantities, Seed, Voltage, bars, check_out, finish

if TYPE_CHECKING:
    from memflux.analysis.screening import MorrisResult


def morris(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    quantities: Quantities = None,
    voltage: Voltage = 5.0,
    trajectories: Annotated[int, typer.Option(help="Paths through the space, of one device a parameter and one.")] = 64,
    seed: Seed = 0,
    out: Out = None,
    figure: Picture = None,
    as_json: Json = False,
) -> None:
    """Which parameters matter at all: Morris screening by elementary effects, from few devices.

    Example: memflux morris --model 9d --trajectories 100 --figure screening.png
    """
    from memflux.platform.asking.questions import Morris

    check_out(out)
    check_picture(figure)
    options = dict(quantity=quantities, voltage=voltage, trajectories=trajectories, seed=seed)
    question = Morris.read("options", options)
    predictor, where = asked(model, url, name, token_file, space)
    result = question.answer(predictor, where, bars(as_json))
    if figure is not None:
        from memflux.platform import sensitivity_figures

        write_picture(sensitivity_figures.morris(result), figure)
    finish(result, out, as_json, _table(result), f"Elementary effects over {where.name}")


def _table(result: "MorrisResult") -> dict[str, Any]:
    """The parameters of every quantity, the most important one first."""
    table: dict[str, Any] = {}
    for q, name in enumerate(result.quantities):
        table[f"{name}, mean magnitude"] = {
            result.names[p]: f"{result.mu_star[q, p]:.4g} ± {result.mu_star_interval[q, p]:.2g}, "
            f"deviation {result.sigma[q, p]:.4g}"
            for p in (-result.mu_star[q]).argsort(kind="stable")
        }
    return table | {"evaluations": result.evaluations} | ({"notes": "\n".join(result.notes)} if result.notes else {})


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("morris")(morris)
