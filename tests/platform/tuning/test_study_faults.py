"""Whatever is killed, and whenever, a study ends as an undisturbed one of its seed does, every trial there once."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slow_study import PLAN, drive

from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.journal import read, tally
from ray_nodes import three_nodes

SCRIPT = Path(__file__).with_name("slow_study.py")
NAMES = (b"ray::TuneTrial", b"ray::ResourceTrainable", b"ray::with_resources")
KINDS = ("worker", "node", "driver", "head")
CASES = [(kind, seed) for kind in KINDS for seed in range(1 if kind == "head" else 4)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calm")
    drive(folder, SerialTrials())
    return told(folder)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(280)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_the_study_ends_as_if_nothing_had_happened(kind, seed, tmp_path, calm):
    generator = random.Random(f"{kind} {seed}")
    with three_nodes() as nodes:
        driver = begin(tmp_path, nodes.address)
        try:
            wait_for_trials(tmp_path, driver)
            time.sleep(generator.uniform(0.0, 3.0))
            assert driver.poll() is None, "it was over before anything was killed"
            strike(kind, nodes, driver, generator)
            _, words = driver.communicate(timeout=150)
        finally:
            driver.kill()
            driver.wait()
        if kind == "driver":
            assert 0 < tally(read(tmp_path)[1]).ended < PLAN.trials
            again = begin(tmp_path, nodes.address)
            _, words = again.communicate(timeout=150)
            assert again.returncode == 0, words
        elif kind in ("worker", "node"):
            assert driver.returncode == 0, words
    if kind == "head":
        assert driver.returncode != 0  # Ray ends a process that has lost its head, within a minute
        assert 0 < tally(read(tmp_path)[1]).ended < PLAN.trials
        drive(tmp_path, SerialTrials())
    assert told(tmp_path) == calm


def told(folder):
    """What became of each trial."""
    study = read(folder)[1]
    return [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in study.get_trials()]


def begin(folder, address):
    words = [sys.executable, str(SCRIPT), str(folder), address]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_trials(folder, driver):
    deadline = time.monotonic() + 90.0
    while time.monotonic() < deadline and driver.poll() is None:
        if (folder / "study.yaml").exists() and tally(read(folder)[1]).ended >= 1:
            return
        time.sleep(0.2)
    pytest.fail("no trial ended")


def strike(kind, nodes, driver, generator):
    if kind == "worker":
        nodes.kill_worker(generator, NAMES)
    elif kind == "node":
        nodes.kill_node(generator)
    elif kind == "driver":
        driver.kill()
    else:
        nodes.kill_head()
