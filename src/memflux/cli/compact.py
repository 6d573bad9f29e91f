"""`memflux compact`: models for circuit simulators, from measured loops or from a predictor."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.changes import changes
from memflux.cli.output import Json, emit, progress
from memflux.cli.predictor import ModelOption, NameOption, TokenOption, UrlOption, predictor
from memflux.cli.question import Out, Seed, bar, check_out, finish
from memflux.errors import DataError, InvalidValue, check_number

if TYPE_CHECKING:
    from memflux.analysis.compact_fit import DeviceFit
    from memflux.analysis.loop_fit import LoopFit
    from memflux.contracts import Predictor

Generations = Annotated[int, typer.Option(help="Generations of the global search.")]


def fit(
    folder: Annotated[Path, typer.Argument(help="Folder of records NAME.csv: time_s, source_V, voltage_V, current_A.")],
    model: Annotated[str, typer.Option(help="mms, gmms, vteam, yakopcic or ion-drift.")] = "gmms",
    validate: Annotated[list[str] | None, typer.Option(help="Record that the fit must not see; repeatable.")] = None,
    fixed: Annotated[
        list[str] | None, typer.Option("--fix", help="PARAMETER=VALUE to hold it at (SI); repeatable.")
    ] = None,
    free: Annotated[
        list[str] | None, typer.Option(help="Parameter to fit that is usually held (beta, phi); repeatable.")
    ] = None,
    series_resistance: Annotated[float | None, typer.Option(help="Resistor \\[Ohm]; default: as records say.")] = None,
    generations: Generations = 80,
    restarts: Annotated[int, typer.Option(help="Global searches, of which the best is kept.")] = 2,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """A compact model of the device whose loops were measured behind a resistor.

    Example: memflux compact fit records --model mms --validate 1.5V_5Hz --validate 1.0V_1Hz --out fit.json
    """
    from memflux.analysis.loop_cost import usual
    from memflux.analysis.loop_fit import fit_loops
    from memflux.compact import model_class
    from memflux.loops import read_loops

    check_out(out)
    kind = model_class(model)
    held = _held(usual(kind), fixed or [], free or [])
    loops = read_loops(folder, series_resistance)
    training, validation = loops.split(validate) if validate else (loops, None)
    with progress(as_json) as shown, bar(shown, f"fit of {model}") as tick:
        found = fit_loops(
            kind, training, validation, held, generations=generations, restarts=restarts, seed=seed, progress=tick
        )
    finish(found, out, as_json, _table(found), f"{kind.KEY} model of {folder}")


def device(
    amplitude: Annotated[tuple[float, float], typer.Option(help="Smallest and largest amplitude [V].")],
    period: Annotated[tuple[float, float], typer.Option(help="Shortest and longest period \\[s].")],
    preset: Annotated[str, typer.Option(help="seed, S1, S2, Ex107, fit-a or fit-b.")] = "seed",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE of the device (energies in eV, else SI); repeatable.")
    ] = None,
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    waveform: Annotated[str, typer.Option(help="triangle or sine.")] = "triangle",
    cycles: Annotated[int, typer.Option(help="Cycles of each drive, from rest.")] = 2,
    points: Annotated[int, typer.Option(help="Amplitudes and periods that are fitted, of each.")] = 3,
    compact: Annotated[
        list[str] | None, typer.Option(help="Compact model to try; repeatable. Default: all five.")
    ] = None,
    generations: Generations = 80,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The compact model that is nearest to a device: of a surrogate, an endpoint or, without either, the FV model.

    Example: memflux compact device --preset seed --model 9d --amplitude 5 10 --period 2 16 --out fit.json
    """
    from memflux.analysis.compact_fit import fit_device
    from memflux.compact import KEYS
    from memflux.device import Device

    check_out(out)
    chosen = Device.preset(preset).replace(**changes(change or []))
    asked, words = _predictor(model, url, name, token_file)
    about = " ".join([f"the device {preset}", *(f"with {text}" for text in change or [])])
    with progress(as_json) as shown, bar(shown, "models") as tick:
        found = fit_device(
            asked, chosen, amplitude, period, waveform, cycles, points, tuple(compact or KEYS), generations, seed,
            (about, words), tick,
        )  # fmt: skip
    table = _table(found.fit) | {
        f"held-out L_b, {key}": f"{errors['validation']:.4g}" for key, errors in found.tried.items()
    }
    if found.outside:
        table["drives that the predictor extrapolated for"] = found.outside
    finish(found, out, as_json, table, f"compact model of {about}")


