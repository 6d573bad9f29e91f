"""One training on several processes or GPUs: Ray Train starts them, places them and begins again where one dies."""

import contextlib
import dataclasses
import os
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch.distributed import ProcessGroup

from memflux.errors import InvalidValue, ServiceError, check_integer
from memflux.platform import relay
from memflux.platform.environment import WORKER_ENVIRONMENT
from memflux.training.data import SplitCurves
from memflux.training.loop import Recipe, Training
from memflux.training.resume import Paused
from memflux.training.schedule import Step
from memflux.training.surrogate import Surrogate

Work = Callable[[ProcessGroup], Iterator[Any]]
"""What every process does; what that of rank 0 yields is told."""
ATTEMPTS = 3  # times that the processes are started, where one of them dies
POLL_S = 0.2
PATIENCE_S = 30.0  # that processes are given to end


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """How many, and what each is given."""

    count: int
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        check_integer("processes", self.count, low=1, high=1024)


def run_on(processes: Processes, work: Work, attempts: int = ATTEMPTS) -> Generator[Any, None, None]:
    """Run `work` on all processes of the Ray that this one is connected to, and yield what rank 0 tells.

    Closed early, it lets them end at what they tell next. Raises ServiceError where they die in every attempt.
    """
    mailbox = relay.REMOTE.options(num_cpus=0).remote()
    died: list[Exception] = []
    with tempfile.TemporaryDirectory(prefix="memflux-train-") as folder:
        trainer = TorchTrainer(
            _loop,
            train_loop_config={"work": ray.put(work), "mailbox": mailbox},
            torch_config=TorchConfig(backend="nccl" if processes.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=processes.count,
                use_gpu=bool(processes.gpus),
                resources_per_worker={
                    "CPU": processes.cpus, **({"GPU": processes.gpus} if processes.gpus else {}),
                },
            ),
            run_config=RunConfig(
                name="training",
                storage_path=folder,
                failure_config=FailureConfig(max_failures=attempts - 1),
                worker_runtime_env={"env_vars": dict(WORKER_ENVIRONMENT)},  # type: ignore[call-arg]
            ),
        )  # fmt: skip
        thread = threading.Thread(target=_fit, args=(trainer, died), name="memflux-train", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                yield from ray.get(mailbox.take.remote())
                thread.join(POLL_S)
            yield from ray.get(mailbox.take.remote())
        finally:
            with contextlib.suppress(ray.exceptions.RayError):
                mailbox.stop.remote()
                thread.join(PATIENCE_S)
                ray.kill(mailbox)
    if died:
        text = " ".join(str(died[0]).split())[:500]
        raise ServiceError(f"the processes of a training died, or could not begin: {text}") from None


def fit_on(
    processes: Processes,
    data: SplitCurves,
    recipe: Recipe,
    on_progress: Callable[[Step], None],
    dataset_hash: str | list[str] | None = None,
) -> Surrogate:
    """`Training` on several processes, each with a share of every batch; the surrogate is not tested.

    The result is that of one process but for the order in which gradients are added up, and for dropout, which each
    rank draws by itself. The checkpoint must lie where the machine of rank 0 sees it; the processes have GPUs where
    the recipe's device is "cuda". Raises `Paused` after `seconds`, and what `run_on` raises.
    """
    there = ray.cluster_resources()
    for name, each in (("CPU", processes.cpus), ("GPU", processes.gpus)):
        if processes.count * each > there.get(name, 0.0):  # Ray would wait for them for ever
            raise InvalidValue(
                f"processes = {processes.count} need {processes.count * each:g} {name} and this Ray has "
                f"{there.get(name, 0.0):g}; ask for fewer."
            )
    if recipe.checkpoint is not None:
        recipe = dataclasses.replace(recipe, checkpoint=recipe.checkpoint.absolute())
    surrogate = None
    with contextlib.closing(run_on(processes, _Fit(data, recipe, dataset_hash))) as told:
        for item in told:
            if isinstance(item, Step):
                on_progress(item)
            elif isinstance(item, str):
                raise Paused(item)
            else:
                surrogate = item
    if not isinstance(surrogate, Surrogate):
        raise ServiceError("the processes of a training ended without a result; run the same command again.")
    return surrogate


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """The work of one rank of `fit_on`: steps, then the surrogate, or why it paused."""

    data: SplitCurves
    recipe: Recipe
    dataset_hash: str | list[str] | None

    def __call__(self, group: ProcessGroup) -> Iterator[Any]:
        training = Training(self.data, self.recipe, group)
        try:
            yield from training.steps()
        except Paused as pause:
            yield str(pause)
        else:
            yield training.surrogate(self.dataset_hash)


def _fit(trainer: TorchTrainer, died: list[Exception]) -> None:
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 - told in the thread that waits
        died.append(error)


def _loop(given: dict[str, Any]) -> None:
    """What Ray Train runs on each process; all of them end at the same item."""
    group = torch.distributed.group.WORLD
    assert group is not None
    work: Work = ray.get(given["work"])
    device = ray.train.torch.get_device()
    for item in work(group):
        stop = torch.zeros(1, device=device)
        if group.rank() == 0:
            stop += float(ray.get(given["mailbox"].put.remote(item)))
        torch.distributed.broadcast(stop, src=0)
        if stop.item():
            return
