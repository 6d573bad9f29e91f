"""`memflux calibrate`: bands around the curves of a surrogate, from devices that its training never saw."""

from pathlib import Path
from typing import Annotated

import typer

from memflux.cli.output import Json, emit


def calibrate(
    surrogate: Annotated[str, typer.Argument(help="Folder of the surrogate, or the name of a pretrained one.")],
    dataset: Annotated[str, typer.Argument(help="Data set of another seed than training: folder or URL.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the surrogate with its bands; may be its own.")],
    coverage: Annotated[float, typer.Option("--coverage", help="Probability that the truth is inside.")] = 0.95,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the halves and of the estimate of the error.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure how far solved curves lie from a surrogate's, and keep the bands with it.

    Half of the devices fit an estimate of the error, the other half the quantiles. The data set has to
    be a draw of its own: on devices of the training set bands come out too narrow.

    Example: memflux calibrate runs/surrogate runs/fresh --out runs/surrogate
    """
    from memflux.dataset import Dataset
    from memflux.errors import InvalidValue
    from memflux.training.checkpoint import check_target
    from memflux.training.surrogate import Surrogate

    check_target(out)
    predict, data = Surrogate.load(surrogate), Dataset.open(dataset)
    if data.content_hash in predict.datasets:
        raise InvalidValue(f"{dataset} is a data set that {surrogate} was trained on; give one of another seed.")
    calibrated = predict.calibrated(data.devices, data.drive, data.traces, coverage, seed)
    calibrated.save(out)
    assert calibrated.bands is not None
    result = {"folder": str(out), "coverage": coverage, "devices": len(data), "quantiles_from": calibrated.bands.count}
    emit(result, as_json, title="bands")


def register(app: typer.Typer) -> None:
    """Mount the command of this module."""
    app.command("calibrate")(calibrate)
