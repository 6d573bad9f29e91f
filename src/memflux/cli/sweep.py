"""`memflux sweep`: a model's answers for very many devices, as Parquet."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from memflux.cli.output import Json, console, emit, progress
from memflux.cli.predictor import Model, ModelOption, NameOption, SpaceOption, TokenOption, UrlOption, asked
from memflux.cli.question import Quantities, Seed, Voltage
from memflux.errors import InvalidValue
from memflux.platform.asking.options import quantities_of

if TYPE_CHECKING:
    from memflux.platform.sweep import State


def sweep(
    out: Annotated[str, typer.Option(help="Folder or URL to fill; the same command resumes.")],
    count: Annotated[int, typer.Option(help="Devices; may grow later.")],
    model: ModelOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    token_file: TokenOption = None,
    space: SpaceOption = None,
    quantities: Quantities = None,
    voltage: Voltage = 5.0,
    curves: Annotated[bool, typer.Option("--curves", help="Write the currents, too, as float32.")] = False,
    design: Annotated[str, typer.Option(help="sobol, latin-hypercube or published.")] = "sobol",
    seed: Seed = 0,
    shard_size: Annotated[int, typer.Option(help="Devices a file, a multiple of 8192; 0: as many as suit.")] = 0,
    device: Annotated[str, typer.Option(help="Where a --model computes: cpu, cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="Of a --model: float64 or float32.")] = "float64",
    as_json: Json = False,
) -> None:
    """Ask a model for up to 4 x 10^9 devices, and write what it says as Parquet while it goes on.

    Interrupt, SIGTERM or SIGUSR1: finished files stay, and the exit code is 75.

    Example: memflux sweep --model 5d-parametric --count 1000000 --out sweeps/5d
    """
    from memflux.platform.launching.command import STOPPED
    from memflux.platform.sweep import sweep as run
    from memflux.platform.sweep_files import Question

    predictor, where = asked(model, url, name, token_file, space)
    wanted = tuple(quantities_of(quantities, voltage))
    question = Question(
        space=where, count=count, quantities=wanted, design=design, seed=seed, curves=curves, shard_size=shard_size
    )
    with _watch(as_json) as show:
        state = run(_placed(predictor, url, device, precision), question, out, show, lambda: _say_stopping(as_json))
    result = {
        "out": out,
        "devices": state.counts.rows,
        "made": state.made,
        "outside": state.counts.outside,
        "failed": state.counts.failed,
        "undefined": state.counts.undefined,
        "seconds": state.seconds,
        "devices_per_second": state.rate,
        "stopped": state.stopped,
    }
    emit(result, as_json, f"Sweep over {where.name}")
    if state.stopped:
        if not as_json:
            there = f"stopped with {state.counts.rows} of {state.wanted} devices"
            console.print(Text(f"{there}; run the same command again to go on."), soft_wrap=True)
        sys.exit(STOPPED)


def _placed(predictor: Model, url: str | None, device: str, precision: str) -> Model:
    """A surrogate of this machine where it is to compute; an endpoint has its own place."""
    if (device, precision) == ("cpu", "float64"):
        return predictor
    if url is not None:
        raise InvalidValue("--device and --precision belong to --model; an endpoint decides them where it is served.")
    from memflux.training.surrogate import Surrogate

    assert isinstance(predictor, Surrogate)
    return predictor.on(device, precision)


@contextmanager
def _watch(as_json: bool) -> Iterator[Callable[["State"], None]]:
    with progress(as_json) as shown:
        task = shown.add_task("devices", total=None, note="")

        def show(state: "State") -> None:
            note = f"{state.rate:,.0f}/s"
            for number, what in ((state.counts.outside, "outside"), (state.counts.undefined, "without a value")):
                note += f", {number:,} {what}" if number else ""
            shown.update(task, completed=state.counts.rows, total=state.wanted, note=note)

        yield show


def _say_stopping(as_json: bool) -> None:
    if not as_json:
        console.print("stopping after the devices in work; interrupt again to drop them", soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("sweep")(sweep)
