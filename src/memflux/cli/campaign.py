"""`memflux campaign`: write a campaign file, check it, run it, and try failed devices again."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memflux.cli import campaign_data
from memflux.cli.output import Json, console, emit, progress
from memflux.cli.watch import say_stopping, summary_line, told, watch
from memflux.errors import InvalidValue, MissingDependency, check_choice

if TYPE_CHECKING:
    from memflux.platform.campaigns.campaign import Campaign
    from memflux.platform.campaigns.runner import Executor

EXECUTORS = ("ray", "serial", "mpi")

File = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML), as `campaign new` writes it.")]
Chosen = Annotated[str, typer.Option("--executor", help="ray: all cores, or a cluster; serial: this process; mpi.")]
Workers = Annotated[int | None, typer.Option(help="Processes; default: one a core.", min=1)]
Address = Annotated[str | None, typer.Option(help="Ray cluster (host:port); default: one of its own.")]


def register(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Simulate many devices: resumable, nothing lost.")
    for command in (new, check, run, retry):
        group.command(command.__name__)(command)
    campaign_data.register(group)
    app.add_typer(group, name="campaign")


def new(
    preset: Annotated[
        str, typer.Option(help="Design space: 2d, 4d, 5d, 7d, 9d, 5d-parametric, 16d, 16d-raw or 5d-any-drive.")
    ],
    count: Annotated[int | None, typer.Option(help="Devices; default: as many as were published.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    design: Annotated[str, typer.Option(help="published, sobol or latin-hypercube.")] = "published",
    engine: Annotated[str, typer.Option(help="petsc, compiled, cuda, auto; compact: a stand-in.")] = "petsc",
    as_json: Json = False,
) -> None:
    """Print a commented campaign file.

    Example: memflux campaign new --preset 9d --count 1000 --seed 0 > c.yaml
    """
    from memflux.platform.campaigns.campaign import PUBLISHED_COUNTS, SAMPLES, Campaign, shard_size_for
    from memflux.space import Space

    space = Space.preset(preset)
    count = count or PUBLISHED_COUNTS[space.name]
    campaign = Campaign(
        space=preset,
        count=count,
        seed=seed,
        design=design,
        samples=SAMPLES // space.cycles,
        engine=engine,
        shard_size=shard_size_for(count, engine),
    )
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
        task = bar.add_task("probe", total=min(probe, campaign.count), note="")
        cost = estimate(campaign, probe, lambda: bar.advance(task))
    result: dict[str, Any] = {
        "space": campaign.design_space().name,
        "design": campaign.design,
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
    emit(result, as_json, title=str(file))
    if not as_json:
        _show(cost.first_devices)


def run(
    file: File,
    out: Annotated[str, typer.Option(help="Folder or URL to fill; the same command resumes.")],
    executor: Chosen = "ray",
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run a campaign, or go on with it: what is there already is not made again.

    Interrupt, SIGTERM or SIGUSR1: what is in flight is finished, and the exit code is 75.

    Example: memflux campaign run c.yaml --out data/c --executor ray --workers 8

    Example: mpiexec -n 64 memflux campaign run c.yaml --out data/c --executor mpi
    """
    with executor_for(executor, workers, address, lambda: _read(file)) as work:
        if work is not None:
            _fill(*work, out, as_json)


