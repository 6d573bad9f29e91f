"""`memflux train` and `memflux evaluate`: from a data set to a surrogate, and how good it is."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memflux.cli.active import ROUND, Settings, train_actively
from memflux.cli.output import Json, console, emit
from memflux.cli.training import checkpoint_beside, summary, trained
from memflux.errors import DataError, InvalidValue, MissingDependency, check_choice

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from memflux.dataset import Dataset
    from memflux.traces import Traces
    from memflux.training.evaluate import Evaluation
    from memflux.training.surrogate import Surrogate

PARTS = ("test", "all")
EVALUATION = "evaluation.json"

Data = Annotated[str, typer.Argument(help="Folder or URL of the data set.")]


def train(
    dataset: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the surrogate to.")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the weights and of the order of the batches.")] = 0,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training set.")] = None,
    model: Annotated[
        str, typer.Option("--model", help="Architecture: spectral, lstm, hybrid or neural_ode.")
    ] = "spectral",
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Save and exit with 75 after this long; the same command goes on."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where torch computes: cpu or cuda.")] = "cpu",
    space: Annotated[
        str, typer.Option("--space", help="Preset space, where the data set names none, or --active begins one.")
    ] = "",
    events: Annotated[Path | None, typer.Option("--tensorboard", help="Folder for event files of TensorBoard.")] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Samples a cycle to learn, a divisor of those there are.")
    ] = None,
    step: Annotated[
        float | None, typer.Option("--step", help="Seconds between samples to learn, in place of --samples.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="A further data set, as `memflux serve --keep` makes; may be repeated."),
    ] = None,
    active: Annotated[
        bool, typer.Option("--active", help="Simulate more devices where it errs most, until --target or --limit.")
    ] = False,
    target: Annotated[
        float | None, typer.Option("--target", help="With --active: mean nMAE in A, in %, on random devices.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="With --active: devices simulated altogether.")] = None,
    per_round: Annotated[int | None, typer.Option("--round", help="With --active: devices a round (250).")] = None,
    engine: Annotated[str, typer.Option("--engine", help="With --active: default: that of the data set.")] = "",
    executor: Annotated[
        str, typer.Option("--executor", help="With --active: ray or serial; default: Ray where it is installed.")
    ] = "",
    processes: Annotated[
        int, typer.Option("--processes", help="That share each batch, on cores or, with --device cuda, GPUs.", min=1)
    ] = 1,
    as_json: Json = False,
) -> None:
    """Train a surrogate on a data set and save it as a folder.

    What it has learned is saved beside the folder about once a minute: interrupted, the same command goes on.

    Example: memflux train runs/5d --out runs/surrogate --seed 1

    Example: memflux train runs/5d --out runs/surrogate --also runs/kept/5d

    Example: memflux train runs/5d --out runs/surrogate --active --target 0.2 --limit 2000
    """
    from memflux.training.checkpoint import check_target
    from memflux.training.loop import Recipe
    from memflux.training.models import MODELS, config_for
    from memflux.training.pool import pooled
    from memflux.training.schedule import Schedule

    check_choice("model", model, MODELS)
    check_target(out)  # before minutes are spent
    if active:
        check_choice("model of --active", model, ("spectral",))  # the one with members that can disagree
        alone = {
            "also": also,
            "tensorboard": events,
            "samples": samples,
            "step": step,
            "processes": processes if processes > 1 else None,
        }
        for name, value in alone.items():
            if value is not None:
                raise InvalidValue(f"--{name} is for a training of its own; leave it out with --active.")
        train_actively(
            Settings(
                dataset=dataset,
                out=out,
                target=target,
                limit=limit,
                round=ROUND if per_round is None else per_round,
                engine=engine,
                executor=executor,
                space=space,
                seed=seed,
                epochs=epochs,
                minutes=minutes,
                device=device,
                as_json=as_json,
            )
        )
        return
    _refuse_without_active(target=target, limit=limit, round=per_round, engine=engine, executor=executor)
    checkpoint = checkpoint_beside(out)
    data = _open(dataset)
    if step is not None:
        if samples is not None:
            raise InvalidValue("--step and --samples say the same; give one of them.")
        samples = data.samples_for(step)
    box = data.space_or(space)
    pool = pooled(data, {url: _open(url) for url in also or ()}, box)
    config = config_for(model, len(pool), box.drive)
    schedule = Schedule.of(config)
    if epochs is not None:
        schedule = dataclasses.replace(schedule, epochs=epochs)
    recipe = Recipe(
        config=config, schedule=schedule, seed=seed, device=device, checkpoint=checkpoint,
        seconds=None if minutes is None else 60.0 * minutes,
    )  # fmt: skip
    surrogate = trained(pool, box, recipe, as_json=as_json, samples=samples, events=events, processes=processes)
    surrogate.save(out)
    checkpoint.unlink(missing_ok=True)
    emit(summary(surrogate, out) | ({"also": pool.counts} if also else {}), as_json, title="surrogate")


def _refuse_without_active(**given: int | float | str | None) -> None:
    for name, value in given.items():
        if value is not None and value != "":
            raise InvalidValue(f"{name} = {value!r} is for --active; add that, or leave --{name} out.")


def evaluate(
    surrogate: Annotated[str, typer.Argument(help="Folder of the surrogate, or the name of a pretrained one.")],
    dataset: Data,
    part: Annotated[
        str, typer.Option("--part", help="test: the devices that training never sees, by their hash; all: every one.")
    ] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", help="New or empty folder for figures and evaluation.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a surrogate with the curves of a data set.

    Example: memflux evaluate runs/surrogate runs/5d --part test --out runs/evaluation
    """
    from memflux.training.evaluate import compare
    from memflux.training.surrogate import Surrogate

    check_choice("part", part, PARTS)
    if out is not None:
        _check_evaluation(out)  # before anything is computed
    predict = Surrogate.load(surrogate)
    rows = _part(_open(dataset), predict, part)
    predicted = predict(rows.devices, rows.drive)
    result = compare(predicted, rows.traces, predict.published)
    outside = len(rows) - int(predicted.inside.sum())  # type: ignore[union-attr]
    if outside:
        console.print(f"{outside} of {len(rows)} devices lie outside the space that the surrogate was trained on.")
    summary = {"part": part, "outside": outside, **result.to_dict()}
    if out is None:
        emit(summary, as_json, title="errors")
        return
    from memflux.platform.evaluation_figures import evaluation_figures

    document = {"surrogate": surrogate, "dataset": dataset, **summary}
    values = predict.inputs.values(rows.devices, rows.drive)
    document |= _details(predict, values, rows, predicted, result)
    figures = evaluation_figures(
        Path(surrogate).resolve().name, result, predicted, rows.traces, predict.inputs.parameters, values
    )
    _write_evaluation(out, document, figures)
    emit({**(document if as_json else summary), "folder": str(out)}, as_json, title="errors")


