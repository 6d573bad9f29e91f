"""Questions one after the other: what is written, kept, asked again, and refused."""

import json
import os
import signal

import numpy as np
import pytest

from memflux.analysis.optimise import OptimiseResult
from memflux.analysis.sensitivity import SobolResult, sobol
from memflux.errors import DataError, InvalidValue
from memflux.platform.asking.fit import Fit
from memflux.platform.asking.questions import Morris, Optimise, Sobol
from memflux.platform.asking.run import RECORD, InTurn, Task, ask
from memflux.space import Space
from memflux.stand_in import StandIn

SPACE = Space.preset("5d-parametric")
SMALL = Sobol(name="small", base_samples=16, quantity=("symmetry",))
OTHER = Morris(name="other", trajectories=4)


class Stand(StandIn):
    """A compact model with what a surrogate says of itself, that counts how often it is asked."""

    space = SPACE
    cycles = 2
    asked = 0

    def __call__(self, devices, drive):
        Stand.asked += 1
        return super().__call__(devices, drive)


@pytest.fixture(scope="module")
def model():
    return Stand(samples=16)


def put(folder, model, *analyses, **options):
    return ask([Task(analysis, SPACE) for analysis in analyses], model, InTurn(model), folder, **options)


def states(outcome, *names):
    return [outcome.state(name) for name in names]


def test_answers_are_those_of_the_functions(tmp_path, model):
    told = []
    optimum = Optimise(name="nearest", target={"symmetry": 1.0}, fix={"barrier_left": 0.1}, generations=20)
    outcome = put(tmp_path, model, SMALL, optimum, on_end=lambda one, *count: told.append((one.name, *count)))
    assert states(outcome, "small", "nearest") == ["answered", "answered"]
    assert told == [("small", 1, 2), ("nearest", 2, 2)]
    alone = sobol(model, SPACE, ["symmetry"], base_samples=16)
    assert SobolResult.from_json(tmp_path / "small.json").to_dict() == alone.to_dict()
    found = OptimiseResult.from_json(tmp_path / "nearest.json")
    assert found.parameters["barrier_left"] == 0.1  # known: held
    assert found.cost < 1e-4  # known: S = 1 can be had


def test_what_is_answered_is_not_asked_again_unless_it_changed(tmp_path, model):
    put(tmp_path, model, SMALL, OTHER)
    written, Stand.asked = (tmp_path / "small.json").stat().st_mtime_ns, 0
    assert states(put(tmp_path, model, SMALL, OTHER), "small", "other") == ["kept", "kept"]
    assert Stand.asked == 1  # to know the model again
    changed = Sobol(**{**SMALL.model_dump(), "seed": 1})
    assert states(put(tmp_path, model, changed, OTHER), "small", "other") == ["answered", "kept"]
    assert SobolResult.from_json(tmp_path / "small.json").seed == 1
    assert (tmp_path / "small.json").stat().st_mtime_ns > written
    (tmp_path / "other.json").unlink()
    assert states(put(tmp_path, model, changed, OTHER), "small", "other") == ["kept", "answered"]


def test_a_failure_is_a_sentence_and_does_not_end_the_others(tmp_path, model):
    own = tmp_path / "own.py"
    own.write_text("def peak(traces):\n    raise ZeroDivisionError('no\\npeak')\n")
    bad = [
        Sobol(name="power", base_samples=100),
        Fit(name="lost", curve=str(tmp_path / "none.csv")),
        Morris(name="own", quantity=(f"{own}:peak",), trajectories=4),
    ]
    outcome = put(tmp_path / "o", model, *bad, OTHER)
    assert states(outcome, "power", "lost", "own", "other") == ["failed", "failed", "failed", "answered"]
    failed = json.loads((tmp_path / "o" / RECORD).read_text())["failed"]
    assert "not a power of two" in failed["power"]
    assert "none.csv cannot be read" in failed["lost"]
    assert failed["own"] == "ZeroDivisionError: no peak"
    own.write_text("def peak(traces):\n    return abs(traces.current).max(axis=1)\n")
    outcome = put(tmp_path / "o", model, *bad[2:], OTHER)
    assert states(outcome, "own", "other") == ["answered", "kept"]
    assert "own" not in json.loads((tmp_path / "o" / RECORD).read_text())["failed"]


def test_no_answer_of_another_question_is_left(tmp_path, model):
    traces = StandIn(samples=64)(*SPACE.sample(1, seed=4))
    curve = tmp_path / "c.csv"
    np.savetxt(curve, np.stack([traces.voltage[0], traces.current[0]], axis=1), delimiter=",")
    fit = {"name": "f", "curve": str(curve), "starts": 4, "iterations": 5, "polish": 5}
    put(tmp_path / "o", model, Fit(**fit, profile=True))
    assert (tmp_path / "o" / "f.identifiability.json").is_file()
    put(tmp_path / "o", model, Fit(**fit))
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [RECORD, "f.json"]
    put(tmp_path / "o", model, Fit(**fit | {"cost": "none"}))
    assert [p.name for p in (tmp_path / "o").iterdir()] == [RECORD]


def test_a_signal_ends_it_after_the_question_under_way(tmp_path, model):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    outcome = put(tmp_path, model, SMALL, OTHER, on_end=interrupt)
    assert states(outcome, "small", "other") == ["answered", "left"]
    assert states(put(tmp_path, model, SMALL, OTHER), "small", "other") == ["kept", "answered"]


def test_another_model_and_a_damaged_folder_are_refused(tmp_path, model):
    put(tmp_path, model, OTHER)
    with pytest.raises(InvalidValue, match="the model answers otherwise"):
        put(tmp_path, Stand(samples=18), OTHER)
    for text in ("{", "[]", '{"format": 1}', '{"format": 2, "model": [[0]], "asked": {}, "failed": {}}'):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(DataError, match="damaged or of another version"):
            put(tmp_path, model, OTHER)
