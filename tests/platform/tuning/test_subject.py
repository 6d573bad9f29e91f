"""What a study is about: the data that are read, what is refused, and the same trials with Ray and without."""

import pytest
import ray

from looped_records import write_records
from memflux.errors import DataError, InvalidValue, MemfluxError
from memflux.loops import read_loops
from memflux.platform.cluster import local_cluster
from memflux.platform.tuning.executor_ray import RayTrials
from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.journal import read
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.subject import MODELS, PRESETS, SAMPLES, NeuralOdes, Surrogates, subject_of
from memflux.platform.tuning.tune import run
from memflux.training.memode.search import DEFAULTS

FIXED = {"states": 1, "memductance_width": 2, "starts": 1, "iterations": 3, "steps": 32, "folds": 2}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"))


def plan(records, **changes):
    fields = {
        "model": "memode", "dataset": str(records), "validation": ["1.0V"], "search": {"width": {"low": 2, "high": 4}},
        "fixed": FIXED, "trials": 3, "concurrent": 1,
    }  # fmt: skip
    return Plan(**{**fields, **changes})


def told(folder):
    return [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in read(folder)[1].get_trials()]


def test_every_model_has_one_subject():
    assert {m: type(subject_of(m)) for m in MODELS} == {
        **dict.fromkeys(("spectral", "lstm", "hybrid", "neural_ode"), Surrogates), "memode": NeuralOdes,
    }  # fmt: skip
    assert {preset.model for preset in PRESETS.values()} == set(MODELS)


def test_records_for_validation_are_not_seen_by_trials(records, tmp_path):
    begun = plan(records).subject.begin(plan(records), str(tmp_path))
    every = read_loops(records, samples=SAMPLES)
    assert begun.work.loops.names == ("0.5V", "0.75V", "1.25V", "1.5V")
    assert begun.content_hash == every.content_hash
    assert begun.defaults == DEFAULTS


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_the_same_study_with_ray_and_without(records, tmp_path):
    run(plan(records), tmp_path / "serial", SerialTrials())
    with local_cluster(1, object_store=2**27):
        run(plan(records), tmp_path / "ray", RayTrials())
    assert told(tmp_path / "ray") == told(tmp_path / "serial")
    assert not ray.is_initialized()


def test_other_records_are_refused(records, tmp_path):
    begun = plan(records, trials=1)
    assert run(begun, tmp_path / "s", SerialTrials()).tally.complete == 1
    other = write_records(tmp_path / "other", (0.5, 0.8, 1.0, 1.25, 1.5))
    with pytest.raises(InvalidValue, match="the data set is not the one"):
        run(plan(other, trials=2), tmp_path / "s", SerialTrials())
    with pytest.raises(InvalidValue, match=r"validation = \['0.5V'\] differs from the \['1.0V'\]"):
        run(plan(records, trials=2, validation=["0.5V"]), tmp_path / "s", SerialTrials())
    moved = write_records(tmp_path / "moved")
    assert run(plan(moved, trials=2), tmp_path / "s", SerialTrials()).tally.ended == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation": ["2.0V"]}, "'2.0V' is no record; choose among 0.5V, 0.75V"),
        ({"validation": ["0.5V", "0.75V", "1.0V", "1.25V", "1.5V"]}, "leave some on either side"),
        ({"validation": ["0.5V", "0.75V", "1.0V", "1.25V"]}, "1 record of .* is left to learn from; give two or more"),
        ({"fixed": {**FIXED, "folds": 5}}, "folds = 5 is out of range; give a whole number from 2 to 4"),
        ({"dataset": "/nowhere"}, "/nowhere has 0 records NAME.csv"),
        ({"dataset": "memory://records"}, "has 0 records NAME.csv"),
        ({"series_resistance": 1.0}, "differ by .* from v_s = R_s i"),
        (
            {"model": "spectral", "validation": [], "search": "spectral", "fixed": {}},
            "has no manifest.json; it is no data set",
        ),
    ],
)
def test_data_that_do_not_fit_are_one_sentence(records, tmp_path, changes, words):
    with pytest.raises((InvalidValue, DataError), match=words) as error:
        run(plan(records, **changes), tmp_path / "s", SerialTrials())
    assert isinstance(error.value, MemfluxError)
    assert not (tmp_path / "s").exists()
