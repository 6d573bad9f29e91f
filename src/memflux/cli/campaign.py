"""`memflux campaign`: write a campaign file, check it, run it, and look at what it made."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from memflux.cli.output import Json, console, emit, progress
from memflux.errors import DataError, InvalidValue, MissingDependency, check_choice

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from memflux.platform.campaigns.campaign import Campaign
    from memflux.platform.campaigns.runner import Executor, Progress

EXECUTORS = ("ray", "serial")
STOPPED = 75  # exit code of a run that was asked to stop and can go on (EX_TEMPFAIL)

File = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML), as `campaign new` writes it.")]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="Data set: a folder, or the URL of one.")]


def register(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Simulate many devices: resumable, nothing lost.")
    for name, command in (("new", new), ("check", check), ("run", run), ("status", status), ("verify", verify)):
        group.command(name)(command)
    app.add_typer(group, name="campaign")


def new(
    preset: Annotated[str, typer.Option(help="Design space: 2d, 4d, 5d, 7d, 9d, 5d-parametric, 16d or 16d-raw.")],
    count: Annotated[int, typer.Option(help="Devices.")],
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    engine: Annotated[str, typer.Option(help="auto, petsc, compiled; compact: a stand-in for the physics.")] = "auto",
    as_json: Json = False,
) -> None:
    """Print a commented campaign file.

    Example: memflux campaign new --preset 9d --count 1000 --seed 0 > c.yaml
    """
    from memflux.platform.campaigns.campaign import Campaign, shard_size_for

    campaign = Campaign(space=preset, count=count, seed=seed, engine=engine, shard_size=shard_size_for(count))
    if as_json:
        emit(campaign.model_dump(), True)
    else:
        sys.stdout.write(campaign.to_yaml())


def check(
    file: File,
    probe: Annotated[int, typer.Option(help="Devices to solve and time; 0: none.", min=0, max=1000)] = 2,
    as_json: Json = False,
) -> None:
    """Say what a campaign will cost, without running it: rows, disk, core-hours, its first devices.

    Example: memflux campaign check c.yaml --probe 5
    """
    from memflux.platform.campaigns.estimate import estimate

    campaign = _read(file)
    with progress(as_json) as bar:
        task = bar.add_task("probe", total=probe, note="")
        cost = estimate(campaign, probe, lambda: bar.advance(task))
    result: dict[str, Any] = {
        "space": campaign.space,
        "devices": campaign.count,
        "shards": cost.shards,
        "samples_per_curve": cost.samples,
        "disk_mb": None if cost.disk_bytes is None else cost.disk_bytes / 1e6,
        "engine": cost.engine,
        "seconds_per_curve": cost.seconds_per_curve,
        "core_hours": cost.core_hours,
        "probe_failed": cost.probe_failed,
    }
    if as_json:
        result["first_devices"] = cost.first_devices
    else:
        result["first devices"] = "\n".join(_line(device) for device in cost.first_devices)
    emit(result, as_json, title=str(file))


def run(
    file: File,
    out: Annotated[str, typer.Option(help="Folder or URL to fill; the same command resumes.")],
    executor: Annotated[str, typer.Option(help="ray: all cores, or a cluster; serial: this process.")] = "ray",
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core.", min=1)] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster (host:port); default: one of its own.")] = None,
    as_json: Json = False,
) -> None:
    """Run a campaign, or go on with it: what is there already is not made again.

    Example: memflux campaign run c.yaml --out data/c --executor ray --workers 8
    """
    from memflux.platform.campaigns import runner

    campaign = _read(file)
    chosen = _executor(executor, workers or campaign.workers, address)
    with _bar(as_json) as show:
        state = runner.run(campaign, out, chosen, show, on_stop=_say_stopping)
    result = {"out": out, "wanted": state.wanted, "done": state.done, "made": state.made, "failed": state.failed}
    result |= {"damaged": state.damaged, "rate": state.rate, "seconds": state.seconds, "stopped": state.stopped}
    emit(result, as_json)
    if state.stopped:
        console.print(
            Text(f"stopped at {state.done} of {state.wanted} curves; run the same command again to go on."),
            soft_wrap=True,
        )
        raise typer.Exit(STOPPED)


def status(folder: Folder, as_json: Json = False) -> None:
    """Count, hash and time what a campaign has made so far; it may be running.

    Example: memflux campaign status data/c --json
    """
    from memflux.dataset import summarise

    summary = summarise(folder)
    result = {
        "wanted": summary.wanted,
        "done": summary.done,
        "failed": summary.failed,
        "failed_by_class": dict(summary.failed_by_class),
        "rate": summary.rate,
        "work_seconds": summary.wall_time_s,
        "content_hash": summary.content_hash,
    }
    emit(result, as_json, title=folder)


def verify(folder: Folder, as_json: Json = False) -> None:
    """Check every shard against the checksum in its name and the rows it should hold; exit code 1 if one is damaged.

    Shards that are missing are counted: a campaign may be unfinished.

    Example: memflux campaign verify data/c
    """
    from memflux import dataset

    found = dataset.verify(folder)
    result = {"wanted": found.wanted, "present": found.present, "missing": found.missing, "damaged": len(found.damaged)}
    emit(result | {"sentences": found.damaged}, as_json, title=folder)
    if found.damaged:
        raise DataError(
            f"{len(found.damaged)} of {found.present} shards of {folder} are damaged; "
            "run the campaign again, which makes them anew."
        )


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[["Progress"], None]]:
    """What shows progress; the bar appears at its first call, when there is something to show."""
    with contextlib.ExitStack() as stack:
        bars: list[tuple[Bar, TaskID]] = []

        def show(state: "Progress") -> None:
            if not bars:
                if state.damaged:
                    console.print(f"damaged shards that are made again: {state.damaged}", highlight=False)
                bar = stack.enter_context(progress(quiet))
                bars.append((bar, bar.add_task("curves", total=state.wanted, note="")))
            bar, task = bars[0]
            note = f"{state.rate:.3g}/s" + (f", {state.failed} failed" if state.failed else "")
            bar.update(task, total=state.wanted, completed=state.done, note=note)

        yield show


def _say_stopping() -> None:
    console.print("stopping: shards in flight are finished; interrupt again to drop them", soft_wrap=True)


def _read(file: Path) -> "Campaign":
    from memflux.platform.campaigns.campaign import Campaign

    return Campaign.from_yaml(file)


def _executor(name: str, workers: int | None, address: str | None) -> "Executor":
    if check_choice("executor", name, EXECUTORS) == "serial":
        if address is not None:
            raise InvalidValue("address is for --executor ray; the serial executor runs here.")
        from memflux.platform.campaigns.executor_serial import SerialExecutor

        return SerialExecutor()
    try:
        from memflux.platform.campaigns.executor_ray import RayExecutor
    except ImportError as error:
        raise MissingDependency(
            f"--executor ray needs Ray ({error}); pip install 'memflux[cluster]', or use --executor serial."
        ) from None
    return RayExecutor(workers=workers, address=address)


def _line(device: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in device.items())