def register(app: typer.Typer) -> None:
    """Mount the commands of this module."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)


def _open(url: str) -> "Dataset":
    from memflux.dataset import Dataset

    return Dataset.open(url)


def _part(data: "Dataset", predict: "Surrogate", part: str) -> "Dataset":
    """The rows of a data set that are asked for, their traces at the samples of the surrogate."""
    from memflux.training.data import split

    data = dataclasses.replace(data, traces=data.traces.on_grid(predict.samples))
    if part == "all":
        return data
    chosen = split(data.devices, data.drive, predict.record["fractions"]).test
    if not chosen.any():
        raise InvalidValue(f"none of the {len(data)} devices falls into the test part; give --part all.")
    return data.take(chosen)


def _check_evaluation(out: Path) -> None:
    """Refuse a folder that holds something else, and figures that cannot be drawn."""
    if out.exists() and not (out / EVALUATION).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidValue(f"{out} exists and holds no evaluation; give a new or empty folder.")
    try:
        import memflux.platform.evaluation_figures  # noqa: F401
    except ImportError:
        raise MissingDependency("pictures need matplotlib; run pip install 'memflux[report]'.") from None


def _details(
    predict: "Surrogate", values: "np.ndarray", data: "Dataset", predicted: "Traces", result: "Evaluation"
) -> dict[str, Any]:
    """What `evaluation.json` says beyond the summary; `values` [B, P] are those of the parameters."""
    from memflux.training.evaluate import felt, worst_devices

    return {
        "felt": felt(predicted, data.traces).to_dict(),
        "worst_devices": worst_devices(result, predict.parameters, values, data.index, data.rows.key),
    }


def _write_evaluation(out: Path, document: dict[str, Any], figures: "dict[str, Figure]") -> None:
    """All files of the folder; those of an earlier evaluation go first, which may have drawn more."""
    from memflux.platform.evaluation_figures import FILES

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (out / name).unlink(missing_ok=True)
        # first of the new files: a folder that an interrupt leaves half full is still an evaluation's
        (out / EVALUATION).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for name, figure in figures.items():
            figure.savefig(out / name, dpi=150)
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror}); give another folder.") from None
