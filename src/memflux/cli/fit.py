"""`memflux fit`: which device a measured curve comes from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json, console, emit
from memflux.cli.picture import Picture, check_picture, write_picture
from memflux.cli.predictor import (
    ModelOption,
    NameOption,
    SpaceOption,
    TokenOption,
    UrlOption,
    asked,
)
from memflux.cli.question import Fix, Out, Seed, bars, check_out

if TYPE_CHECKING:
    from memflux.analysis.inverse import FitResult
    from memflux.platform.asking.fit import FitAnswer
    from memflux.space import Space


def fit(
    curve: Annotated[Path, typer.Argument(help="CSV: voltage [V], current [A], or time \\[s], voltage, current.")],
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    fix: Fix = None,
    cost: Annotated[str, typer.Option(help="log_curve (magnitudes over decades) or curve (amperes).")] = "log_curve",
    floor: Annotated[float, typer.Option(help="Smallest measured current [A] that counts.")] = 1e-15,
    starts: Annotated[int, typer.Option(help="Starting points.")] = 500,
    iterations: Annotated[int, typer.Option(help="Steps of the first search, of all starts.")] = 40,
    polish: Annotated[int, typer.Option(help="Steps of the second search, of the best 32.")] = 80,
    verify: Annotated[int, typer.Option(help="Best distinct devices that the FV model solves again.")] = 0,
    profile: Annotated[
        bool, typer.Option("--profile", help="What the curve determines, with likelihood profiles.")
    ] = False,
    posterior: Annotated[bool, typer.Option("--posterior", help="What the curve determines, by samples.")] = False,
    noise: Annotated[float, typer.Option(help="Noise of the measurement, relative to the current.")] = 0.02,
    steps: Annotated[int, typer.Option(help="Steps of the 256 walkers of --posterior.")] = 400,
    figure: Picture = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Which device a measured curve comes from, and how well the curve determines it.

    With --out FILE.json the other results are FILE.confirmation.json, FILE.identifiability.json, FILE.posterior.json.

    Example: memflux fit measured.csv --model surrogate --fix period=8 --fix amplitude=10 --out fit.json
    """
    from memflux.platform.asking.fit import Fit

    check_out(out)
    check_picture(figure)
    options = dict(
        curve=str(curve),
        fix=fix,
        cost=cost,
        floor=floor,
        starts=starts,
        iterations=iterations,
        polish=polish,
        verify=verify,
        profile=profile,
        posterior=posterior,
        noise=noise,
        steps=steps,
        seed=seed,
    )
    question = Fit.read("options", options)
    predictor, where = asked(model, url, name, token_file, space)
    answer = question.answer(predictor, where, bars(as_json))
    if answer.ways > 1:
        console.print(f"{curve} is sorted by voltage: its branches were put in order in all {answer.ways} ways.")
    if out is not None:
        answer.to_json(out)
    if figure is not None:
        _draw(answer, where, figure)
    if as_json:
        emit(answer.to_dict(), as_json)
    else:
        written = {"written to": str(out)} if out else {}
        emit(_table(answer) | written, as_json, f"device of {where.name} nearest to {curve}")


def _draw(answer: "FitAnswer", space: "Space", path: Path) -> None:
    """The fit in `path`; profiles and posterior beside it."""
    from memflux.platform import fit_figures

    exact = None if answer.confirmation is None else answer.confirmation.exact[0]
    figures = {"": fit_figures.fit(answer.fit, exact)}
    if answer.identifiability is not None and answer.identifiability.profile is not None:
        figures["-profile"] = fit_figures.profiles(answer.identifiability, space)
    if answer.posterior is not None:
        figures["-posterior"] = fit_figures.corner(answer.posterior, space)
    for suffix, figure in figures.items():
        write_picture(figure, path.with_stem(path.stem + suffix))


def _fit_table(result: "FitResult") -> dict[str, Any]:
    table: dict[str, Any] = {"cost": f"{result.cost:.4g} ({result.cost_kind})", "nMAE in amperes": result.nmae}
    for k, name in enumerate(result.names):
        note = "given" if name in result.fixed else f"{result.low[k]:.4g} to {result.high[k]:.4g}"
        table[name] = f"{result.parameters[name]:.5g} ({note})"
    return table | {"starts within 10 % of the best": result.alike, "evaluations": result.evaluations}


def _table(answer: "FitAnswer") -> dict[str, Any]:
    table = _fit_table(answer.fit)
    if answer.confirmation is not None:
        checks = answer.confirmation
        for k in range(len(checks.costs)):
            errors = (checks.predicted_to_exact[k], checks.target_to_exact[k])
            table[f"solved again, device {k + 1}"] = "nMAE of the model {:.2%}, to the curve {:.2%}".format(*errors)
    if answer.posterior is not None:
        drawn = answer.posterior
        for k, name in enumerate(drawn.names):
            table[f"{name}, 90 %"] = f"{drawn.low[k]:.5g} to {drawn.high[k]:.5g} (median {drawn.median[k]:.5g})"
        table["posterior"] = "\n".join(drawn.verdict)
    elif answer.identifiability is not None:
        table["identifiability"] = "\n".join(answer.identifiability.verdict)
    return table


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("fit")(fit)
