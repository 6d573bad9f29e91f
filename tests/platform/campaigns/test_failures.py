"""What failures have in common: regions that were planted are found, and chance tells nothing."""

import dataclasses

import numpy as np
import pytest

from memflux.dataset import Dataset, summarise
from memflux.platform.campaigns.failures import common_regions
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("9d")
COUNT = 2000


@pytest.fixture
def write(tmp_path):
    """Write a data set in which some devices failed; its summary and folder."""

    def make(failed, lost=0):
        devices, drive = SPACE.sample(COUNT, seed=5)
        traces = StandIn(samples=4)(devices, drive)
        classes = np.where(failed(devices), "step_underflow", "solved").astype(object)
        classes[np.random.default_rng(1).permutation(COUNT)[:lost]] = "node_lost"
        traces = dataclasses.replace(traces, status_class=classes)
        out = str(tmp_path / "d")
        Dataset.write(out, devices=devices, drive=drive, traces=traces, space=SPACE, shard_size=50)
        return summarise(out), out

    return make


def test_a_planted_region_is_told(write):
    def corner(devices):
        return (devices.barrier_left < 0.07) & (devices.mobility_vacancy > 3e-13)

    summary, out = write(corner)
    [first, *_] = common_regions(summary, out)
    assert first.share > 0.9
    assert first.rate > 0.9 > 0.1 > first.elsewhere
    names = {condition.split()[0]: condition for condition in first.conditions}
    assert set(names) == {"barrier_left", "mobility_vacancy"}
    assert float(names["barrier_left"].split()[2]) == pytest.approx(0.07, abs=0.004)
    assert float(names["mobility_vacancy"].split()[2]) == pytest.approx(3e-13, rel=0.1)
    assert names["mobility_vacancy"].endswith("m^2/(V s)")
    assert str(first).startswith("step_underflow: 100 % of them have mobility_vacancy > 2.99e-13 m^2/(V s) and ")


def test_failures_by_chance_have_nothing_in_common(write):
    generator = np.random.default_rng(0)
    summary, out = write(lambda devices: generator.random(len(devices)) < 0.02)
    assert summary.tally.failures > 20
    assert common_regions(summary, out) == []


def test_bad_luck_hides_no_physics(write):
    summary, out = write(lambda devices: devices.length > 1.95e-6, lost=400)
    [region] = common_regions(summary, out)
    assert region.status_class == "step_underflow"
    assert region.conditions == ("length > 1.95e-06 m",)


@pytest.mark.parametrize("failed", [0, 9, COUNT])
def test_too_few_to_say(write, failed):
    summary, out = write(lambda devices: np.arange(len(devices)) < failed)
    assert common_regions(summary, out) == []


def test_rates_are_those_of_all_rows_though_few_shards_are_read(write, monkeypatch):
    monkeypatch.setattr("memflux.platform.campaigns.failures.SHARDS", 8)
    summary, out = write(lambda devices: devices.length > 1.9e-6)
    [region] = common_regions(summary, out)
    assert region.share == pytest.approx(1.0, abs=0.05)
    assert region.rate == pytest.approx(1.0, abs=0.05)
