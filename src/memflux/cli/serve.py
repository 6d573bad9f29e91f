"""`memflux serve`: surrogates behind an HTTP endpoint, until Ctrl-C."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memflux.cli.output import Json, console, emit
from memflux.errors import InvalidValue

if TYPE_CHECKING:
    from memflux.platform.serving.serve import Scale

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN_FILE = Path("~/.memflux/token")


def serve(
    folders: Annotated[
        list[str], typer.Argument(metavar="[NAME=]FOLDER...", help="Surrogate folders or pretrained names to serve.")
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every interface.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
    token_file: Annotated[
        Path, typer.Option("--token-file", help="File with the bearer token; made (mode 0600) where there is none.")
    ] = TOKEN_FILE,
    replicas: Annotated[int, typer.Option("--replicas", help="Copies that answer side by side.")] = 1,
    most: Annotated[int | None, typer.Option("--most-replicas", help="Copies under load; default: --replicas.")] = None,
    cpus: Annotated[float, typer.Option("--cpus", help="CPUs of one replica, and its threads.")] = 1.0,
    gpus: Annotated[float, typer.Option("--gpus", help="GPUs of one replica, or a share of one.")] = 0.0,
    precision: Annotated[str, typer.Option("--precision", help="float32, or float64 at half the speed.")] = "float32",
    solvers: Annotated[int, typer.Option("--solvers", help="Solvers that verify answers, a CPU each.")] = 0,
    keep: Annotated[
        str | None, typer.Option("--keep", help="Folder for data sets of what the solvers solve, one a model.")
    ] = None,
    address: Annotated[str | None, typer.Option("--address", help="A running Ray; default: an embedded one.")] = None,
    as_json: Json = False,
) -> None:
    """Serve surrogates behind an HTTP endpoint until Ctrl-C or SIGTERM.

    Example: memflux serve 5d-parametric=runs/surrogate --port 8000 --token-file token

    Example: memflux serve 5d-parametric --solvers 2 --keep runs/kept

    Ask it with: memflux.Client("http://127.0.0.1:8000", token_file="token")
    """
    from memflux.platform.cluster import local_cluster
    from memflux.platform.serving.access import token_in
    from memflux.platform.serving.serve import Scale, check_keep, check_port, endpoint, load_surrogate

    models = named(folders)
    scale = Scale(replicas=replicas, most=most, cpus=cpus, gpus=gpus, precision=precision, solvers=solvers)
    check_port(host, port)
    check_keep(keep, scale)
    _check_cores(scale, address)
    for folder in models.values():
        load_surrogate(folder, dataclasses.replace(scale, gpus=0.0))
    path = token_file.expanduser().absolute()
    token = token_in(path)
    if host not in LOOPBACK:
        console.print(f"listening on {host}: the token travels unencrypted; put a TLS proxy in front of strangers")
    with contextlib.ExitStack() as stack:
        with console.status("starting Ray and the endpoint"):
            stack.enter_context(local_cluster(cores=scale.cores, address=address))
            # Ray has put its own handler there; this one lets the blocks end what they started.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            running = stack.enter_context(endpoint(models, host=host, port=port, token=token, scale=scale, keep=keep))
        emit({"url": running.url, "models": list(running.models), "token_file": str(path)}, as_json, title="endpoint")
        sys.stdout.flush()
        _wait()


def _check_cores(scale: "Scale", address: str | None) -> None:
    """An embedded Ray has the cores of this process; one at an address is asked later."""
    cores = len(os.sched_getaffinity(0))
    if address is None and scale.cores > cores:
        raise InvalidValue(
            f"{scale.largest} replicas of {scale.cpus:g} CPUs and {scale.solvers} solvers do not fit the {cores} cores "
            "of this machine; ask for fewer, or give the --address of a larger Ray."
        )


def _wait() -> None:
    """Return at Ctrl-C or SIGTERM."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopping")


def named(folders: list[str]) -> dict[str, str]:
    """Models by name from FOLDER (its last part is the name) or NAME=FOLDER."""
    models: dict[str, str] = {}
    for entry in folders:
        name, separator, folder = entry.partition("=")
        if not separator:
            name, folder = Path(entry).absolute().name, entry
        if name in models:
            raise InvalidValue(f"two models are called {name!r}; name them apart as NAME=FOLDER.")
        models[name] = folder
    return models


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("serve")(serve)
