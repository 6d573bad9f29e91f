"""`memflux tune`: search for the settings of a model, look at what was found, and train the winner."""

import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from memflux.cli.campaign import Address, Workers
from memflux.cli.output import Json, console, emit, progress
from memflux.errors import InvalidValue, MissingDependency, check_choice

if TYPE_CHECKING:
    from memflux.platform.tuning.journal import Tally
    from memflux.platform.tuning.plan import Plan
    from memflux.platform.tuning.tune import Trials

EXECUTORS = ("ray", "serial")
RUN = "run"

Study = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study, as --out named it.")]


class RunIsMeant(TyperGroup):
    """`memflux tune study.yaml` is `memflux tune run study.yaml`; as well for other groups with a `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(
        no_args_is_help=True,
        cls=RunIsMeant,
        help="Search for settings: many trials from one file, resumable. memflux tune study.yaml --out DIR runs one.",
    )
    for name, command in ((RUN, run), ("new", new), ("status", status), ("report", report), ("winner", winner)):
        group.command(name)(command)
    app.add_typer(group, name="tune")


def new(
    model: Annotated[str, typer.Option("--model", help="spectral, lstm, hybrid, neural_ode; memode: measured loops.")],
    dataset: Annotated[
        str, typer.Option("--dataset", help="Folder or URL of the data set; for memode folder of records NAME.csv.")
    ],
    search: Annotated[
        str, typer.Option("--search", help="Preset of what varies, such as lstm-published; default: that of the model.")
    ] = "",
    trials: Annotated[int, typer.Option("--trials", help="Trainings at most.")] = 64,
    validate: Annotated[
        list[str] | None, typer.Option("--validate", help="memode: a record that no trial sees; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a commented study file.

    Example: memflux tune new --model lstm --dataset runs/5d > study.yaml
    """
    from memflux.platform.tuning.plan import Plan
    from memflux.platform.tuning.subject import MODELS

    check_choice("model", model, MODELS)
    plan = Plan(model=model, dataset=dataset, search=search or model, trials=trials, validation=tuple(validate or ()))
    if as_json:
        emit(plan.model_dump(mode="json", exclude=set(plan.subject.foreign)), True)
    else:
        sys.stdout.write(plan.to_yaml())


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Study file (YAML), as `tune new` writes it.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the study; the same command goes on with it.")],
    executor: Annotated[
        str,
        typer.Option("--executor", help="ray: all cores, or a cluster; serial: this process. Default: Ray, if here."),
    ] = "",
    workers: Workers = None,
    address: Address = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop and exit with 75 after this long; the same command goes on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study, or go on with one.

    Example: memflux tune study.yaml --out runs/study --executor ray
    """
    _need_optuna()
    from memflux.platform.launching.command import STOPPED
    from memflux.platform.tuning.plan import Plan
    from memflux.platform.tuning.tune import run as run_study

    plan = Plan.from_yaml(file)
    trials = _trials(executor, workers, address)
    with progress(as_json) as bar:
        task = bar.add_task("trials", total=plan.trials, note="")

        def show(state: "Tally") -> None:
            best = "" if state.best is None else f", best {state.best:.4g}"
            note = f"{state.pruned} ended early, {state.failed} failed{best}"
            bar.update(task, completed=state.ended, note=note)

        outcome = run_study(
            plan, out, trials, show, on_stop=lambda: console.print("stopping; trials go on from where they were saved"),
            seconds=None if minutes is None else 60.0 * minutes,
        )  # fmt: skip
    emit({"folder": str(out), **dataclasses.asdict(outcome.tally), "stopped": outcome.stopped}, as_json, title="study")
    if outcome.stopped:
        if not as_json:
            console.print(Text("stopped; run the same command again to go on."), soft_wrap=True)
        raise typer.Exit(STOPPED)
    if outcome.tally.failed and not outcome.tally.complete:
        console.print(Text(f"no trial is complete; the last failure: {outcome.last_failure}"), soft_wrap=True)
        raise typer.Exit(1)


def status(study: Study, as_json: Json = False) -> None:
    """Say how far a study is, also while it runs.

    Example: memflux tune status runs/study
    """
    _need_optuna()
    from memflux.platform.tuning.journal import read, tally

    plan, found = read(study)
    emit({"model": plan.model, "trials": plan.trials, **dataclasses.asdict(tally(found))}, as_json, title=str(study))


def report(study: Study, as_json: Json = False) -> None:
    """Write report.html and report.json into the study's folder: best trials, history, slices, importances.

    Example: memflux tune report runs/study
    """
    _need_optuna()
    try:
        from memflux.platform.tuning.report import PAGE, build_report
    except ImportError as error:
        raise MissingDependency(
            f"reports need matplotlib and scikit-learn ({error}); pip install 'memflux[report,cluster]'."
        ) from None
    document = build_report(study)
    if as_json:
        emit(document, True)
        return
    best = document["best"][0]
    settings = best.pop("settings")
    emit({"report": str((study / PAGE).resolve()), **best, "settings": settings}, False, title="best trial")


def winner(
    study: Study,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the surrogate, or the neural ODE of loops, to.")],
    number: Annotated[int | None, typer.Option("--trial", help="Another trial than the best.")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training set, or iterations; default: a trial's.")
    ] = None,
    starts: Annotated[
        int | None, typer.Option("--starts", help="memode: small networks, of which the best grow; default: a trial's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the weights and of the order of the batches.")] = 0,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Save and exit with 75 after this long; the same command goes on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train the best trial's settings on all data but what no trial saw, test it on that, and save it.

    Example: memflux tune winner runs/study --out runs/best
    """
    _need_optuna()
    from memflux.platform.tuning.journal import chosen_trial, read
    from memflux.platform.tuning.subject import NeuralOdes

    plan, found = read(study)
    trial = chosen_trial(found, number)
    settings = {**plan.held(), **trial.params}
    about = {"tuned by": f"trial {trial.number} of {study}"}
    seconds = None if minutes is None else 60.0 * minutes
    if isinstance(plan.subject, NeuralOdes):
        if seconds is not None:
            raise InvalidValue("--minutes is for surrogates: a neural ODE of loops is trained in one go; leave it out.")
        settings |= {k: v for k, v in {"iterations": epochs, "starts": starts}.items() if v is not None}
        result = _neural_ode(plan, settings, out, seed, about, as_json=as_json)
        title = "neural ODE"
    else:
        if starts is not None:
            raise InvalidValue("--starts is for neural ODEs of measured loops; leave it out.")
        settings |= {} if epochs is None else {"epochs": epochs}
        result = _surrogate(plan, settings, out, seed, seconds, about, as_json=as_json)
        title = "surrogate"
    emit({"trial": trial.number, "settings": settings, **result}, as_json, title=title)


