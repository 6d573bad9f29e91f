"""An endpoint on Ray Serve: replicas of the application, one HTTP proxy, and their clean end."""

import contextlib
import dataclasses
import errno
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import ray
from ray import serve
from starlette.types import ASGIApp

from memflux.errors import InvalidValue, MemfluxError, ServiceError, check_choice, check_integer, check_number
from memflux.platform.serving.access import check_token, digest, new_token
from memflux.platform.serving.answers import Served
from memflux.platform.serving.endpoint import application
from memflux.platform.serving.fleet import RayFleet, start_kept_solvers, start_solvers, stop_keeper, stop_solvers
from memflux.platform.serving.keeper import Origin
from memflux.platform.serving.meter import RayMeter
from memflux.platform.serving.wire import PRECISIONS

APPLICATION = "memflux"
QUEUE = 32  # questions that may wait in one replica
BUSY = 8  # questions in a replica from which another one is started
SPARE = 32  # requests beyond those that a replica takes, so that health is answered when it is full
READY_WITHIN = 60.0  # s
LOGGING = {"log_level": "WARNING", "enable_access_log": False}
ENDED_WITHIN = 30.0  # s
CONTROLLER = "SERVE_CONTROLLER_ACTOR"  # as Ray Serve names it, and its namespace
NAMESPACE = "serve"

Loader = Callable[[str | Path, "Scale"], Served]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a running endpoint is, and what opens it."""

    url: str
    token: str = dataclasses.field(repr=False)
    models: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How large an endpoint is: `replicas` that answer, up to `most` under load, and `solvers` that verify.

    A replica takes `cpus` CPUs and `gpus` GPUs, loads all models, and computes in `precision`.
    """

    replicas: int = 1
    most: int | None = None  # replicas; None: as many as `replicas`
    cpus: float = 1.0
    gpus: float = 0.0
    precision: str = "float32"
    solvers: int = 0  # of one CPU each

    def __post_init__(self) -> None:
        check_integer("replicas", self.replicas, low=1, high=1000)
        check_integer("most replicas", self.largest, low=self.replicas, high=1000)
        check_number("cpus", self.cpus, low=0.01, high=1024.0)
        check_number("gpus", self.gpus, low=0.0, high=64.0)
        check_choice("precision", self.precision, PRECISIONS)
        check_integer("solvers", self.solvers, low=0, high=10_000)

    @property
    def largest(self) -> int:
        """The most replicas there can be."""
        return self.replicas if self.most is None else self.most

    @property
    def cores(self) -> int:
        """CPUs that the largest endpoint takes."""
        return math.ceil(self.largest * self.cpus) + self.solvers


def load_surrogate(folder: str | Path, scale: Scale) -> Served:
    """The surrogate in `folder`, or the pretrained one of that name, in the precision and place of `scale`."""
    # Here, so that a driver that only starts and stops an endpoint does without torch.
    from memflux.training.surrogate import Surrogate

    return Surrogate.load(folder).on("cuda" if scale.gpus else "cpu", scale.precision)


