"""`memflux sobol`, `memflux pareto` and `memflux fit`: questions to a surrogate or an endpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json, emit, progress
from memflux.cli.predictor import (
    ModelOption,
    NameOption,
    SpaceOption,
    TokenOption,
    UrlOption,
    predictor,
    space_of,
)
from memflux.errors import DataError, InvalidValue
from memflux.space import DRIVE_PARAMETERS, Space
from memflux.waveform import Triangle

if TYPE_CHECKING:
    from memflux.analysis.inverse import FitResult
    from memflux.analysis.pareto import ParetoResult
    from memflux.analysis.quantities import Quantity
    from memflux.analysis.sensitivity import SobolResult

Out = Annotated[Path | None, typer.Option("--out", help="JSON file to write the whole result to.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Voltage = Annotated[float, typer.Option("--voltage", help="Voltage [V] at which the on-off ratio is read.")]
SHOWN = 12  # rows of a front in the terminal


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("sobol")(sobol)
    app.command("pareto")(pareto)
    app.command("fit")(fit)


def sobol(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    quantity: Annotated[list[str] | None, typer.Option(help="symmetry or on_off_ratio; repeatable.")] = None,
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

    _check_out(out)
    quantities = [_quantity(q, voltage) for q in quantity or ("symmetry", "on_off_ratio")]
    asked = predictor(model, url, name, token_file)
    where = space_of(asked, space)
    with _bar("Sobol indices", as_json) as tick:
        result = analyse(
            asked, where, quantities, base_samples=base_samples, second_order=second_order, seed=seed, progress=tick
        )
    _finish(result, out, as_json, _sobol_table(result), f"Sobol indices over {where.name}")


def pareto(
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    objective: Annotated[list[str] | None, typer.Option(help="QUANTITY:min or QUANTITY:max; repeatable.")] = None,
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

    _check_out(out)
    objectives = [_objective(text, voltage) for text in objective or ("symmetry:min", "on_off_ratio:max")]
    asked = predictor(model, url, name, token_file)
    where = space_of(asked, space)
    with _bar("Pareto front", as_json) as tick:
        result = analyse(
            asked, where, objectives, population=population, generations=generations, seed=seed, progress=tick
        )
    _finish(result, out, as_json, _pareto_table(result), f"Pareto front over {where.name}")


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
    starts: Annotated[int, typer.Option(help="Starting points.")] = 256,
    iterations: Annotated[int, typer.Option(help="Steps of the first search, of all starts.")] = 120,
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

    _check_out(out)
    asked = predictor(model, url, name, token_file)
    where = space_of(asked, space)
    drive, held = _known(where, _fixed(fix or []))
    target = CurveCost(kind=cost, target=read_curve(curve, drive, asked.samples), floor=floor)
    with _bar("fit", as_json) as tick:
        result = fit_curve(
            asked,
            where,
            target,
            starts=starts,
            iterations=iterations,
            polish=polish,
            fixed=held,
            seed=seed,
            progress=tick,
        )
    _finish(result, out, as_json, _fit_table(result), f"device of {where.name} nearest to {curve}")


def _quantity(name: str, voltage: float) -> "Quantity":
    from memflux.analysis.quantities import QUANTITIES, OnOffRatio
    from memflux.errors import check_choice

    check_choice("quantity", name, QUANTITIES)
    return OnOffRatio(voltage=voltage) if name == OnOffRatio.name else name


def _objective(text: str, voltage: float) -> "tuple[Quantity, str]":
    name, colon, sense = text.partition(":")
    if not colon:
        raise InvalidValue(f"--objective {text} has no sense; give {text}:min or {text}:max.")
    return _quantity(name, voltage), sense


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


def _check_out(out: Path | None) -> None:
    """Refuse an output path that cannot work before minutes are spent."""
    if out is not None and (out.is_dir() or not out.resolve().parent.is_dir()):
        raise DataError(f"--out {out} is not a file in an existing folder; make the folder or name another file.")


@contextmanager
def _bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    with progress(quiet) as bar:
        task = bar.add_task(what, total=None, note="")

        def tick(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tick


def _finish(
    result: "SobolResult | ParetoResult | FitResult",
    out: Path | None,
    as_json: bool,
    table: dict[str, Any],
    title: str,
) -> None:
    """Write the whole result, and show it: all of it to machines, the essence to people."""
    if out is not None:
        result.to_json(out)
    emit(result.to_dict() if as_json else table | ({"written to": str(out)} if out else {}), as_json, title)


def _sobol_table(result: "SobolResult") -> dict[str, Any]:
    table: dict[str, Any] = {}
    for q, quantity in enumerate(result.quantities):
        for order in ("first", "total"):
            index, half = getattr(result, order)[q], getattr(result, f"{order}_interval")[q]
            cells = (f"{i:.3f} ± {h:.3f}" for i, h in zip(index, half, strict=True))
            table[f"{quantity}, {order} order"] = dict(zip(result.names, cells, strict=True))
    return table | {"evaluations": result.evaluations} | ({"notes": "\n".join(result.notes)} if result.notes else {})


def _pareto_table(result: "ParetoResult") -> dict[str, Any]:
    count = len(result.objectives)
    rows = sorted({round(k * (count - 1) / max(SHOWN - 1, 1)) for k in range(SHOWN)})
    table: dict[str, Any] = {"devices on the front": count}
    for k in rows:
        values = ", ".join(f"{q} {v:.4f}" for q, v in zip(result.quantities, result.objectives[k], strict=True))
        table[values] = {n: f"{v:.4g}" for n, v in zip(result.names, result.parameters[k], strict=True)}
    return table | {"evaluations": result.evaluations, "without a value": result.undefined}


def _fit_table(result: "FitResult") -> dict[str, Any]:
    table: dict[str, Any] = {"cost": f"{result.cost:.4g} ({result.cost_kind})", "nMAE in amperes": result.nmae}
    for k, name in enumerate(result.names):
        note = "given" if name in result.fixed else f"{result.low[k]:.4g} to {result.high[k]:.4g}"
        table[name] = f"{result.parameters[name]:.5g} ({note})"
    return table | {"starts within 10 % of the best": result.alike, "evaluations": result.evaluations}
