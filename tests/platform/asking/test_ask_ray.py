"""Questions side by side on a small Ray, put to an endpoint: the same answers, and an end to every actor."""

import functools
import sys

import pytest
import ray

import compact_served
from compact_served import NAME, TOKEN, load
from memflux.errors import InvalidValue
from memflux.platform.asking.executor_ray import SideBySide
from memflux.platform.asking.questions import Map, Morris, Optimise, Pareto, Sobol
from memflux.platform.asking.run import RECORD, InTurn, Task, ask
from memflux.platform.cluster import local_cluster
from memflux.platform.serving.client import Client
from memflux.platform.serving.serve import Scale, endpoint, free_port

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
OWN = """
import os
from pathlib import Path

def peak(traces):
    return abs(traces.current).max(axis=1)

def once(traces):  # takes its process down at the first call
    try:
        (Path(__file__).parent / "died").touch(exist_ok=False)
    except FileExistsError:
        return peak(traces)
    os._exit(1)

def always(traces):
    os._exit(1)
"""


@pytest.fixture(scope="module")
def running():
    ray.cloudpickle.register_pickle_by_value(compact_served)  # workers cannot import this folder
    with (
        local_cluster(cores=3, object_store=2**28),
        endpoint({NAME: "unused"}, port=free_port(), token=TOKEN, scale=Scale(cpus=0.5), loader=load) as running,
    ):
        yield running
    ray.cloudpickle.unregister_pickle_by_value(sys.modules["compact_served"])


def put(folder, running, asking, analyses):
    with Client(running.url, NAME, token=TOKEN) as model:
        return ask([Task(a, model.space) for a in analyses], model, asking(model), folder)


def side_by_side(running, **options):
    opened = functools.partial(Client, running.url, NAME, token=TOKEN)
    return lambda _: SideBySide(opened, **{"actors": 2, "cpus": 0.5} | options)


def test_many_at_once_say_what_they_say_in_turn(tmp_path, running):
    (tmp_path / "own.py").write_text(OWN)
    analyses = [
        Sobol(name="sobol", base_samples=64),
        Morris(name="morris", trajectories=8, quantity=f"{tmp_path}/own.py:peak"),
        Map(name="map", axis={"barrier_left": 8, "barrier_right": 8}),
        Optimise(name="optimise", generations=8),
        Pareto(name="pareto", population=12, generations=4),
        Sobol(name="wrong", base_samples=100),
    ]
    for folder, asking in (("turn", InTurn), ("ray", side_by_side(running))):
        outcome = put(tmp_path / folder, running, asking, analyses)
        assert [outcome.state(a.name) for a in analyses] == ["answered"] * 5 + ["failed"]
    for analysis in analyses[:5]:
        one, other = (tmp_path / folder / f"{analysis.name}.json" for folder in ("turn", "ray"))
        assert one.read_bytes() == other.read_bytes()
    assert ray.util.state.list_actors(filters=[("class_name", "=", "Asker"), ("state", "=", "ALIVE")]) == []


def test_a_question_whose_actor_dies_is_asked_once_more(tmp_path, running):
    (tmp_path / "own.py").write_text(OWN)
    kinds = ("once", "always", "peak")
    analyses = [Morris(name=kind, trajectories=4, quantity=f"{tmp_path}/own.py:{kind}") for kind in kinds]
    outcome = put(tmp_path / "o", running, side_by_side(running), analyses)
    assert [outcome.state(kind) for kind in kinds] == ["answered", "failed", "answered"]
    assert (tmp_path / "died").exists()
    assert "its process died 2 times" in (tmp_path / "o" / RECORD).read_text()


def test_actors_that_find_no_room(tmp_path, running):
    with pytest.raises(InvalidValue, match="cpus = 4 is more than the 3 of this Ray"):
        put(tmp_path, running, side_by_side(running, cpus=4.0), [Morris(name="m")])
    with pytest.raises(InvalidValue, match="actors = 0"):
        side_by_side(running, actors=0)(None)
