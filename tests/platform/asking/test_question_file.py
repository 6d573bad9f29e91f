"""The file of questions: the words of the command line, and mistakes in one sentence."""

import pytest
import yaml

from memflux.errors import InvalidValue
from memflux.platform.asking.file import ANALYSES, Questions
from memflux.platform.asking.fit import Fit
from memflux.platform.asking.questions import Map, Optimise, Pareto, Sobol


def read(folder, *analyses):
    file = folder / "q.yaml"
    file.write_text(yaml.safe_dump({"analyses": list(analyses)}, sort_keys=False))
    return Questions.from_yaml(file).analyses


def test_lines_may_be_words_lists_or_mappings(tmp_path):
    found = read(
        tmp_path,
        {"name": "a", "analysis": "sobol", "base-samples": 64, "quantity": "symmetry", "tolerance": "1e-2"},
        {
            "name": "b",
            "analysis": "map",
            "axis": {"barrier_left": 4, "barrier_right": 5},
            "fix": ["vacancy_offset=0.3"],
        },
        {"name": "c", "analysis": "optimise", "target": {"symmetry": 0, "on_off_ratio": "1/0.5"}},
        {"name": "d", "analysis": "pareto", "objective": [{"symmetry": "min"}, "energy:min"], "reference": [1, 2.5]},
        {"name": "e", "analysis": "fit", "curve": "c.csv", "posterior": True},
    )
    assert found == (
        Sobol(name="a", base_samples=64, quantity=("symmetry",), tolerance=0.01),
        Map(name="b", axis=("barrier_left=4", "barrier_right=5"), fix=("vacancy_offset=0.3",)),
        Optimise(name="c", target=("symmetry=0", "on_off_ratio=1/0.5")),
        Pareto(name="d", objective=("symmetry:min", "energy:min"), reference="1,2.5"),
        Fit(name="e", curve="c.csv", posterior=True),
    )
    assert "name" not in found[0].asked()
    assert found[0].asked()["analysis"] == "sobol"
    assert set(ANALYSES) == {"sobol", "morris", "map", "optimise", "pareto", "fit"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"base_sample": 8},
            "analysis 'a': 'base_sample' is not a key of a sobol analysis; did you mean 'base_samples'",
        ),
        ({"analysis": "sobel"}, "analysis 'a': analysis = 'sobel' is not known"),
        ({"analysis": None}, "choose one of sobol, morris"),
        ({"name": None}, "name = None of analysis 1 cannot name a file"),
        ({"name": "../a"}, "cannot name a file"),
        ({"name": "_questions"}, "cannot name a file"),
        ({"name": 3}, "name = 3 of analysis 1"),
        ({"quantity": "symetry"}, "Did you mean 'symmetry'"),
        ({"quantity": "none.py:peak"}, "analysis 'a': none.py is no file"),
        ({"base_samples": "many"}, "base_samples: "),
        ({"base_samples": True}, "base_samples = True is a truth value"),
        ({"along_curve": True, "second_order": True}, "leave out --quantity"),
        ({"analysis": "map", "axis": ["barrier_left=4", "barrier_right"]}, "--axis barrier_right has no number"),
        ({"analysis": "map", "fix": "period"}, "--fix period does not end in =NUMBER"),
        ({"analysis": "optimise", "at_least": {"symmetry": 1}, "at_most": {"symmetry": 0}}, "is above high"),
        ({"analysis": "optimise", "target": {"symmetry": "low"}}, "--target symmetry=low does not end in =NUMBER"),
        ({"analysis": "pareto", "objective": "symmetry"}, "has no sense"),
        ({"analysis": "pareto", "quantile": 0.9}, "give their --spread"),
        ({"analysis": "pareto", "verify": -1}, "verify = -1"),
        ({"analysis": "pareto", "weights": ["a", 1]}, "--weights = a,1 is not a list of numbers"),
        ({"analysis": "fit"}, "the fit analysis has no 'curve'"),
        ({"analysis": "fit", "curve": "c.csv", "noise": -1}, "relative = -1"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, changes, message):
    with pytest.raises(InvalidValue) as error:
        read(tmp_path, {"name": "a", "analysis": "sobol"} | changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("analyses: []", "not a list of one or more"),
        ("analyses: 3", "not a list of one or more"),
        ("analyses: [sobol]", "analysis 1 = 'sobol' does not hold 'key: value' lines"),
        ("analysis: []", "did you mean 'analyses'"),
        ("- a", "does not hold 'key: value' lines; see memflux ask new"),
        ("analyses:\n- {name: a, analysis: sobol}\n- {name: A, analysis: map}", "name = 'a' is that of two analyses"),
    ],
)
def test_files_that_hold_no_questions(tmp_path, text, message):
    (tmp_path / "q.yaml").write_text(text)
    with pytest.raises(InvalidValue, match=message.replace("'", ".")):
        Questions.from_yaml(tmp_path / "q.yaml")