@contextlib.contextmanager
def endpoint(
    models: Mapping[str, str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    scale: Scale = Scale(),
    keep: str | Path | None = None,
    loader: Loader = load_surrogate,
) -> Iterator[Endpoint]:
    """Serve `models` while the block runs; without `token`, one is made up. See `start`."""
    chosen = new_token() if token is None else token
    running = start(models, host=host, port=port, token=chosen, scale=scale, keep=keep, loader=loader)
    try:
        yield running
    finally:
        stop()


def start(
    models: Mapping[str, str | Path],
    *,
    host: str,
    port: int,
    token: str,
    scale: Scale = Scale(),
    keep: str | Path | None = None,
    loader: Loader = load_surrogate,
) -> Endpoint:
    """Serve models by name in the Ray that is initialised; returns when they answer.

    Every replica loads all `models` with `loader` and asks them in one thread. The one HTTP proxy runs on the head
    node and binds `host`. Ray is given a digest of the token, never the token. What the solvers solve is kept in the
    folder (or URL) `keep`, a data set a model. Raises DataError for a damaged folder, InvalidValue for the caller's
    mistakes, ServiceError where Ray or Serve do not come up.
    """
    _check(models, host, port, scale)
    check_keep(keep, scale)
    check_token(token)
    # Replicas may have another working folder.
    models = {name: Path(folder).absolute() if Path(folder).is_dir() else folder for name, folder in models.items()}
    # a wrong folder is a sentence here, a traceback there
    served = {name: loader(folder, dataclasses.replace(scale, gpus=0.0)) for name, folder in models.items()}
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with _quiet(), contextlib.ExitStack() as undo:
        undo.callback(stop)  # also where the caller loses patience
        try:
            solvers = _solvers(scale.solvers, keep, served)
            build = _builder(models, loader, digest(token), scale, solvers)
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=LOGGING)
            serve.run(_deployment(build, scale).bind(), name=APPLICATION, route_prefix="/", logging_config=LOGGING)
            _await_ready(url.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]"))
        except MemfluxError:  # some of which are RuntimeErrors
            raise
        except (ray.exceptions.RayError, RuntimeError, TimeoutError) as error:
            last = str(error).strip().splitlines()[-1:] or ["no reason given"]
            raise ServiceError(f"the endpoint did not start: {last[0]}") from error
        undo.pop_all()
    return Endpoint(url=url, token=token, models=tuple(models))


def stop() -> None:
    """End the endpoint of this Ray, its replicas, its proxy and its solvers; Ray itself stays."""
    if ray.is_initialized():
        with _quiet(), contextlib.ExitStack() as afterwards:
            afterwards.callback(stop_keeper)  # of what solvers
            afterwards.callback(stop_solvers)  # have solved for replicas that drain
            _end_controller()
            serve.shutdown()


