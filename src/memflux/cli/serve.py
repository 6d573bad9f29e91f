"""`memflux serve`: surrogates behind an HTTP endpoint, until Ctrl-C."""

import contextlib
import math
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from memflux.cli.output import Json, console, emit
from memflux.errors import InvalidValue

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
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Copies that answer side by side.")] = 1,
    cpus: Annotated[float, typer.Option("--cpus", min=0.1, help="CPUs of one replica, and its threads.")] = 1.0,
    address: Annotated[str | None, typer.Option("--address", help="A running Ray; default: an embedded one.")] = None,
    as_json: Json = False,
) -> None:
    """Serve surrogates behind an HTTP endpoint until Ctrl-C or SIGTERM.

    Example: memflux serve 5d-parametric=runs/surrogate --port 8000 --token-file token

    Ask it with: memflux.Client("http://127.0.0.1:8000", token_file="token")
    """
    from memflux.platform.cluster import local_cluster
    from memflux.platform.serving.access import token_in
    from memflux.platform.serving.serve import check_port, endpoint, load_surrogate

    models = named(folders)
    check_port(host, port)
    _check_cores(replicas, cpus, address)
    for folder in models.values():
        load_surrogate(folder)
    path = token_file.expanduser().absolute()
    token = token_in(path)
    if host not in LOOPBACK:
        console.print(f"listening on {host}: the token travels unencrypted; put a TLS proxy in front of strangers")
    with contextlib.ExitStack() as stack:
        with console.status("starting Ray and the endpoint"):
            stack.enter_context(local_cluster(cores=math.ceil(replicas * cpus), address=address))
            # Ray has put its own handler there; this one lets the blocks end what they started.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            running = stack.enter_context(
                endpoint(models, host=host, port=port, token=token, replicas=replicas, cpus=cpus)
            )
        emit({"url": running.url, "models": list(running.models), "token_file": str(path)}, as_json, title="endpoint")
        sys.stdout.flush()
        _wait()


def _check_cores(replicas: int, cpus: float, address: str | None) -> None:
    """An embedded Ray has the cores of this process; one at an address is asked later."""
    cores = len(os.sched_getaffinity(0))
    if address is None and math.ceil(replicas * cpus) > cores:
        raise InvalidValue(
            f"{replicas} replicas of {cpus:g} CPUs do not fit the {cores} cores of this machine; "
            "lower --replicas or --cpus, or give the --address of a larger Ray."
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
