"""Trials on Ray Tune: the same study as without, and an end to every trial whatever its process dies of."""

import pytest
import ray
import slow_study
from slow_study import PLAN, Broken, Fatal, FatalAfterwards, WithData, drive

from memflux.errors import InvalidValue, ServiceError
from memflux.platform.cluster import local_cluster
from memflux.platform.tuning.executor_ray import ATTEMPTS, RayTrials
from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.journal import ended, read
from memflux.platform.tuning.plan import Plan

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
ray.cloudpickle.register_pickle_by_value(slow_study)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with local_cluster(2, object_store=2**28):
        yield


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calm")
    drive(folder, SerialTrials())
    return told(folder)


def changed(**changes):
    return Plan(**{**PLAN.model_dump(), **changes})


def told(folder):
    study = read(folder)[1]
    return [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in study.get_trials()]


def test_one_at_a_time_it_is_the_study_without_ray(tmp_path, calm):
    drive(tmp_path, RayTrials())
    assert told(tmp_path) == calm


@pytest.mark.slow
def test_two_at_a_time_every_trial_is_done_once(tmp_path):
    state = drive(tmp_path, RayTrials(), plan=changed(concurrent=2))
    assert (state.ended, state.failed, state.running) == (PLAN.trials, 0, 0)
    trials = read(tmp_path)[1].get_trials()
    assert [t.number for t in trials] == list(range(PLAN.trials))
    starts, ends = ([getattr(t, f"datetime_{what}") for t in trials] for what in ("start", "complete"))
    assert any(later < end for end, later in zip(ends, starts[1:], strict=False))  # two were under way


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced(tmp_path, calm):
    drive(tmp_path / "s", RayTrials(), lambda: Fatal(tmp_path, 1))
    assert (tmp_path / "died-0").exists()
    assert told(tmp_path / "s") == calm


@pytest.mark.slow
def test_a_process_that_is_killed_between_trials_is_no_trial_s_fault(tmp_path, calm):
    drive(tmp_path / "s", RayTrials(), lambda: FatalAfterwards(tmp_path))
    assert (tmp_path / "died").exists()
    assert told(tmp_path / "s") == calm


@pytest.mark.slow
def test_a_trial_that_kills_its_process_again_and_again_fails(tmp_path):
    plan = changed(trials=5)
    state = drive(tmp_path / "s", RayTrials(), lambda: Fatal(tmp_path, 99), plan)
    assert len(list(tmp_path.glob("died-*"))) == ATTEMPTS
    assert (state.ended, state.failed) == (5, 1)
    assert ended(read(tmp_path / "s")[1].get_trials()[2]).failure.startswith("its process died, or its node")


def test_more_than_there_is_is_refused(tmp_path):
    for changes in ({"cpus": 3}, {"processes": 3}, {"gpus": 1.0}):
        with pytest.raises(InvalidValue, match="this Ray has room for"):
            drive(tmp_path / "s", RayTrials(), plan=changed(**changes))
    with pytest.raises(InvalidValue, match="leads to Ray's client"):
        drive(tmp_path / "s", RayTrials(address="ray://head:10001"))


@pytest.mark.slow
def test_the_only_trial_dies_and_fails(tmp_path):
    plan = changed(trials=3)
    drive(tmp_path / "s", SerialTrials(), plan=changed(trials=2))
    state = drive(tmp_path / "s", RayTrials(), lambda: Fatal(tmp_path, 99), plan)
    assert (state.ended, state.failed, state.running) == (3, 1, 0)


@pytest.mark.slow
def test_a_stopped_run_leaves_its_trial_under_way(tmp_path, calm):
    seen = []
    state = drive(tmp_path, RayTrials(), stopped=lambda: len(seen) > 20, on_look=lambda: seen.append(0))
    assert state.running == 1
    assert 0 < state.ended < PLAN.trials
    drive(tmp_path, RayTrials())
    assert told(tmp_path) == calm


def test_the_data_set_is_not_copied_for_a_trial(tmp_path):
    assert drive(tmp_path, RayTrials(), WithData, changed(trials=3)).failed == 0


@pytest.mark.slow
def test_trials_that_cannot_begin_end_the_run_and_are_done_later(tmp_path, calm):
    with pytest.raises(ServiceError, match=r"trials die before they begin: .*no such thing here"):
        drive(tmp_path, RayTrials(), Broken)
    drive(tmp_path, SerialTrials())
    assert told(tmp_path) == calm
