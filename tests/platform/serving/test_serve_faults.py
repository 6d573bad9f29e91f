"""Replicas and nodes that die under load: callers get right answers, late at most."""

import random
import sys
import threading
import time

import numpy as np
import pytest
import ray

import compact_served
from compact_served import NAME, TOKEN, CompactServed, load
from memflux.analysis.quantities import evaluate
from memflux.platform.serving.client import Client
from memflux.platform.serving.serve import Scale, endpoint, free_port
from ray_nodes import three_nodes

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(280)]
REPLICA = (b"ray::ServeReplica",)
CALLERS = 3


class Callers:
    """Threads that ask small questions without end and compare each answer with the model itself."""

    def __init__(self, url):
        self.answers, self.errors, self.wrong = 0, [], 0
        self._url, self._over = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(CALLERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(100)

    def _ask(self, seed):
        model, generator = CompactServed(), np.random.default_rng(seed)
        with Client(self._url, model=NAME, token=TOKEN, timeout=60.0) as client:
            while not self._over.is_set():
                devices, drive = model.space.sample(int(generator.integers(1, 30)), seed=int(generator.integers(1000)))
                try:
                    found = client.quantities(devices, drive, ["symmetry", "on_off_ratio"])
                except Exception as error:  # noqa: BLE001  # every one counts
                    self.errors.append(error)
                    continue
                wanted = evaluate(model, devices, drive, ["symmetry", "on_off_ratio"])
                self.wrong += not np.allclose(found, wanted, rtol=1e-9)
                self.answers += 1

    def until(self, more):
        """Wait for that many further answers."""
        goal = self.answers + more
        while self.answers < goal and not self.errors:
            time.sleep(0.05)


@pytest.mark.parametrize("seed", range(2))
def test_death_under_load(seed, nodes):
    generator, scale = random.Random(seed), Scale(replicas=3, cpus=0.5)
    with (
        endpoint({NAME: "unused"}, port=free_port(), token=TOKEN, scale=scale, loader=load) as served,
        Callers(served.url) as callers,
    ):
        callers.until(30)
        nodes.kill_worker(generator, REPLICA)
        callers.until(60)
        nodes.kill_node(generator)
        callers.until(60)
    assert not callers.errors
    assert callers.wrong == 0
    assert callers.answers >= 150


@pytest.fixture
def nodes():
    """Three nodes that this process drives."""
    ray.cloudpickle.register_pickle_by_value(compact_served)
    with three_nodes() as nodes:
        ray.init(address=nodes.address, log_to_driver=False, configure_logging=False)
        yield nodes
        ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules["compact_served"])