def retry(
    folder: campaign_data.Folder,
    status_class: Annotated[list[str] | None, typer.Option("--class", help="Status class; may be repeated.")] = None,
    executor: Chosen = "ray",
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Solve failed devices of a data set again, and make what is missing of it.

    Without --class, those that a crash, a lack of memory, a lost node or the budget of seconds stopped. A solve that
    failed by itself fails in the same way again and is refused: that takes another control, in another data set.

    Example: memflux campaign retry data/c --class crashed --class out_of_memory
    """

    def read() -> "Campaign":
        from memflux.folder import Folder
        from memflux.platform.campaigns.recheck import campaign_of
        from memflux.shards import Manifest

        return campaign_of(Manifest.read(Folder.at(folder)))

    with executor_for(executor, workers, address, read) as work:
        if work is not None:
            _fill(*work, folder, as_json, again=_classes(status_class))


def _classes(names: list[str] | None) -> tuple[str, ...]:
    from memflux.platform.campaigns.shard_work import UNLUCKY
    from memflux.traces import SOLVED, STATUS_CLASSES

    for name in names or ():
        if name in STATUS_CLASSES and name not in (*UNLUCKY, SOLVED):
            raise InvalidValue(
                f"class = {name!r} would end in the same way again, because the same solver meets the same device; "
                f"retry one of {', '.join(UNLUCKY)}, or run a campaign of another control into another folder."
            )
        check_choice("class", name, UNLUCKY)
    return tuple(names or UNLUCKY)


def _fill(executor: "Executor", campaign: "Campaign", out: str, as_json: bool, again: tuple[str, ...] = ()) -> None:
    """Run the campaign, say what came of it, and exit with 75 where it was stopped."""
    from memflux.platform.campaigns import runner
    from memflux.platform.launching.command import STOPPED

    with watch(as_json) as show:
        state = runner.run(campaign, out, executor, show, on_stop=lambda: say_stopping(as_json), again=again)
    if as_json:
        emit({"out": out, **told(state), "stopped": state.stopped}, True)
    else:
        sys.stdout.write(summary_line(state) + "\n")
    if state.stopped:
        if not as_json:
            where = f"stopped at {state.done} of {state.wanted} curves"
            console.print(Text(f"{where}; run the same command again to go on."), soft_wrap=True)
        raise typer.Exit(STOPPED)


def _read(file: Path) -> "Campaign":
    from memflux.platform.campaigns.campaign import Campaign

    return Campaign.from_yaml(file)


@contextlib.contextmanager
def executor_for(
    name: str, workers: int | None, address: str | None, read: "Callable[[], Campaign]"
) -> Iterator["tuple[Executor, Campaign] | None"]:
    """The executor of that name and the campaign; None on an MPI rank that has done its part by following rank 0."""
    check_choice("executor", name, EXECUTORS)
    for option, value in (("workers", workers), ("address", address)):
        if value is not None and name != "ray":
            raise InvalidValue(f"{option} is for --executor ray; leave it out with --executor {name}.")
    if name == "serial":
        from memflux.platform.campaigns.executor_serial import SerialExecutor

        yield SerialExecutor(), read()
    elif name == "mpi":
        with _mpi() as executor:
            yield None if executor is None else (executor, read())
    else:
        try:
            from memflux.platform.campaigns.executor_ray import RayExecutor
        except ImportError as error:
            raise MissingDependency(
                f"--executor ray needs Ray ({error}); pip install 'memflux[cluster]', or use --executor serial or mpi."
            ) from None
        campaign = read()
        yield RayExecutor(workers=workers or campaign.workers, address=address), campaign


@contextlib.contextmanager
def _mpi() -> Iterator["Executor | None"]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a rank a core
    try:
        from memflux.platform.campaigns import executor_mpi
    except (ImportError, RuntimeError) as error:
        raise MissingDependency(
            f"--executor mpi needs mpi4py and an MPI ({error}); pip install 'memflux[petsc]' mpich."
        ) from None
    if not executor_mpi.leads():
        executor_mpi.follow()
        yield None
        return
    try:
        yield executor_mpi.MpiExecutor()
    except KeyboardInterrupt:  # the second interrupt; the folder is free again
        executor_mpi.abort()
    finally:
        executor_mpi.dismiss()


def _show(devices: list[dict[str, float]], abreast: int = 5) -> None:
    """The first devices, a column each, as many abreast as fit a narrow terminal."""
    for first in range(0, len(devices), abreast):
        part = devices[first : first + abreast]
        table = Table("device", *map(str, range(first, first + len(part))), box=None)
        for name in part[0]:
            table.add_row(name, *(f"{device[name]:.3g}" for device in part))
        Console().print(table)
