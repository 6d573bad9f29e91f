"""Questions side by side on a small Ray: the same answers as in turn, whatever an actor dies of."""

import functools
import sys

import pytest
import ray

import compact_served
from compact_served import load
from memflux.errors import InvalidValue
from memflux.platform.asking.executor_ray import SideBySide
from memflux.platform.asking.questions import Map, Morris, Pareto, Sobol
from memflux.platform.asking.run import RECORD, InTurn, Task, ask
from memflux.platform.cluster import local_cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
OWN = """
import os
from pathlib import Path

def peak(traces):
    return abs(traces.current).max(axis=1)

def once(traces):  # takes its process down at the first call
    died = Path(__file__).parent / "died"
    if not died.exists():
        died.touch()
        os._exit(1)
    return peak(traces)

def always(traces):
    os._exit(1)
"""


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    ray.cloudpickle.register_pickle_by_value(compact_served)  # workers cannot import this folder
    with local_cluster(cores=1, object_store=2**28):
        yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules["compact_served"])


def put(folder, asking, analyses):
    model = load(None, None)
    return ask([Task(a, model.space) for a in analyses], model, asking, folder)


def test_the_same_answers_as_in_turn_though_actors_die(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    sound = [
        Sobol(name="sobol", base_samples=64),
        Morris(name="peak", trajectories=8, quantity=f"{tmp_path}/own.py:peak"),
        Map(name="map", axis={"barrier_left": 8, "barrier_right": 8}),
        Pareto(name="pareto", population=12, generations=4),
    ]
    put(tmp_path / "turn", InTurn(load(None, None)), sound)
    fatal = [
        Morris(name="once", trajectories=4, quantity=f"{tmp_path}/own.py:once"),
        Morris(name="always", trajectories=4, quantity=f"{tmp_path}/own.py:always"),
        Sobol(name="wrong", base_samples=100),
    ]
    names = [a.name for a in fatal + sound]
    pool = SideBySide(functools.partial(load, None, None), actors=2, cpus=0.5)
    outcome = put(tmp_path / "ray", pool, fatal + sound)
    assert [outcome.state(name) for name in names] == ["answered", "failed", "failed"] + ["answered"] * 4
    assert (tmp_path / "died").exists()
    said = (tmp_path / "ray" / RECORD).read_text()
    assert "its process died 2 times" in said
    assert "not a power of two" in said
    for analysis in sound:
        one, other = (tmp_path / folder / f"{analysis.name}.json" for folder in ("turn", "ray"))
        assert one.read_bytes() == other.read_bytes()


def test_actors_that_find_no_room(tmp_path):
    with pytest.raises(InvalidValue, match="cpus = 4 is more than the 1 of this Ray"):
        put(tmp_path, SideBySide(functools.partial(load, None, None), cpus=4.0), [Morris(name="m")])
    with pytest.raises(InvalidValue, match="actors = 0"):
        SideBySide(functools.partial(load, None, None), actors=0)
