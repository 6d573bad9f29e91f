"""One machine's part of a Ray: started on ports of its own, known and ended by its process id."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from memflux.errors import ServiceError
from memflux.platform.cluster import OBJECT_STORE
from memflux.platform.environment import MPI_LAUNCHER, WORKER_ENVIRONMENT
from memflux.platform.launching.ports import LOOPBACK, free_ports

START_S = 180.0  # a machine under load and a shared file system take their time
STOP_S = 15.0  # after which processes are killed
TRIES = 3  # another process may take a port between its choice and its use
_STARTED = "Ray runtime started."  # what `ray start` says when the node is up
_AGENTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
# Names that would make Ray look at another cluster, or present another token.
_FOREIGN = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_NAMESPACE")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RayNode:
    """A running `ray start --block`, which ends its processes when it is ended."""

    process: subprocess.Popen
    address: str  # host:port of the head

    @property
    def alive(self) -> bool:
        """Whether it runs; it ends by itself when one of its processes dies."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End this Ray's processes on this machine and no others."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=STOP_S)
        self.process.kill()  # the caller's guardian ends what is left below it
        self.process.wait()


def environment(token_file: Path, loopback: bool) -> dict[str, str]:
    """What Ray's processes, and the driver, are to have in their environment.

    `loopback` makes them listen on 127.0.0.1 alone, whatever the variable's name says: see
    memflux.platform.cluster.
    """
    kept = {n: v for n, v in os.environ.items() if n not in _FOREIGN and not n.startswith(MPI_LAUNCHER)}
    return kept | dict(WORKER_ENVIRONMENT) | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if loopback else "1",
    }  # fmt: skip


def start_head(
    host: str, cpus: int, folder: Path, log: Path, token_file: Path, stopped: Callable[[], bool] = lambda: False
) -> RayNode:
    """Start a Ray on this machine, `host` being its address (127.0.0.1: for this machine alone).

    `folder` becomes Ray's; its path must be short. Raises ServiceError, with the end of `log`, where
    it does not start in three minutes, three times, or was `stopped`.
    """

    def words() -> tuple[list[str], str]:
        port, client, dashboard = free_ports(3, host)
        # No dashboard, no autoscaler; the server for remote clients cannot be switched off, only moved.
        ports = [f"--port={port}", f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"]
        return ["--head", *ports, "--include-dashboard=false", "--no-monitor"], f"{host}:{port}"

    return _start(words, host, cpus, folder, log, environment(token_file, host == LOOPBACK), stopped)


def join(
    address: str,
    host: str,
    cpus: int,
    folder: Path,
    log: Path,
    token_file: Path,
    stopped: Callable[[], bool] = lambda: False,
) -> RayNode:
    """Make this machine, `host` being its address, a part of the Ray at `address`; errors as for `start_head`."""
    return _start(
        lambda: ([f"--address={address}"], address), host, cpus, folder, log, environment(token_file, False), stopped
    )


def _start(
    choose: Callable[[], tuple[list[str], str]],
    host: str,
    cpus: int,
    folder: Path,
    log: Path,
    variables: Mapping[str, str],
    stopped: Callable[[], bool],
) -> RayNode:
    for _ in range(TRIES):
        own, address = choose()
        agents = [f"--{name}-port={port}" for name, port in zip(_AGENTS, free_ports(len(_AGENTS), host), strict=True)]
        # Zero: the process itself binds a free one.
        bound = [f"--{name}=0" for name in ("node-manager-port", "object-manager-port")]
        bound += ["--min-worker-port=0", "--max-worker-port=0"]
        limits = [f"--num-cpus={cpus}", f"--object-store-memory={OBJECT_STORE}", "--include-log-monitor=false"]
        plain = ["--disable-usage-stats", "--log-style=record", "--log-color=false"]
        words = [*own, "--block", f"--node-ip-address={host}", f"--temp-dir={folder}", *agents, *bound, *limits, *plain]
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
                env=dict(variables), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        node = RayNode(process=process, address=address)
        if _wait_started(node, log, stopped):
            return node
        node.stop()
        if stopped():
            break
    text = " ".join(log.read_text(errors="replace").split())
    raise ServiceError(f"Ray does not start on {host}: {text[-400:] or 'it says nothing'} (all of it in {log}).")


def _wait_started(node: RayNode, log: Path, stopped: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_S
    while node.alive and time.monotonic() < deadline and not stopped():
        if _STARTED in log.read_text(errors="replace"):
            return True
        time.sleep(0.1)
    return False
