"""`memflux fit`: which device a measured curve comes from."""

from pathlib import Path
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
from memflux.cli.question import Out, Seed, bar, check_out, finish
from memflux.errors import InvalidValue
from memflux.space import DRIVE_PARAMETERS, Space
from memflux.waveform import Triangle

if TYPE_CHECKING:
    from memflux.analysis.inverse import FitResult


def fit(
    curve: Annotated[Path, typer.Argument(help="CSV: voltage [V], current [A], or time \\[s], voltage, current.")],
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    fix: Annotated[list[str] | None, typer.Option(help="PARAMETER=VALUE that is known (SI, eV); repeatable.")] = None,
    cost: Annotated[str, typer.Option(help="log_curve (magnitudes over decades) or curve (amperes).")] = "log_curve",
    floor: Annotated[float, typer.Option(help="Smallest measured current [A] that counts.")] = 1e-15,
    starts: Annotated[int, typer.Option(help="Starting points.")] = 500,
    iterations: Annotated[int, typer.Option(help="Steps of the first search, of all starts.")] = 40,
    polish: Annotated[int, typer.Option(help="Steps of the second search, of the best 32.")] = 80,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Which device a measured curve comes from, and how well the curve determines it.

    Example: memflux fit measured.csv --model surrogate --fix period=8 --fix amplitude=10 --out fit.json
    """
    from memflux.analysis.inverse import fit_curve
    from memflux.analysis.measured import read_curve
    from memflux.contracts import CurveCost

    check_out(out)
    predictor, where = asked(model, url, name, token_file, space)
    drive, held = _known(where, _fixed(fix or []))
    target = CurveCost(kind=cost, target=read_curve(curve, drive, predictor.samples), floor=floor)
    with bar("fit", as_json) as tick:
        result = fit_curve(
            predictor,
            where,
            target,
            starts=starts,
            iterations=iterations,
            polish=polish,
            fixed=held,
            seed=seed,
            progress=tick,
        )
    finish(result, out, as_json, _fit_table(result), f"device of {where.name} nearest to {curve}")


def _fixed(texts: list[str]) -> dict[str, float]:
    fixed = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            fixed[name.strip()] = float(value)
        except ValueError:
            raise InvalidValue(f"--fix {text} is not PARAMETER=NUMBER; write for example --fix period=8.") from None
    return fixed


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


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("fit")(fit)
