"""The study file: what it takes, and what it says of what it does not take."""

import pytest
import yaml

from memflux.errors import InvalidValue
from memflux.platform.tuning.plan import Plan
from memflux.platform.tuning.subject import PRESETS
from memflux.training.setting import Among, Between

GIVEN = {"model": "lstm", "dataset": "data", "search": {"units": {"low": 16, "high": 64, "step": 16}}}


OF_LOOPS = {"model": "memode", "dataset": "records", "search": {"width": {"low": 2, "high": 8}}}


def plan(**changes):
    return Plan(**{**GIVEN, **changes})


@pytest.mark.parametrize("name", PRESETS)
def test_a_written_file_reads_as_the_plan_it_was_written_from(name, tmp_path):
    cost = "iterations" if PRESETS[name].model == "memode" else "epochs"
    written = plan(model=PRESETS[name].model, search=name, fixed={cost: 5}, dataset=str(tmp_path / "d"))
    (tmp_path / "s.yaml").write_text(written.to_yaml())
    assert Plan.from_yaml(tmp_path / "s.yaml") == written
    assert written.settings() == {k: v for k, v in PRESETS[name].search.items() if k != cost}
    assert written.held() == {**PRESETS[name].fixed, cost: 5}


def test_a_long_path_is_written_whole(tmp_path):
    folder = tmp_path / ("a folder with spaces, " * 6) / "für Daten"
    (tmp_path / "s.yaml").write_text(plan(dataset=str(folder)).to_yaml())
    assert Plan.from_yaml(tmp_path / "s.yaml").dataset == str(folder)


def test_a_path_is_taken_from_where_the_file_lies(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "s.yaml").write_text(yaml.safe_dump({**GIVEN, "dataset": "../data"}))
    assert Plan.from_yaml(tmp_path / "sub" / "s.yaml").dataset == str(tmp_path / "data")
    (tmp_path / "u.yaml").write_text(yaml.safe_dump({**GIVEN, "dataset": "memory://data"}))
    assert Plan.from_yaml(tmp_path / "u.yaml").dataset == "memory://data"