def _end_controller() -> None:
    """Ask the controller to end and wait until it has.

    `serve.shutdown` awaits an answer that never comes, since the controller dies of the question;
    Ray then tells the user of a failed task, on standard output.
    """
    with contextlib.suppress(ValueError, ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        controller = ray.get_actor(CONTROLLER, namespace=NAMESPACE)
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=ENDED_WITHIN)
        end = time.monotonic() + ENDED_WITHIN
        while time.monotonic() < end:
            time.sleep(0.05)
            ray.get_actor(CONTROLLER, namespace=NAMESPACE)  # ValueError once it is gone


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within, Ray Serve tells this process of warnings and errors alone."""
    logger = logging.getLogger("ray.serve")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free now, by binding to it."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def _deployment(build: Callable[[], ASGIApp], scale: Scale) -> serve.Deployment:
    fixed = {"num_replicas": scale.replicas}
    grows = {
        "autoscaling_config": {
            "min_replicas": scale.replicas,
            "max_replicas": scale.largest,
            "target_ongoing_requests": BUSY,
            "upscale_delay_s": 2.0,
            "downscale_delay_s": 60.0,
        }
    }
    return serve.deployment(
        name="models",
        ray_actor_options={
            "num_cpus": scale.cpus,
            "num_gpus": scale.gpus,
            "runtime_env": {"env_vars": _threads(scale.cpus)},
        },
        max_ongoing_requests=QUEUE + SPARE,
        max_queued_requests=QUEUE * scale.largest,
        max_constructor_retry_count=1,
        graceful_shutdown_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.2,
        **(fixed if scale.largest == scale.replicas else grows),
    )(serve.ingress(build)())


def _builder(
    models: Mapping[str, str | Path], loader: Loader, token_digest: str, scale: Scale, solvers: Sequence[str]
) -> Callable[[], ASGIApp]:
    """What a replica calls to make its application; it holds names and a digest, no model."""
    # A lambda, since it is pickled by value and the type checks of a test run wrap every def.
    return lambda: replica_application(models, loader, token_digest, scale, solvers)


def replica_application(
    models: Mapping[str, str | Path], loader: Loader, token_digest: str, scale: Scale, solvers: Sequence[str]
) -> ASGIApp:
    """The application of the replica that this process becomes, which opens no port besides those of Ray itself.

    Ray Serve 2.60 gives every replica a gRPC port for other deployments, on every interface, that
    unpickles what is sent to it; Ray's token is all that guards it. Here nobody needs it: the proxy
    asks replicas as Ray actors. No option turns it off, so the function that binds it is replaced.
    """
    from ray.serve._private import replica

    replica.add_port_to_grpc_server = lambda server, address: 0
    served = {name: loader(folder, scale) for name, folder in models.items()}
    return application(served, token_digest, QUEUE, RayMeter(), RayFleet(solvers) if solvers else None)


def _solvers(count: int, keep: str | Path | None, served: Mapping[str, Served]) -> list[str]:
    """Names of new solvers, whose work is kept where that is asked for."""
    if keep is None:
        return start_solvers(count)
    folder = str(keep) if "://" in str(keep) else str(Path(keep).absolute())
    return start_kept_solvers(
        count, folder, {name: Origin(space=m.space, drive=m.drive, samples=m.samples) for name, m in served.items()}
    )


def check_keep(keep: str | Path | None, scale: Scale) -> None:
    """Refuse to keep what nobody solves."""
    if keep is not None and not scale.solvers:
        raise InvalidValue(f"keep = {str(keep)!r} is for what solvers solve; add --solvers, or leave --keep out.")


def _threads(cpus: float) -> dict[str, str]:
    """What bounds torch's threads in a replica, whatever the cluster was started with."""
    count = str(max(1, int(cpus)))
    return {name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def _check(models: Mapping[str, str | Path], host: str, port: int, scale: Scale) -> None:
    if not models:
        raise InvalidValue("models has no entries; give at least one surrogate to serve.")
    for name in models:
        if not name or not all(c.isalnum() or c in "-_." for c in name):
            raise InvalidValue(f"model name = {name!r} cannot be part of a URL; use letters, digits, '-', '_', '.'.")
    if not ray.is_initialized():
        raise InvalidValue("Ray is not initialised; start or join a cluster first.")
    if serve.status().proxies:
        raise InvalidValue("Ray Serve runs in this Ray already, with its own address; stop it or use another cluster.")
    stop_solvers()  # of an endpoint whose driver was killed
    stop_keeper()
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        raise InvalidValue("RAY_SERVE_ENABLE_HA_PROXY is set, and that proxy listens on every interface; unset it.")
    free = ray.available_resources()
    needed = {"CPU": scale.replicas * scale.cpus + scale.solvers, "GPU": scale.replicas * scale.gpus}
    for kind, number in needed.items():
        if free.get(kind, 0.0) < number:
            raise InvalidValue(
                f"{scale.replicas} replicas and {scale.solvers} solvers need {number:g} {kind}s and Ray has "
                f"{free.get(kind, 0.0):g} free; ask for fewer."
            )
    check_port(host, port)


def check_port(host: str, port: int) -> None:
    """Refuse an address of this machine that cannot be listened on."""
    check_integer("port", port, low=1, high=65535)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise InvalidValue(f"{host}:{port} cannot be listened on ({_reason(error)}.") from None


def _reason(error: OSError | UnicodeError) -> str:
    """What is wrong with an address, and what to do about it; the first half ends with ')'."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return "no such host is known); give 127.0.0.1, 0.0.0.0 or an address of this machine"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "this machine has no such address); give 127.0.0.1, 0.0.0.0 or an address of this machine"
    if error.errno == errno.EACCES:
        return f"{error.strerror}); choose a port from 1024 on"
    return f"{error.strerror}); choose another port"


def _await_ready(url: str) -> None:
    """Return when /readyz says so; TimeoutError after READY_WITHIN."""
    end = time.monotonic() + READY_WITHIN
    with httpx.Client(timeout=5.0, trust_env=False) as http:
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if http.get(f"{url}/readyz").status_code == 200:
                    return
            time.sleep(0.1)
    raise TimeoutError(f"{url}/readyz was not ready within {READY_WITHIN:g} s")
