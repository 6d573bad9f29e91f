"""One training on two processes by Ray Train: that of one process, and an end where it is paused or cannot be."""

import dataclasses

import pytest

from memflux.errors import InvalidValue, ServiceError
from memflux.platform.cluster import local_cluster
from memflux.platform.processes import Processes, fit_on
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import split_curves
from memflux.training.loop import Recipe, Training
from memflux.training.resume import Paused
from memflux.training.search_space import configured

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]
TWO = Processes(count=2)


@pytest.fixture(scope="module")
def data():
    return curves()


def curves(**options):
    space = Space.preset("5d-parametric")
    devices, drive = space.sample(100, seed=0)
    return split_curves(devices, drive, StandIn(samples=8)(devices, drive), space, **options)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with local_cluster(2, object_store=2**28):
        yield


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        pytest.param("spectral", {"width": 16, "layers": 2}, marks=pytest.mark.slow),
        pytest.param("lstm", {"units": 8, "dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param("hybrid", {"units": 8, "dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param("neural_ode", {"width": 8, "stride": 2}, marks=pytest.mark.slow),
    ],
)
def test_two_processes_learn_what_one_does(data, model, settings):
    config, schedule = configured(model, {**settings, "epochs": 6, "batch_size": 20}, len(data.curves))
    recipe = Recipe(config=config, schedule=schedule, seed=3)
    alone = Training(data, recipe)
    steps = list(alone.steps())
    told = []
    together = fit_on(TWO, data, recipe, told.append, dataset_hash="abc")
    assert [step.loss for step in told] == pytest.approx([step.loss for step in steps], rel=1e-6)
    assert [step.validation for step in told] == pytest.approx([step.validation for step in steps], rel=1e-5)
    assert together.record["dataset_hash"] == "abc"
    assert len(together.record["history"]) == 6


@pytest.mark.slow
def test_a_pause_and_the_rest_are_the_whole(data, tmp_path):
    config, schedule = configured("spectral", {"width": 8, "layers": 1, "epochs": 4, "batch_size": 20}, 100)
    recipe = Recipe(config=config, schedule=schedule, seed=3, checkpoint=tmp_path / "t.training")
    with pytest.raises(Paused, match="at epoch 1 of 4"):
        fit_on(TWO, data, dataclasses.replace(recipe, seconds=0.0), lambda _: None)
    rest = fit_on(TWO, data, recipe, lambda _: None)
    assert [step["epoch"] for step in rest.record["history"]] == [1, 2, 3, 4]


def test_more_than_there_is_is_refused(data):
    for asked, words in (
        (Processes(count=3), "processes = 3 need 3 CPU and this Ray has 2"),
        (Processes(count=2, gpus=1.0), "need 2 GPU"),
    ):
        with pytest.raises(InvalidValue, match=words):
            fit_on(asked, data, Recipe(), lambda _: None)


@pytest.mark.slow
def test_what_cannot_begin_says_why():
    config, schedule = configured("spectral", {"batch_size": 20}, 100)
    recipe = Recipe(config=config, schedule=dataclasses.replace(schedule, patience=3))
    with pytest.raises(ServiceError, match="patience = 3 waits for a validation error"):
        fit_on(TWO, curves(fractions=(0.8, 0.0, 0.2)), recipe, lambda _: None)
