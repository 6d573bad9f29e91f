"""Exactly once: whatever is killed, and whenever, every row is there once and the content is that of a calm run."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from slow_campaign import CAMPAIGN

from memflux.dataset import Dataset, summarise
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from ray_nodes import three_nodes

SCRIPT = Path(__file__).with_name("slow_campaign.py")
KINDS = ("worker", "node", "driver", "head")
QUICK = [("node", 0)]  # of workers and drivers test_executors.py has more
CASES = [
    pytest.param(kind, seed, marks=() if (kind, seed) in QUICK else pytest.mark.slow)
    for kind in KINDS
    for seed in range(5)
]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The content hash of an undisturbed serial run."""
    out = tmp_path_factory.mktemp("calm")
    run(CAMPAIGN, str(out), SerialExecutor())
    return summarise(out).tally.content_hash


@pytest.mark.ray
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_every_row_is_there_once(kind, seed, tmp_path, calm):
    generator = random.Random(f"{kind} {seed}")
    out = tmp_path / "d"
    with three_nodes() as nodes:
        driver = begin(out, nodes.address)
        try:
            wait_for_shards(out, driver)
            time.sleep(generator.uniform(0.0, 2.5))
            assert driver.poll() is None, "it was over before anything was killed"
            strike(kind, nodes, driver, generator)
            _, told = driver.communicate(timeout=120)
        finally:
            driver.kill()
            driver.wait()
        if kind == "driver":
            assert driver.returncode == -9
            assert 0 < rows_of(out) < CAMPAIGN.count
            finish(out, nodes.address)
    if kind == "head":
        assert driver.returncode == 1, told
        assert "nothing is lost: start the cluster and run the same command again" in told
        assert 0 < rows_of(out) < CAMPAIGN.count
        with three_nodes() as nodes:
            finish(out, nodes.address)
    if kind in ("worker", "node"):
        assert driver.returncode == 0, told
    made = Dataset.open(out)
    assert np.array_equal(made.index, np.arange(CAMPAIGN.count))
    assert made.traces.ok.all()
    assert made.content_hash == summarise(out).tally.content_hash == calm
    assert not list(out.glob(".*"))


def begin(out, address):
    """The campaign in a process of its own, on the cluster."""
    words = [sys.executable, str(SCRIPT), str(out), "ray", address]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def finish(out, address):
    """The same command again."""
    driver = begin(out, address)
    try:
        _, told = driver.communicate(timeout=120)
    finally:
        driver.kill()
    assert driver.returncode == 0, told


def wait_for_shards(out, driver):
    """Until the first shard is there."""
    deadline = time.monotonic() + 90
    while not list(out.glob("shard-*")):
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < deadline, "no shard was made"
        time.sleep(0.02)


def strike(kind, nodes, driver, generator):
    """Kill something."""
    match kind:
        case "worker":
            nodes.kill_worker(generator)
        case "node":
            nodes.kill_node(generator)
        case "head":
            nodes.kill_head()
        case "driver":
            driver.kill()


def rows_of(out):
    """Rows that are there."""
    return summarise(out).tally.rows
