"""`memflux loops`: neural ODEs of a measured device, from a folder of its hysteresis loops."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.output import Json, emit, progress
from memflux.cli.question import Out, Seed, check_out
from memflux.errors import DataError, InvalidValue

if TYPE_CHECKING:
    import numpy as np

    from memflux.loops import Loops
    from memflux.training.memode.fit import FitConfig, Trained
    from memflux.training.memode.model import MemOdeConfig

loops_app = typer.Typer(help="Neural ODEs of a measured device.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Argument(help="Folder of records NAME.csv: time_s, source_V, and voltage_V or current_A or both.")
]
Resistance = Annotated[
    float | None, typer.Option(help="Series resistance [Ohm]; by default from records with voltage and current.")
]
Validate = Annotated[
    list[str] | None, typer.Option("--validate", help="A record that is not learned from; repeatable.")
]


def train(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the model to.")],
    kind: Annotated[
        str, typer.Option(help="dual: networks for f and G. single: G from R_ON and R_OFF, one state.")
    ] = "dual",
    states: Annotated[int, typer.Option(help="Components of the state of a dual one.")] = 2,
    width: Annotated[int, typer.Option(help="Units of the hidden layer of f, or of the widest of --layers.")] = 8,
    layers: Annotated[int, typer.Option(help="Hidden layers of f, wide in the middle as published.")] = 1,
    linear: Annotated[bool, typer.Option(help="f is linear in the states, as in MMS and GMMS.")] = False,
    monotone: Annotated[
        bool, typer.Option(help="y rises with the voltage that switches on, and G of a dual one with the states.")
    ] = False,
    sees_voltage: Annotated[bool, typer.Option(help="G of a dual one depends on the voltage too.")] = False,
    validate: Validate = None,
    series_resistance: Resistance = None,
    starts: Annotated[int, typer.Option(help="Small networks from different weights, of which the best grow.")] = 12,
    iterations: Annotated[int, typer.Option(help="Steps of a training, from one size to the next.")] = 60,
    ridge: Annotated[float, typer.Option(help="Weight of the sum of squared weights.")] = 1e-5,
    balanced: Annotated[bool, typer.Option(help="Fit slopes and curvatures too (Algorithm 1).")] = False,
    folds: Annotated[int, typer.Option(help="Parts of a cross-validation of these settings; 0: none.")] = 0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train a neural ODE on all records but those for validation, and say how far it is from each.

    Example: memflux loops train records --validate 1.0V_1Hz --out device
    """
    from memflux.loops import read_loops
    from memflux.training.memode.fit import cross_validate
    from memflux.training.memode.search import candidate

    check_new(out)
    config, how, _ = candidate(
        {
            "kind": kind, "states": states, "linear": linear, "monotone": monotone, "sees_voltage": sees_voltage,
            "width": width, "layers": layers, "starts": starts, "iterations": iterations, "ridge": ridge,
            "balanced": balanced,
        }
    )  # fmt: skip
    if sees_voltage and not config.sees_voltage:
        raise InvalidValue("--sees-voltage is for the network for G, which a single one has not; leave it out.")
    every = read_loops(folder, series_resistance)
    inside = every.without(validate or [])
    crossed: dict[str, Any] = {}
    if folds:
        crossed["L_b, cross-validated"] = float(cross_validate(inside, [(config, how)], folds, seed)[0].mean())
    trained = learned(inside, config, how, seed, as_json=as_json)
    emit(crossed | kept(trained, every, validate or [], out), as_json, f"neural ODE of {folder}")


def check_new(out: Path) -> None:
    """Raises DataError where a model's folder is there already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"--out {out} is there already; name another folder.")


def learned(inside: "Loops", config: "MemOdeConfig", how: "FitConfig", seed: int, *, as_json: bool) -> "Trained":
    """`fit` on all of these records, with a bar that shows the starts."""
    from memflux.training.memode.fit import fit

    with progress(as_json) as shown:
        task = shown.add_task("starts", total=how.starts, note="")
        return fit(
            inside, config, how, seed, lambda k, error: shown.update(task, completed=k + 1, note=f"L_b {error:.3g}")
        )


def kept(
    trained: "Trained", every: "Loops", validation: Sequence[str], out: Path, notes: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Save a model with its L_b of each record, and say what came of its training."""
    result = _errors(every, trained.model.errors(every), validation)
    names = [name for name in every.names if name not in validation]
    trained.model.save(out, {"records": names, "errors": result["records"], **(notes or {})})
    starts = [float(e) for e in trained.of_starts if e < 1e9]
    return {"seconds": trained.seconds, "L_b of the starts": starts, **result, "written to": str(out)}


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a model.")],
    folder: Folder,
    series_resistance: Resistance = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """How far a trained neural ODE is from records; with --out FILE.csv its loops beside them.

    Example: memflux loops evaluate device records --out loops.csv
    """
    from memflux.loops import loop_error, read_loops
    from memflux.training.memode.model import MemOde

    check_out(out)
    loaded, loops = MemOde.load(model), read_loops(folder, series_resistance)
    voltage, current = loaded.predict(loops)
    if out is not None:
        _write(out, loops, voltage, current)
    emit(_errors(loops, loop_error(voltage, current, loops), []), as_json, f"{model} beside {folder}")


def _errors(loops: "Loops", errors: "np.ndarray", validation: Sequence[str]) -> dict[str, Any]:
    """L_b of every record, and its means; None where an orbit does not close."""
    import numpy as np

    held = np.isin(loops.names, list(validation))
    found = {name: float(e) if np.isfinite(e) else None for name, e in zip(loops.names, errors, strict=True)}
    means = {"L_b, all records": errors.mean()} | (
        {"L_b, learned from": errors[~held].mean(), "L_b, validation": errors[held].mean()} if validation else {}
    )
    return {name: float(mean) if np.isfinite(mean) else None for name, mean in means.items()} | {"records": found}


def _write(path: Path, loops: "Loops", voltage: "np.ndarray", current: "np.ndarray") -> None:
    """One line a sample: record, phase, source, and voltage and current as measured and as predicted."""
    import numpy as np

    phase = np.tile(np.arange(loops.source.shape[1]) / loops.source.shape[1], len(loops))
    columns = (phase, loops.source, loops.voltage, loops.current, voltage, current)
    names = np.repeat(loops.names, loops.source.shape[1])
    with path.open("w", encoding="utf-8") as lines:
        lines.write("record,phase,source_V,voltage_V,current_A,predicted_voltage_V,predicted_current_A\n")
        for name, row in zip(names, np.stack([c.ravel() for c in columns], 1), strict=True):
            lines.write(f"{name}," + ",".join(f"{x:.9g}" for x in row) + "\n")


loops_app.command("train")(train)
loops_app.command("evaluate")(evaluate)


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.add_typer(loops_app, name="loops")
