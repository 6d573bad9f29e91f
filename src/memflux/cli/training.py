"""A training as every command shows it: a bar, a checkpoint, and exit code 75 where it was paused."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memflux.cli.output import console, progress
from memflux.errors import InvalidValue, MissingDependency

if TYPE_CHECKING:
    from memflux.dataset import Dataset
    from memflux.space import Space
    from memflux.training.models import Config
    from memflux.training.schedule import Schedule, Step
    from memflux.training.surrogate import Surrogate


def trained(
    data: "Dataset",
    space: "Space",
    config: "Config",
    schedule: "Schedule",
    *,
    seed: int,
    checkpoint: Path,
    seconds: float | None,
    as_json: bool,
    device: str = "cpu",
    samples: int | None = None,
    fractions: Sequence[float] | None = None,
    events: Path | None = None,
    note: str = "",
    processes: int = 1,
) -> "Surrogate":
    """`fit` on all of a data set, on one process or several; `typer.Exit` where the time was up.

    What was learned by then is in the checkpoint.
    """
    from memflux.platform.launching.command import STOPPED
    from memflux.training.data import FRACTIONS
    from memflux.training.event_log import EventLog
    from memflux.training.loop import fit
    from memflux.training.resume import Paused

    with progress(quiet=as_json) as bar, contextlib.ExitStack() as stack:
        log = None if events is None else stack.enter_context(EventLog(events))
        task = bar.add_task("train", total=None, note="")

        def show(step: "Step") -> None:
            if log is not None:
                log(step)
            text = f"{note}validation nMAE {100 * step.validation:.3f} %"
            bar.update(task, total=step.epochs, completed=step.epoch, note=text)

        try:
            if processes > 1:
                return _on_processes(
                    processes, data, space, config, schedule, seed, checkpoint, seconds, device, samples, show
                )
            return fit(
                data.devices,
                data.drive,
                data.traces,
                space,
                config,
                schedule,
                seed=seed,
                fractions=fractions or FRACTIONS,
                dataset_hash=data.content_hash,
                on_progress=show,
                device=device,
                checkpoint=checkpoint,
                seconds=seconds,
                samples=samples,
            )
        except Paused as pause:
            console.print(str(pause))
            raise typer.Exit(STOPPED) from None


def _on_processes(
    count: int,
    data: "Dataset",
    space: "Space",
    config: "Config",
    schedule: "Schedule",
    seed: int,
    checkpoint: Path,
    seconds: float | None,
    device: str,
    samples: int | None,
    show: "Callable[[Step], None]",
) -> "Surrogate":
    """On a Ray of its own: as many cores, or GPUs of this machine."""
    from memflux.training.data import split_curves
    from memflux.training.loop import tested

    try:
        from memflux.platform.cluster import local_cluster
        from memflux.platform.processes import Processes, fit_on
    except ImportError as error:
        raise MissingDependency(
            f"--processes needs Ray Train ({error}); pip install 'memflux[cluster]', or leave it out."
        ) from None
    curves = split_curves(data.devices, data.drive, data.traces, space, samples=samples)
    each = Processes(count=count, gpus=1.0 if device == "cuda" else 0.0)
    with local_cluster(count):
        surrogate = fit_on(each, curves, config, schedule, seed, show, data.content_hash, checkpoint, seconds)
    return tested(surrogate, data.devices, data.drive, data.traces)


def checkpoint_beside(out: Path) -> Path:
    """The file that the training of a surrogate folder goes on from."""
    return out.with_name(f"{out.name}.training")


def space_of(data: "Dataset", name: str) -> "Space":
    """The space of a data set, or the preset that stands in for a missing one."""
    from memflux.space import Space

    if data.space is not None:
        return data.space
    if not name:
        raise InvalidValue("the data set names no space; give --space with the preset it was drawn from.")
    return Space.preset(name)


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
