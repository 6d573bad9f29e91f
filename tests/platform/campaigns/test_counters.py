"""Counters for Prometheus: what a scrape of the embedded Ray sees."""

import time
import urllib.request

import pytest
import ray

from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.campaigns.runner import run
from memflux.platform.cluster import local_cluster

CAMPAIGN = Campaign(space="9d", count=24, seed=4, samples=8, engine="compact", shard_size=8)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_scrape_sees_the_devices_of_a_campaign(tmp_path):
    with local_cluster(cores=1):
        run(CAMPAIGN, str(tmp_path / "mine"), RayExecutor(workers=1))
        [node] = ray.nodes()
        address = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
        deadline = time.monotonic() + 60
        found: list[str] = []
        while not found and time.monotonic() < deadline:  # reports come every few seconds
            time.sleep(0.5)
            with urllib.request.urlopen(address, timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            found = [line for line in lines if line.startswith("ray_memflux_devices")]
    assert len(found) == 1
    assert f'campaign="{tmp_path / "mine"}"' in found[0]
    assert 'status_class="solved"' in found[0]
    assert float(found[0].split()[-1]) == 24.0