def _surrogate(
    plan: "Plan",
    settings: Mapping[str, Any],
    out: Path,
    seed: int,
    seconds: float | None,
    about: dict[str, str],
    *,
    as_json: bool,
) -> dict[str, object]:
    """Trained on all curves of the data set but those of its test part."""
    from memflux.cli.training import checkpoint_beside, summary, trained
    from memflux.dataset import Dataset
    from memflux.training.checkpoint import check_target
    from memflux.training.loop import Recipe
    from memflux.training.pool import Pool
    from memflux.training.search_space import configured

    check_target(out)
    data = Dataset.open(plan.dataset)
    space = data.space_or(plan.space)
    config, schedule = configured(plan.model, settings, len(data), space.drive)
    checkpoint = checkpoint_beside(out)
    recipe = Recipe(
        config=config, schedule=schedule, seed=seed, device="cuda" if plan.gpus else "cpu", checkpoint=checkpoint,
        seconds=seconds,
    )  # fmt: skip
    surrogate = trained(Pool.of(data), space, recipe, as_json=as_json, samples=plan.samples)
    surrogate.described(about).save(out)
    checkpoint.unlink(missing_ok=True)
    return summary(surrogate, out)


def _neural_ode(
    plan: "Plan", settings: Mapping[str, Any], out: Path, seed: int, about: dict[str, str], *, as_json: bool
) -> dict[str, object]:
    """Trained on all records but those for validation."""
    from memflux.cli.loops import check_new, kept, learned
    from memflux.loops import read_loops
    from memflux.training.memode.search import candidate

    check_new(out)
    config, how, _ = candidate(settings)
    every = read_loops(plan.dataset, plan.series_resistance)
    trained = learned(every.without(plan.validation), config, how, seed, as_json=as_json)
    return kept(trained, every, plan.validation, out, about)


def _trials(name: str, workers: int | None, address: str | None) -> "Trials":
    name = check_choice("executor", name or ("ray" if importlib.util.find_spec("ray") else "serial"), EXECUTORS)
    if name == "serial":
        from memflux.platform.tuning.executor_serial import SerialTrials

        if workers is not None or address is not None:
            raise InvalidValue("--workers and --address are for --executor ray; leave them out with serial.")
        return SerialTrials()
    try:
        from memflux.platform.tuning.executor_ray import RayTrials
    except ImportError as error:
        raise MissingDependency(
            f"--executor ray needs Ray Tune ({error}); pip install 'memflux[cluster,tune]', or use --executor serial."
        ) from None
    return RayTrials(workers=workers, address=address)


def _need_optuna() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise MissingDependency("studies need Optuna; run pip install 'memflux[tune]'.")