def test_numbers_that_yaml_takes_for_text(tmp_path):
    text = "model: lstm\ndataset: d\nsearch:\n  learning_rate: {low: 1e-4, high: 1e-1, log: true}\n  units: [8, 16]\n"
    (tmp_path / "s.yaml").write_text(text + "fixed: {weight_decay: 1e-3}\nhours: 1e1\n")
    read = Plan.from_yaml(tmp_path / "s.yaml")
    assert read.settings() == {
        "learning_rate": Between(low=1e-4, high=0.1, log=True),
        "units": Among(values=(8, 16)),
    }
    assert read.fixed == {"weight_decay": 1e-3}
    assert read.hours == 10.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "lstn"}, "model = 'lstn' is not known; .* Did you mean 'lstm'"),
        ({"seeds": 1}, "'seeds' is not a key of a study; did you mean 'seed'"),
        ({"search": "spectral"}, "search = 'spectral' is for spectral, not for lstm"),
        ({"search": "lstm-publisht"}, "Did you mean 'lstm-published'"),
        ({"search": {"unitz": [1, 2]}}, "'unitz' is not a setting of lstm; did you mean 'units'"),
        ({"search": {"units": {"low": 1}}}, "the range of units has no high"),
        ({"search": {"units": {"low": 1, "hihg": 2}}}, "'hihg' is not a key of the range of units"),
        ({"search": {"units": {"low": 0, "high": 9}}}, "units = 0 is out of range"),
        ({"search": {"units": {"low": 9, "high": 3}}}, "low = 9 of a range is not below high = 3"),
        ({"search": {"units": {"low": 1, "high": 3, "step": 5}}}, "step = 5 of a range must be positive, at most 2"),
        ({"search": {"dropout": {"low": 0.0, "high": 0.5, "log": True}}}, "low = 0 of a logarithmic range is not pos"),
        ({"search": {"units": {"low": None, "high": 3}}}, "low = None of the range of units is not a number"),
        ({"search": {"units": {"low": 1, "high": 9, "step": 0.5}}}, "step = 0.5 of a range of whole numbers"),
        ({"search": {"optimiser": [["muon"], ["adamw"]]}}, "of optimiser must be numbers, words or truth values"),
        ({"objectives": ["parameters"]}, "ranks by nmae; write 'pruner: none'"),
        ({"search": {"units": {"low": "few", "high": 3}}}, "low = 'few' of the range of units is not a number"),
        ({"search": {"units": [8]}}, r"choices = \[8\] must be at least two different values"),
        ({"search": {"units": [8, 5000]}}, "units = 5000 is out of range"),
        ({"search": [1]}, "search = .1. does not hold 'key: value' lines"),
        ({"fixed": {"units": 8}}, "units is both varied and fixed"),
        ({"search": {"units": {"low": 1, "high": 3, "log": 1}}}, "log of the range of units = 1 is not a truth value"),
        ({"search": {"units": {"low": 1, "high": float("inf")}}}, "high = inf of a range is not finite"),
        ({"fixed": {"epochs": 0}}, "epochs = 0 is out of range"),
        ({"trials": None}, "the study has no end; give one of trials, hours, total_epochs"),
        ({"trials": 0}, "trials = 0 is out of range"),
        ({"hours": -1}, "hours = -1 is out of range"),
        ({"objectives": []}, "objectives = .. must be a list"),
        ({"objectives": ["nmae", "speed"]}, "objective = 'speed' is not known"),
        ({"objectives": ["nmae", "parameters"]}, "ranks by nmae; write 'pruner: none'"),
        ({"objectives": ["nmae", "parameters"], "pruner": "none", "sampler": "cma-es"}, "take nsga2 or tpe"),
        ({"search": {"units": [8, 16]}, "sampler": "cma-es"}, "sampler = 'cma-es' varies numbers alone"),
        ({"gpus": -0.5}, "gpus = -0.5 is out of range"),
        ({"processes": 0}, "processes = 0 is out of range"),
        ({"validation": ["1.0V"]}, r"validation = \('1.0V',\) means nothing to a study of lstm; leave it out"),
        ({"series_resistance": 1e3}, "series_resistance = 1000.0 means nothing to a study of lstm"),
        ({"objectives": ["loop_error"]}, "objective = 'loop_error' is not known; choose one of nmae"),
        ({"search": "memode"}, "search = 'memode' is for memode, not for lstm"),
    ],
)
def test_what_it_does_not_take(changes, words):
    with pytest.raises(InvalidValue, match=words):
        plan(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "5d-parametric"}, "space = '5d-parametric' means nothing to a study of memode; leave it out"),
        ({"curves": 50}, "curves = 50 means nothing"),
        ({"samples": 50}, "samples = 50 means nothing"),
        ({"gpus": 0.5}, "gpus = 0.5 means nothing"),
        ({"processes": 2}, "processes = 2 means nothing"),
        ({"objectives": ["nmae"]}, "objective = 'nmae' is not known; choose one of loop_error, parameters"),
        ({"objectives": ["loop_error", "parameters"]}, "ranks by loop_error; write 'pruner: none'"),
        ({"search": "lstm"}, "search = 'lstm' is for lstm, not for memode"),
        ({"search": {"units": [1, 2]}}, "'units' is not a setting of memode"),
        ({"fixed": {"epochs": 5}}, "'epochs' is not a setting of memode"),
        ({"validation": "1.0V"}, "validation = '1.0V' must be a list of names of records"),
        ({"validation": [1.0]}, "must be a list of names"),
        ({"series_resistance": -5}, "series_resistance = -5 Ohm is out of range"),
    ],
)
def test_what_a_study_of_loops_does_not_take(changes, words):
    with pytest.raises(InvalidValue, match=words):
        Plan(**{**OF_LOOPS, **changes})


def test_a_study_of_loops_has_its_own_fields_and_objective(tmp_path):
    loops = Plan(**OF_LOOPS, validation=["b", "a", "b"], series_resistance="1e3")
    assert loops.objectives == ("loop_error",)
    assert plan().objectives == ("nmae",)
    assert (loops.validation, loops.series_resistance) == (("a", "b"), 1e3)
    assert "curves" not in loops.to_yaml()
    assert "validation" not in plan().to_yaml()
    several = Plan(**OF_LOOPS, objectives=["loop_error", "parameters"], pruner="none")
    assert several.recipe()["objectives"] == ["loop_error", "parameters"]
    assert loops.recipe()["validation"] == ["a", "b"]
    assert "gpus" not in loops.recipe()


def test_the_recipe_of_a_surrogate_is_what_folders_hold_already():
    assert plan().recipe() == {
        "model": "lstm",
        "space": "",
        "curves": None,
        "samples": None,
        "search": {"units": {"low": 16, "high": 64, "step": 16}},
        "fixed": {},
        "objectives": ["nmae"],
        "sampler": "tpe",
        "pruner": "asha",
        "seed": 0,
    }


def test_files_that_are_none(tmp_path):
    for text, words in (("- 1\n", "does not hold 'key: value' lines"), ("a: [", "is not YAML")):
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(InvalidValue, match=words):
            Plan.from_yaml(tmp_path / "s.yaml")
    with pytest.raises(InvalidValue, match="cannot be read"):
        Plan.from_yaml(tmp_path / "none.yaml")


def test_budgets_and_resources_are_not_of_the_recipe():
    assert plan(trials=9, hours=1.0, cpus=2, concurrent=3, dataset="/moved/data").recipe() == plan().recipe()
    assert plan(seed=1).recipe() != plan().recipe()
