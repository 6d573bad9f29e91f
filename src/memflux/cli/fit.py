"""`memflux fit`: which device a measured curve comes from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from memflux.cli.output import Json, console, emit
from memflux.cli.picture import Picture, check_picture, write_picture
from memflux.cli.predictor import (
    Model,
    ModelOption,
    NameOption,
    SpaceOption,
    TokenOption,
    UrlOption,
    asked,
)
from memflux.cli.question import Fix, Out, Seed, assigned, bar, check_out
from memflux.errors import InvalidValue, check_integer
from memflux.space import DRIVE_PARAMETERS, Space
from memflux.waveform import Triangle

if TYPE_CHECKING:
    from memflux.analysis.confirmed_fit import Confirmation
    from memflux.analysis.identifiability import Identifiability
    from memflux.analysis.inverse import FitResult
    from memflux.analysis.likelihood import Noise
    from memflux.analysis.posterior import Posterior
    from memflux.analysis.results import AbstractResult
    from memflux.contracts import CurveCost


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
    from memflux.analysis.inverse import fit_curve
    from memflux.analysis.likelihood import Noise

    check_out(out)
    check_picture(figure)
    check_integer("verify", verify, low=0, high=10_000)
    check_integer("steps", steps, low=20, high=1_000_000)
    level = Noise(relative=noise)
    predictor, where = asked(model, url, name, token_file, space)
    drive, held = _known(where, assigned("--fix", fix))
    pairs = []
    for target in _targets(curve, drive, predictor, cost, floor):
        with bar("fit", as_json) as tick:
            found = fit_curve(predictor, where, target, starts, iterations, polish, held, seed, tick)
        pairs.append((found, target))
    result, target = min(pairs, key=lambda pair: pair[0].cost)
    answer = Answer(result)
    if verify:
        answer = answer._replace(confirmation=_confirmation(result, where, target, predictor, verify))
    if profile or posterior:
        answer = answer._replace(
            **_certainty(predictor, where, target, result, level, profile, posterior, steps, seed, as_json)
        )
    _write(answer, out)
    if figure is not None:
        _draw(answer, where, figure)
    if as_json:
        emit(answer.to_dict(), as_json)
    else:
        written = {"written to": str(out)} if out else {}
        emit(_table(answer) | written, as_json, f"device of {where.name} nearest to {curve}")


class Answer(NamedTuple):
    """What was found, each where it was asked for."""

    fit: "FitResult"
    confirmation: "Confirmation | None" = None
    identifiability: "Identifiability | None" = None
    posterior: "Posterior | None" = None

    def extras(self) -> "dict[str, AbstractResult]":
        """All but the fit itself, by name."""
        return {name: value for name, value in self._asdict().items() if name != "fit" and value is not None}

    def to_dict(self) -> dict[str, Any]:
        """The fit, and the others under their names."""
        return self.fit.to_dict() | {name: value.to_dict() for name, value in self.extras().items()}


def _targets(curve: Path, drive: Triangle, model: Model, cost: str, floor: float) -> "list[CurveCost]":
    """The cost for every way in which the branches of the file may be in order."""
    from memflux.analysis.measured import read_curves
    from memflux.contracts import CurveCost

    curves = read_curves(curve, drive, model.samples)
    if len(curves) > 1:
        console.print(f"{curve} is sorted by voltage: its branches are put in order in all {len(curves)} ways.")
    return [CurveCost(kind=cost, target=target, floor=floor) for target in curves]


def _confirmation(result: "FitResult", space: Space, target: "CurveCost", model: Model, count: int) -> "Confirmation":
    from memflux.analysis.confirmed_fit import confirm
    from memflux.solvers.solver import Solver

    return confirm(result, space, target, model, Solver(samples=model.samples), count)


def _certainty(
    model: Model,
    space: Space,
    target: "CurveCost",
    result: "FitResult",
    noise: "Noise",
    profile: bool,
    samples: bool,
    steps: int,
    seed: int,
    quiet: bool,
) -> "dict[str, Any]":
    """Identifiability, and the posterior where it is wanted."""
    from memflux.analysis.identifiability import identify
    from memflux.analysis.posterior import posterior

    found = identify(model, space, target, result, noise, profile)
    if not samples:
        return {"identifiability": found}
    with bar("posterior", quiet) as tick:
        drawn = posterior(model, space, target, found, steps=steps, seed=seed, progress=tick)
    return {"identifiability": found, "posterior": drawn}


def _write(answer: Answer, out: Path | None) -> None:
    if out is None:
        return
    answer.fit.to_json(out)
    for name, value in answer.extras().items():
        value.to_json(out.with_suffix(f".{name}.json"))


def _draw(answer: Answer, space: Space, path: Path) -> None:
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


def _known(space: Space, fixed: dict[str, float]) -> tuple[Triangle, dict[str, float]]:
    """The drive of the measurement, and which parameters of `space` are not to be fitted."""
    if missing := [p for p in DRIVE_PARAMETERS if p in space.names and p not in fixed]:
        raise InvalidValue(
            f"space {space.name!r} varies the drive and a measured curve has one; give "
            f"{' and '.join(f'--fix {p}=VALUE' for p in missing)}."
        )
    numbers = {p: fixed.get(p, getattr(space, p)) for p in DRIVE_PARAMETERS}
    for p, value in numbers.items():
        if p not in space.names and value != getattr(space, p):
            raise InvalidValue(
                f"{p} = {value:g} is not what space {space.name!r} is for ({getattr(space, p):g}); "
                "use a model of a space that varies it."
            )
    return Triangle(cycles=space.cycles, **numbers), {
        name: value for name, value in fixed.items() if name in space.names or name not in DRIVE_PARAMETERS
    }


def _fit_table(result: "FitResult") -> dict[str, Any]:
    table: dict[str, Any] = {"cost": f"{result.cost:.4g} ({result.cost_kind})", "nMAE in amperes": result.nmae}
    for k, name in enumerate(result.names):
        note = "given" if name in result.fixed else f"{result.low[k]:.4g} to {result.high[k]:.4g}"
        table[name] = f"{result.parameters[name]:.5g} ({note})"
    return table | {"starts within 10 % of the best": result.alike, "evaluations": result.evaluations}


def _table(answer: Answer) -> dict[str, Any]:
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
