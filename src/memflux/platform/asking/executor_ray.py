"""Questions side by side on Ray: each actor holds the model and asks one question at a time."""

import collections
import contextlib
import functools
import math
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

import ray

from memflux.errors import InvalidValue, check_integer, check_number
from memflux.platform.asking.model import Model
from memflux.platform.asking.run import Ended, Task, attempt
from memflux.platform.cluster import Cluster, head_answers, local_cluster, require_head
from memflux.platform.environment import WORKER_ENVIRONMENT, scrub_launcher_environment

CHANCES = 2  # times that a question may take its actor down
LOOK_S = 5.0  # between two looks at the cluster, while nothing ends


class Asker:
    """One process that asks; the model is opened where the first question comes."""

    def __init__(self, opened: Callable[[], Model], folder: str) -> None:
        scrub_launcher_environment()
        with contextlib.suppress(OSError):  # another machine may lack it; absolute paths work there
            os.chdir(folder)
        self.opened = functools.cache(opened)

    def attempt(self, task: Task) -> Ended:
        """Ask one question."""
        return attempt(task, self.opened)


_REMOTE: Any = ray.remote(Asker)


class SideBySide:
    """As many questions at once as there are actors, on the Ray at `address` or an embedded one.

    `opened` makes the model in each actor: a `Client` of the endpoint, or a surrogate of its own. An actor takes `cpus`
    CPUs, of which an endpoint's client needs a fraction; without a number of `actors` there are as many as fit, and
    never more than questions. A question whose actor dies is asked once more, of another. Raises InvalidValue where
    there is no room for one.
    """

    def __init__(
        self, opened: Callable[[], Model], actors: int | None = None, cpus: float = 1.0, address: str | None = None
    ) -> None:
        if actors is not None:
            check_integer("actors", actors, low=1, high=10_000)
        self.opened, self.actors, self.address = opened, actors, address
        self.cpus = check_number("cpus", cpus, low=0.01, high=1024.0)

    def run(self, tasks: Sequence[Task], stopped: Callable[[], bool]) -> Generator[Ended, None, None]:
        """See `Asking`."""
        if not tasks:
            return
        waiting, deaths = collections.deque(tasks), collections.Counter[str]()
        with local_cluster(self._cores(len(tasks)), self.address) as cluster:
            idle = [self._spawn() for _ in range(self._count(cluster, len(tasks)))]
            asked: dict[ray.ObjectRef, tuple[Any, Task]] = {}
            try:
                while True:
                    while idle and waiting and not stopped():
                        actor, task = idle.pop(), waiting.popleft()
                        asked[actor.attempt.remote(task)] = actor, task
                    if not asked:
                        return
                    ready, _ = ray.wait(list(asked), num_returns=1, timeout=LOOK_S)
                    if not ready:
                        require_head()
                    for ref in ready:
                        actor, task = asked.pop(ref)
                        ended, death = _result(ref)
                        if ended is None:
                            ray.kill(actor)
                            actor = self._spawn()
                            deaths[task.analysis.name] += 1
                            if deaths[task.analysis.name] < CHANCES:
                                waiting.appendleft(task)
                            else:
                                ended = Ended(task.analysis.name, None, f"its process died {CHANCES} times ({death}).")
                        idle.append(actor)
                        if ended is not None:
                            yield ended
            finally:
                for actor in [*idle, *(actor for actor, _ in asked.values())] if head_answers() else ():
                    ray.kill(actor)

    def _cores(self, tasks: int) -> int | None:
        """Of an embedded Ray: no more than the actors need."""
        return None if self.actors is None else math.ceil(min(self.actors, tasks) * self.cpus)

    def _count(self, cluster: Cluster, tasks: int) -> int:
        """How many actors; those beyond what fits would wait for ever."""
        if self.cpus > cluster.cores:
            raise InvalidValue(f"cpus = {self.cpus:g} is more than the {cluster.cores} of this Ray; ask for fewer.")
        room = int(cluster.cores / self.cpus)
        return min(tasks, room if self.actors is None else self.actors, room)

    def _spawn(self) -> Any:
        return _REMOTE.options(
            num_cpus=self.cpus,
            max_restarts=0,
            max_concurrency=1,
            runtime_env={"env_vars": dict(WORKER_ENVIRONMENT)},
        ).remote(self.opened, os.getcwd())


def _result(ref: ray.ObjectRef) -> tuple[Ended | None, str]:
    """What an actor says; or nothing, and how it died."""
    try:
        return ray.get(ref), ""
    except ray.exceptions.RayError as error:
        require_head()
        return None, " ".join(str(error).split())[:300]
