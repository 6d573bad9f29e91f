"""A trial of loops: what it tells fold by fold, and that it goes on where it was."""

import dataclasses
import json
import math

import numba
import numpy as np
import pytest

from looped_records import write_records
from memflux.loops import read_loops
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.study import Study
from memflux.platform.tuning.trial_memode import CONSTANT, LoopsJob
from memflux.platform.tuning.work import Task
from memflux.training.memode.fit import cross_validate, fit
from memflux.training.memode.model import MemOde
from memflux.training.memode.search import candidate

SETTINGS = {"states": 1, "width": 2, "memductance_width": 2, "starts": 1, "iterations": 3, "steps": 32, "folds": 3}


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    return read_loops(write_records(tmp_path_factory.mktemp("records")), samples=64)


def task(seed=5, **changes):
    return Task(number=3, settings={**SETTINGS, **changes}, seed=seed)


def job(loops, **changes):
    return LoopsJob(loops=loops, **{"objectives": ("loop_error",), **changes})


def untimed(looks):
    return [dataclasses.replace(look, seconds=0.0) for look in looks]


def test_it_tells_of_every_fold_and_ends_with_the_cross_validated_error(loops):
    *looks, end = job(loops).looks(task(seed=0))
    assert [look.percent for look in looks] == [33, 66, 100]
    assert np.all(np.diff([look.epochs for look in looks]) > 0)
    config, how, folds = candidate(SETTINGS)
    errors = np.minimum(cross_validate(loops, [(config, how)], folds)[0], CONSTANT)
    assert end.values == (end.error,) == (looks[-1].error,)
    assert end.error == pytest.approx(errors.mean(), rel=1e-12)
    assert not any(look.last for look in looks)
    assert end.weights == looks[0].weights == 19
    assert np.all(np.diff([look.seconds for look in looks]) > 0)


def test_all_trials_deal_the_records_alike(loops, monkeypatch):
    held = []

    def no_orbit(self, seen):
        held.append(seen.names)
        return tuple(np.full_like(seen.source, np.nan) for _ in range(2))

    monkeypatch.setattr(MemOde, "predict", no_orbit)
    for seed in (1, 2):
        *_, end = job(loops).looks(task(seed=seed))
        assert end.values == (CONSTANT,)  # finite where no orbit closes
    of_folds = [names for names in held if len(names) < 3]
    assert of_folds[:3] == of_folds[3:]
    assert len({name for names in of_folds for name in names}) == len(loops)


def test_objectives(loops):
    *_, end = job(loops, objectives=("parameters", "loop_error")).looks(task())
    assert end.values == (end.weights, end.error)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_trial_tells_all_again_and_ends_the_same(loops, after, tmp_path, monkeypatch):
    kept = job(loops, checkpoints=str(tmp_path / "trials"))
    whole = list(job(loops).looks(task()))
    first = kept.looks(task())
    for _ in range(after):
        next(first)
    first.close()
    trained = []
    monkeypatch.setattr("memflux.training.memode.fit.fit", lambda *words: trained.append(0) or fit(*words))
    assert untimed(kept.looks(task())) == untimed(whole)
    assert len(trained) == 3 - after
    kept.forget(3)
    assert not list((tmp_path / "trials").iterdir())
    kept.forget(3)


def test_folds_of_another_trial_or_of_a_damaged_file_are_begun_again(loops, tmp_path):
    kept, file = job(loops, checkpoints=str(tmp_path)), tmp_path / "000003.json"
    list(kept.looks(task()))
    written = file.read_text()
    whole = list(job(loops).looks(task(seed=6)))
    other = json.loads(written) | {"of": None}
    damaged = (written, "half a fi", "[]", '{"folds": 3}', json.dumps(other), '{"folds": [[1, 2, 3]], "of": []}')
    for content in damaged:
        file.write_text(content)
        assert untimed(kept.looks(task(seed=6))) == untimed(whole)
    file.write_bytes(b"\xff\xfe\x00")
    assert untimed(kept.looks(task(seed=6))) == untimed(whole)


def test_settings_that_cannot_be_trained_are_a_failure_with_its_reason(loops, monkeypatch):
    (end,) = job(loops).looks(task(width=0))
    assert "width = 0 is out of range" in end.failure
    assert end.last

    def singular(*_):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr("memflux.training.memode.fit._Search._step", singular)
    (end,) = job(loops).looks(task())
    assert end.failure == "LinAlgError: Singular matrix"
    assert math.isnan(end.error)


def test_a_failure_has_no_error_yet_and_the_study_takes_it(loops, tmp_path):
    plan = Plan(model="memode", dataset="d", search={"width": {"low": 2, "high": 4}}, fixed={"folds": 3})
    with Study.hold(tmp_path, plan, "hash") as study:
        number = study.next().number
        for look in job(loops).looks(dataclasses.replace(task(steps=3), number=number)):
            assert study.tell(number, look)
        assert study.tally().failed == 1


@pytest.mark.parametrize("threads", [1, 1000])
def test_threads_are_as_many_as_asked_for_or_there_and_are_given_back(loops, monkeypatch, threads):
    most = numba.config.NUMBA_NUM_THREADS
    before, predict, used = numba.get_num_threads(), MemOde.predict, set()

    def counted(self, seen):
        used.add(numba.get_num_threads())
        return predict(self, seen)

    monkeypatch.setattr(MemOde, "predict", counted)
    for _ in job(loops, threads=threads).looks(task()):
        assert numba.get_num_threads() == before
    assert used == {min(threads, most)}
