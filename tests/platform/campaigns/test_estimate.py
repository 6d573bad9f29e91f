"""The estimate of a campaign's cost."""

import pytest

from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.estimate import estimate
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from memflux.space import Space

CAMPAIGN = Campaign(space="5d", count=64, samples=40, engine="compact")


def test_the_disk_estimate_is_near_the_truth(tmp_path):
    cost = estimate(CAMPAIGN, probe=16)
    run(CAMPAIGN, str(tmp_path), SerialExecutor())
    truth = sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))
    assert cost.disk_bytes == pytest.approx(truth, rel=0.25)
    assert cost.core_hours == pytest.approx(cost.seconds_per_curve * 64 / 3600)
    assert (cost.shards, cost.samples, cost.engine, cost.probe_failed) == (4, 81, "compact", 0)


def test_the_first_devices_are_those_of_the_campaign():
    cost = estimate(CAMPAIGN, probe=0)
    devices, drive = Space.preset("5d").sample(10, seed=0)
    assert len(cost.first_devices) == 10
    assert cost.first_devices[3]["length"] == pytest.approx(devices.length[3])
    assert cost.first_devices[3]["period"] == pytest.approx(drive.period[3])
    assert cost.seconds_per_curve is None
    assert cost.disk_bytes is None


def test_a_probe_is_no_longer_than_the_campaign():
    done = []
    estimate(Campaign(space="5d", count=2, engine="compact"), probe=9, on_device=lambda: done.append(1))
    assert len(done) == 2
