"""`memflux pulses`: perceptrons of measured pulse trains, and programming with them."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memflux.cli.output import Json, console, emit
from memflux.cli.question import Out, Seed, bar, check_out
from memflux.errors import InvalidValue, check_choice

if TYPE_CHECKING:
    from memflux.pulse_curves import PulseCurves

group = typer.Typer(
    help="Learn measured pulse trains, predict them, and program devices by them.", no_args_is_help=True
)

Curves = Annotated[Path, typer.Argument(help="Folder with curves.csv and read_current_A.csv.")]
Model = Annotated[Path, typer.Argument(help="Folder of a trained model.")]


@group.command("train")
def train(
    folder: Curves,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the model to.")],
    architecture: Annotated[str, typer.Option(help="A1, A2 or A3: one, two or three hidden layers.")] = "A1",
    split: Annotated[
        str, typer.Option(help="What is dealt into training, validation and test: curves, settings or rows (leaks).")
    ] = "curves",
    recipe: Annotated[
        str, typer.Option(help="summed, summed-rows or published; default: what suits the split, never published.")
    ] = "",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train a perceptron on measured pulse trains, split 3:1:1, and save it as a folder.

    Example: memflux pulses train measured --out runs/pulses --split settings
    """
    from memflux.cli.output import progress
    from memflux.training.pulse_mlp import ARCHITECTURES
    from memflux.training.pulse_model import check_model_target, train_model
    from memflux.training.pulse_training import RECIPES

    config = ARCHITECTURES[check_choice("architecture", architecture, ARCHITECTURES)]
    chosen = recipe or ("summed-rows" if split == "rows" else "summed")
    plan = RECIPES[check_choice("recipe", chosen, RECIPES)]
    check_model_target(out)  # before minutes are spent
    curves = _read(folder)
    with progress(quiet=as_json) as shown, bar(shown, "train") as tick:
        model = train_model(curves, config, plan, split, seed, tick)
    model.save(out)
    keys = ("split", "remark", "curves", "seconds", "mse")
    counts = {"parameters": config.parameters, "operations": config.operations, "energy [J]": config.energy()}
    emit({"folder": str(out), **counts, **{k: model.record[k] for k in keys}}, as_json, "pulse model")


@group.command("predict")
def predict(
    model: Model,
    set_duration: Annotated[float, typer.Option(help="Set pulse \\[s].")] = 0.1,
    set_voltage: Annotated[float, typer.Option(help="Set voltage \\[V].")] = 2.0,
    off_duration: Annotated[float, typer.Option(help="Pause \\[s].")] = 0.1,
    read_duration: Annotated[float, typer.Option(help="Read pulse \\[s].")] = 0.1,
    anti_voltage: Annotated[float, typer.Option(help="Antipulse \\[V], 0 or negative.")] = 0.0,
    first: Annotated[
        float | None, typer.Option(help="Read current of the device after its first pulse \\[A], where it is known.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The read current of a train of equal pulses, scaled and in A, with its band.

    Example: memflux pulses predict runs/pulses --set-duration 0.2 --anti-voltage -0.5 --json
    """
    import numpy as np

    from memflux.training.pulse_model import PulseModel

    loaded = PulseModel.load(model)
    setting = np.array([[set_duration, set_voltage, off_duration, read_duration, anti_voltage]])
    scaled = loaded.scaled(setting)[0]
    current = loaded.current(setting, None if first is None else np.array([first]))[0]
    inside = bool(loaded.covers(setting)[0])
    if not inside:
        console.print("the setting lies outside those of training.")
    bands = {} if loaded.spread is None else {"low": loaded.band(setting)[0][0], "high": loaded.band(setting)[1][0]}
    if as_json:
        emit({"inside": inside, "scaled": scaled, "current": current, **bands}, as_json)
        return
    few = np.unique(np.geomspace(1, loaded.pulses, 8).round().astype(int)) - 1
    table: dict[str, object] = {"pulse": few + 1, "scaled": scaled[few].round(3)}
    table |= {f"{name} end of the band": values[few].round(3) for name, values in bands.items()}
    emit(table | {"current [uA]": (1e6 * current[few]).round(3)}, as_json, "pulse train")


@group.command("export")
def export(
    model: Model,
    header: Annotated[Path, typer.Argument(metavar="FILE.h", help="C header to write.")],
    name: Annotated[str, typer.Option(help="Name of the C function.")] = "pulse_increment",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model with int8 weights and integer arithmetic as one C header.

    Example: memflux pulses export runs/pulses pulses.h
    """
    from memflux.training.pulse_header import write_header
    from memflux.training.pulse_model import PulseModel

    written = write_header(PulseModel.load(model), header, name, overwrite=overwrite)
    emit(dataclasses.asdict(written), as_json, "C header")


@group.command("program")
def program(
    model: Model,
    folder: Curves,
    target: Annotated[
        float | None, typer.Option(help="Level, 0 to 1, of the range at the commonest setting; default: random ones.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Simulated devices.")] = 1000,
    tolerance: Annotated[float, typer.Option(help="Accepted distance of a read level from the target.")] = 0.02,
    most_pulses: Annotated[int, typer.Option(help="Pulses after which a device is given up.")] = 100,
    read_noise: Annotated[float | None, typer.Option(help="Of a read level; default: as measured.")] = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Program devices simulated from the test curves of the model: by the model, and with one setting throughout.

    Example: memflux pulses program runs/pulses measured --target 0.5
    """
    import numpy as np

    from memflux.analysis.programming import Rules, compare
    from memflux.analysis.pulse_devices import DevicePool
    from memflux.training.pulse_model import PulseModel

    check_out(out)
    loaded, rules = PulseModel.load(model), Rules(tolerance=tolerance, most_pulses=most_pulses)
    pool = DevicePool.bootstrap(_held_out(_read(folder), loaded.record["test_curves"]), devices, seed, read_noise)
    random = np.random.default_rng(seed).uniform(0.05, 0.95, devices)
    result = compare(pool, loaded, random if target is None else target, rules, seed)
    if out is not None:
        result.verified.to_json(out)
    written = {} if out is None else {"written to": str(out)}
    emit({**result.summary, **written}, as_json, f"{devices} devices")


def register(app: typer.Typer) -> None:
    """Mount the commands of this module."""
    app.add_typer(group, name="pulses")


def _read(folder: Path) -> "PulseCurves":
    from memflux.pulse_curves import PulseCurves

    curves = PulseCurves.read(folder)
    for what, which in (("a current that is not positive", curves.nonpositive), ("a falling end", curves.falling)):
        if which.any():
            console.print(f"kept, though with {what}: curves {', '.join(map(str, curves.ids[which]))}.")
    return curves


def _held_out(curves: "PulseCurves", ids: "list[int]") -> "PulseCurves":
    import numpy as np

    held: np.ndarray = np.isin(curves.ids, ids)
    if not held.any():
        raise InvalidValue(
            "none of the curves is a test curve of the model; give the folder it learned from, not split by rows."
        )
    return curves.take(held)
