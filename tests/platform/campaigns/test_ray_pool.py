"""The pool of Ray workers: it grows with the cluster, and knows what a worker died of."""

import time

import numpy as np
import pytest
import ray

from memflux.dataset import Dataset
from memflux.platform.campaigns import ray_pool
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.campaigns.runner import run
from memflux.platform.cluster import local_cluster
from memflux.stand_in import StandIn
from ray_nodes import three_nodes

CAMPAIGN = Campaign(space="9d", count=240, seed=4, samples=8, engine="compact", shard_size=4)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(180)
def test_workers_join_as_nodes_do(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_pool, "LOOK_S", 0.2)

    def slow(campaign):
        def predict(devices, drive):
            time.sleep(0.25)
            return StandIn(samples=campaign.samples)(devices, drive)

        return predict

    with three_nodes(others=0) as nodes:

        def grow(progress):
            if progress.made == CAMPAIGN.shard_size:
                nodes.add_node()

        with local_cluster(address=nodes.address):
            assert run(CAMPAIGN, str(tmp_path), RayExecutor(), grow, solver_factory=slow).done == CAMPAIGN.count
    pids, rows = np.unique(Dataset.open(tmp_path).biography["pid"], return_counts=True)
    assert len(pids) == 2
    assert rows.min() >= CAMPAIGN.shard_size


@pytest.mark.parametrize(
    ("error", "node", "status_class"),
    [
        (ray.exceptions.OutOfMemoryError("killed by the memory monitor"), "a", "out_of_memory"),
        (ray.exceptions.WorkerCrashedError(), "a", "crashed"),
        (ray.exceptions.RayActorError(), "b", "node_lost"),
        (ray.exceptions.RayActorError(error_msg="The actor died because its node has died."), "a", "node_lost"),
    ],
)
def test_what_a_worker_died_of(monkeypatch, error, node, status_class):
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "a", "Alive": True}, {"NodeID": "b", "Alive": False}])
    worker = ray_pool._Worker(actor=None, pending={}, node=node)
    assert ray_pool._cause_of_death(worker, error) == status_class
