"""A Ray to work on: the cluster at an address, or an embedded one that lives as long as this process."""

import contextlib
import dataclasses
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from memflux.errors import InvalidValue, ServiceError, check_integer
from memflux.platform.environment import WORKER_ENVIRONMENT, scrub_launcher_environment

OBJECT_STORE = 2**29  # bytes of shared memory; shards do not travel through it
REACH_S = 10.0  # how long the machine at an address may take to answer
HEAD_S = 2.0  # how long the head of a cluster may take to answer
SILENT_S = 15.0  # how long it may be silent
LOOPBACK = "127.0.0.1"
_FOLDER = "memflux-ray-"
_BEYOND_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # read on every system, whatever its name says


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A Ray that this process is connected to."""

    cores: int
    embedded: bool  # started here, and ended here


@contextlib.contextmanager
def local_cluster(
    cores: int | None = None, address: str | None = None, object_store: int = OBJECT_STORE
) -> Iterator[Cluster]:
    """Connect to the Ray at `address`, or start an embedded one of `cores` (None: all of this process).

    A process that is connected already keeps its Ray, which is left running: only a Ray that was
    started here is ended here, and a connection that was made here is closed. The embedded one
    listens on 127.0.0.1 alone, with every process and port of it, asks for Ray's access token, has
    no dashboard and leaves no files. On 127.0.0.1 its metrics ports answer without the token
    (Ray has no option for that); they tell how busy it is.
    Raises InvalidValue for the address "auto", ServiceError where nothing answers.
    """
    if address == "auto":
        raise InvalidValue("address = 'auto' may be anyone's Ray; give the host and port of a cluster, or none.")
    if cores is not None:
        check_integer("cores", cores, low=1, high=100_000)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if ray.is_initialized():
        yield Cluster(cores=_cores_of_cluster(), embedded=False)
        return
    with contextlib.ExitStack() as stack:
        handler = stack.enter_context(_own_signals())
        if address is None:
            stack.enter_context(_environment_for_workers())
            stack.enter_context(_loopback_alone())
            folder = stack.enter_context(private_folder(_FOLDER, "/tmp")) / "r"
            make_token_private()
            count = cores or len(os.sched_getaffinity(0))
            _connect(
                address="local",
                num_cpus=count,
                include_dashboard=False,
                object_store_memory=object_store,
                _node_ip_address=LOOPBACK,
                _temp_dir=str(folder),
            )
        else:
            _check_reachable(address)
            _connect(address=address)
            count = _cores_of_cluster()
        if callable(handler):  # Ray's own ends the process; whoever had one means to stop in order
            signal.signal(signal.SIGTERM, handler)
        stack.callback(ray.shutdown)
        yield Cluster(cores=count, embedded=address is None)


def head_answers() -> bool:
    """Whether the head of the Ray that this process is connected to takes connections: asking Ray itself may hang."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=HEAD_S).close()
    except OSError:
        return False
    return True


def require_head() -> None:
    """ServiceError where the head of the cluster is gone: Ray itself would wait for a minute, and end this process."""
    deadline = time.monotonic() + SILENT_S
    while not head_answers():
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the cluster's head has not answered for {SILENT_S:g} s; "
                "nothing is lost: start the cluster and run the same command again."
            )
        time.sleep(0.5)


def make_token_private() -> None:
    """See that Ray's token file is readable by its owner alone, creating it if Ray would.

    Ray creates it with the permissions of the umask, which lets every user of a machine read it.
    Nothing is done where the environment names another token or turns tokens off.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not named:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
    if path.exists() and path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o600)


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InvalidValue(f"address = {address!r} is not that of a Ray; give host:port, or ray://host:port.")
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ServiceError(f"no Ray at {address!r}: {error}; is it running, and reachable from here?") from None


def _connect(**options: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, OSError, RuntimeError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())
        raise ServiceError(f"no Ray at {options['address']!r}: {text}; is it running, and its token here?") from None


def _cores_of_cluster() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextlib.contextmanager
def _environment_for_workers() -> Iterator[None]:
    """What the embedded Ray's processes inherit while it starts; this process gets its own back."""
    before = dict(os.environ)
    scrub_launcher_environment()
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name in WORKER_ENVIRONMENT:
            os.environ.pop(name, None)
        os.environ.update({n: v for n, v in before.items() if n not in os.environ})


@contextlib.contextmanager
def _loopback_alone() -> Iterator[None]:
    """Let a Ray that starts within, and its processes, listen on 127.0.0.1 and nowhere else.

    Ray replaces a loopback node address by the host's own, and listens on every interface, unless
    clusters of several machines are switched off: by this variable for the processes that it
    starts, and by what it read of it at its import for this one.
    """
    before, known = os.environ.get(_BEYOND_LOOPBACK), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_BEYOND_LOOPBACK] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = known
        os.environ.pop(_BEYOND_LOOPBACK)
        if before is not None:
            os.environ[_BEYOND_LOOPBACK] = before


@contextlib.contextmanager
def _own_signals() -> Iterator[Any]:
    """Give SIGTERM back to whom it belonged, ray.init takes it; yields its handler (None in other threads)."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield before
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def private_folder(prefix: str, place: str) -> Iterator[Path]:
    """A folder of this user alone, in `place` if that is writable, removed afterwards.

    In /tmp its name is short, as socket paths are limited to 107 bytes. Ray opens its folder to everybody (mode
    0777), so it gets one inside. The owner holds a kernel lock, so that folders of killed owners are known and
    removed too.
    """
    parent = Path(place) if os.access(place, os.W_OK) else Path(tempfile.gettempdir())
    for old in parent.glob(f"{prefix}*"):
        _remove_if_abandoned(old)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        if folder.stat().st_uid != os.getuid():
            return
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(handle)
