"""A training as every command shows it: a bar, a checkpoint, and exit code 75 where it was paused."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memflux.cli.output import console, progress
from memflux.errors import MissingDependency

if TYPE_CHECKING:
    from memflux.space import Space
    from memflux.training.data import SplitCurves
    from memflux.training.loop import Recipe
    from memflux.training.pool import Pool
    from memflux.training.schedule import Step
    from memflux.training.surrogate import Surrogate


def trained(
    data: "Pool",
    space: "Space",
    recipe: "Recipe",
    *,
    as_json: bool,
    samples: int | None = None,
    fractions: Sequence[float] | None = None,
    events: Path | None = None,
    note: str = "",
    processes: int = 1,
) -> "Surrogate":
    """The surrogate of a pool of rows, tested on its part for that; `typer.Exit` where the time was up.

    What was learned by then is in the checkpoint. Several processes are those of a Ray of their own.
    """
    from memflux.platform.launching.command import STOPPED
    from memflux.training.data import FRACTIONS, split_curves
    from memflux.training.event_log import EventLog
    from memflux.training.loop import tested
    from memflux.training.resume import Paused

    with progress(quiet=as_json) as bar, contextlib.ExitStack() as stack:
        log = None if events is None else stack.enter_context(EventLog(events))
        task = bar.add_task("train", total=None, note="")

        def show(step: "Step") -> None:
            if log is not None:
                log(step)
            text = f"{note}validation nMAE {100 * step.validation:.3f} %"
            bar.update(task, total=step.epochs, completed=step.epoch, note=text)

        curves = split_curves(data.devices, data.drive, data.traces, space, fractions or FRACTIONS, samples)
        try:
            surrogate = _learned(processes, curves, recipe, show, data.dataset_hash)
        except Paused as pause:
            console.print(str(pause))
            raise typer.Exit(STOPPED) from None
        return tested(surrogate, data.devices, data.drive, data.traces)


def _learned(
    processes: int,
    curves: "SplitCurves",
    recipe: "Recipe",
    show: "Callable[[Step], None]",
    dataset_hash: str | list[str],
) -> "Surrogate":
    from memflux.training.loop import learned

    if processes == 1:
        return learned(curves, recipe, show, dataset_hash)
    try:
        from memflux.platform.cluster import local_cluster
        from memflux.platform.processes import Processes, fit_on
    except ImportError as error:
        raise MissingDependency(
            f"--processes needs Ray Train ({error}); pip install 'memflux[cluster]', or leave it out."
        ) from None
    with local_cluster(processes):
        each = Processes(count=processes, gpus=1.0 if recipe.device == "cuda" else 0.0)
        return fit_on(each, curves, recipe, show, dataset_hash)


def checkpoint_beside(out: Path) -> Path:
    """The file that the training of a surrogate folder goes on from."""
    return out.with_name(f"{out.name}.training")


def summary(surrogate: "Surrogate", folder: Path) -> dict[str, object]:
    """What a command prints of a new surrogate."""
    record = surrogate.record
    return {
        "folder": str(folder),
        "space": surrogate.space.name,
        "split": record["split"],
        "dropped": record["dropped"],
        "seconds": record["seconds"],
        "test_errors": record["test_errors"],
    }
