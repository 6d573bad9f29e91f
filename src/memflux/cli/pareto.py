"""`memflux pareto`: what can be had at once, and whether the transport model agrees."""

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
from memflux.cli.question import AtLeast, AtMost, Out, Seed, Voltage, bars, check_out, finish

if TYPE_CHECKING:
    from memflux.analysis.pareto import ParetoResult

PUBLISHED = ("symmetry:min", "on_off_ratio:max")
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
    at_least: AtLeast = None,
    at_most: AtMost = None,
    voltage: Voltage = 5.0,
    method: Annotated[str, typer.Option(help="nsga2, or nsga3 for three and more objectives.")] = "nsga2",
    population: Annotated[int, typer.Option(help="Devices of one generation.")] = 200,
    generations: Annotated[int, typer.Option(help="Generations.")] = 200,
    tolerance: Annotated[
        float | None, typer.Option(help="Stop where the hypervolume grew by less than this share in 20 generations.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Point from which hypervolumes are measured: a number an objective, V,V.")
    ] = None,
    spread: Annotated[
        list[str] | None,
        typer.Option("--spread", help="PARAMETER=RELATIVE spread of devices as they are made; repeatable."),
    ] = None,
    copies: Annotated[int, typer.Option(help="Devices as they are made for each candidate, with --spread.")] = 32,
    quantile: Annotated[
        float | None, typer.Option(help="With --spread: what this share of the devices reaches; default: their mean.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Device to pick: how much each objective counts, W,W.")] = None,
    targets: Annotated[str | None, typer.Option(help="Device to pick: values to come near to or surpass, V,V.")] = None,
    verify: Annotated[int, typer.Option(help="Devices of the front to check with the FV model.", min=0)] = 0,
    seed: Seed = 0,
    out: Out = None,
    figure: Picture = None,
    as_json: Json = False,
) -> None:
    """What can be had at once: the Pareto front of two or more quantities.

    Example: memflux pareto --model 5d-parametric --objective symmetry:min --objective on_off_ratio:max --verify 16
    """
    from memflux.platform.asking.questions import Pareto

    check_out(out)
    check_picture(figure)
    options = dict(
        objective=objectives or PUBLISHED,
        at_least=at_least,
        at_most=at_most,
        voltage=voltage,
        method=method,
        population=population,
        generations=generations,
        tolerance=tolerance,
        reference=reference,
        spread=spread,
        copies=copies,
        quantile=quantile,
        weights=weights,
        targets=targets,
        verify=verify,
        seed=seed,
    )
    question = Pareto.read("options", options)
    predictor, where = asked(model, url, name, token_file, space)
    result = question.answer(predictor, where, bars(as_json))
    if figure is not None:
        from memflux.analysis.confirmed_front import ConfirmedFront
        from memflux.platform.pareto_figures import pareto_figure

        checked = None if result.confirmation is None else ConfirmedFront.from_dict(result.confirmation)
        write_picture(pareto_figure(result, checked), figure)
    finish(result, out, as_json, _pareto_table(result), f"Pareto front over {where.name}")


def _pareto_table(result: "ParetoResult") -> dict[str, Any]:
    count = len(result.objectives)
    rows = {round(k * (count - 1) / max(SHOWN - 1, 1)) for k in range(SHOWN)}
    named = {result.knee: "knee: ", result.selected: "your choice: "}
    table: dict[str, Any] = {"devices on the front": count}
    for k in sorted(rows | {row for row in named if row is not None}):
        values = ", ".join(f"{q} {v:.4f}" for q, v in zip(result.quantities, result.objectives[k], strict=True))
        table[named.get(k, "") + values] = {
            n: f"{v:.4g}" for n, v in zip(result.names, result.parameters[k], strict=True)
        }
    point = ", ".join(f"{v:.4g}" for v in result.reference)
    table |= {
        f"hypervolume from ({point})": f"{result.hypervolume:.5g}, after {result.generations} generations",
        "evaluations": result.evaluations,
        "without a value": result.undefined,
    }
    if result.constraints:
        table["beyond a limit"] = result.infeasible
    if result.confirmation is not None:
        table |= _confirmation_table(result.confirmation)
    return table


def _confirmation_table(check: dict[str, Any]) -> dict[str, Any]:
    share = "none" if check["share"] is None else f"{100 * check['share']:.2f} %"
    apart = zip(check["quantities"], check["largest_difference"], strict=True)
    return {
        "checked with the FV model": f"{len(check['rows'])} devices of the front, {check['undefined']} without a value"
        + (f", {check['infeasible']} beyond a limit" if check["infeasible"] else ""),
        "hypervolume of these": f"{check['hypervolume_predicted']:.5g} predicted, "
        f"{check['hypervolume_confirmed']:.5g} confirmed: {share}",
        "largest differences": ", ".join(f"{q} {'none' if d is None else f'{d:.4f}'}" for q, d in apart),
    }


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("pareto")(pareto)