def export(
    result: Annotated[Path, typer.Argument(help="JSON file of `memflux compact fit` or `device`.")],
    target: Annotated[Path, typer.Argument(help="File to write: .sp for SPICE (ngspice), .va for Verilog-A.")],
    start: Annotated[float | None, typer.Option(help="State at the start, 0 to 1; default: off, or as fitted.")] = None,
    as_json: Json = False,
) -> None:
    """The fitted model as a SPICE subcircuit or a Verilog-A module, with its error and box in the header.

    Example: memflux compact export fit.json model.sp
    """
    from memflux.netlist import export as text_of

    found = _read(result)
    fitted = found if not hasattr(found, "fit") else found.fit
    state = start if start is not None else fitted.start or 0.0
    text = text_of(fitted.compact, target.suffix, found.notes(), state)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}; choose a folder that can be.") from None
    emit({"written to": str(target), "model": fitted.model["model"], "start": state}, as_json, str(result))


def _held(usually: dict[str, float], fixed: list[str], free: list[str]) -> dict[str, float]:
    """Parameters to hold: the usual ones but those in `free`, and those of `fixed`."""
    if unknown := sorted(set(free) - set(usually)):
        raise InvalidValue(f"--free {unknown[0]} is fitted anyway; leave it out, or give one of {', '.join(usually)}.")
    held = {name: value for name, value in usually.items() if name not in free}
    for text in fixed:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            raise InvalidValue(f"--fix {text!r} is not PARAMETER=VALUE; write for example --fix beta=38.7.") from None
        held[name] = check_number(name, value, low=-1e300, high=1e300)
    return held


def _predictor(
    model: str | None, url: str | None, name: str | None, token_file: Path | None
) -> tuple["Predictor", str]:
    """What to ask, and what it is called."""
    if model is None and url is None:
        from memflux.solvers.solver import Solver

        if name is not None or token_file is not None:
            raise InvalidValue("--name and --token-file belong to --url; give it, or leave them out.")
        return Solver(), "the finite-volume model"
    return predictor(model, url, name, token_file), f"the surrogate {model or url}"


def _read(path: Path) -> "LoopFit | DeviceFit":
    from memflux.analysis.compact_fit import DeviceFit
    from memflux.analysis.loop_fit import LoopFit

    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None  # whose sentence is that of LoopFit
    return DeviceFit.from_json(path) if kind == DeviceFit.KIND else LoopFit.from_json(path)


def _table(found: "LoopFit") -> dict[str, Any]:
    table: dict[str, Any] = {"model": found.model["model"], "mean L_b, fitted": found.mean_error("training")}
    if found.validation:
        table |= {"mean L_b, held out": found.mean_error("validation"), "mean L_b, all": found.mean_error()}
    for name, unit in found.units.items():
        notes = ["held"] * (name in found.fixed) + ["at an end of its range"] * (name in found.at_bounds)
        table[name] = f"{found.model[name]:.5g} {unit}" + (f" ({', '.join(notes)})" if notes else "")
    table["polarity"] = found.model["polarity"]
    if found.start is not None:
        table["state at rest"] = found.start
    table["L_b of records"] = {name: float(error) for name, error in zip(found.names, found.errors, strict=True)}
    table["seconds"] = f"{found.seconds_global:.1f} global, {found.seconds_local:.1f} local"
    return table | {"status": found.status}


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    group = typer.Typer(no_args_is_help=True, help="Compact models for circuits: fit loops or devices, export.")
    group.command("fit")(fit)
    group.command("device")(device)
    group.command("export")(export)
    app.add_typer(group, name="compact")
