"""The page of a run: complete, self-contained, and honest about what is missing."""

import re

import numpy as np
import pytest

from memflux.analysis.inverse import fit_curve
from memflux.analysis.pareto import pareto
from memflux.analysis.sensitivity import sobol
from memflux.contracts import CurveCost
from memflux.dataset import Dataset
from memflux.errors import DataError
from memflux.platform.report import build_report
from memflux.platform.run import RunFolder
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.loop import fit
from memflux.training.schedule import Schedule

SPACE = Space.preset("5d-parametric")
MODEL = StandIn(samples=16)


@pytest.fixture
def run(tmp_path):
    """A run with a data set only."""
    devices, drive = SPACE.sample(60, seed=0)
    folder = RunFolder.at(tmp_path)
    Dataset.write(folder.dataset, devices=devices, drive=drive, traces=MODEL(devices, drive), space=SPACE)
    return folder


def test_a_data_set_alone_makes_a_page_that_says_what_is_missing(run):
    page = build_report(run.root).read_text()
    assert page.count('class="missing"') == 5
    for command in ("memflux train", "memflux sobol", "memflux pareto", "memflux fit"):
        assert command in page
    assert "60</b><span>devices simulated" in page


def test_a_whole_run_makes_a_whole_page_that_needs_nothing_else(run):
    data = Dataset.open(run.dataset)
    surrogate = fit(data.devices, data.drive, data.traces, SPACE, schedule=Schedule(epochs=20), seed=0)
    surrogate.save(run.surrogate)
    sobol(MODEL, SPACE, base_samples=16, resamples=10).to_json(run.answer("sobol"))
    front = pareto(MODEL, SPACE, population=20, generations=3)
    front.to_json(run.answer("pareto"))
    target = data.traces.cycle().current[0]
    found = fit_curve(MODEL, SPACE, CurveCost(kind="curve", target=target), starts=4, iterations=3, polish=2)
    found.to_json(run.answer("fit"))
    run.write(
        run.checks,
        {
            "pareto": {"rows": [0], "objectives": front.objectives[:1].tolist()},
            "fit": {"current": target.tolist(), "nmae": 0.001, "truth": found.parameters},
        },
    )
    run.record("Sobol indices", 0.5, 112, "curves")
    page = build_report(run.root).read_text()
    assert 'class="missing"' not in page
    assert page.count("data:image/svg+xml;base64,") == 6
    assert "true value" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert data.content_hash in page


def test_text_from_files_is_escaped(run):
    data = Dataset.open(run.dataset)
    assert np.isfinite(data.traces.current).all()
    run.write(run.timings, [{"what": "<script>alert(1)</script>", "seconds": 1.0, "amount": 1, "unit": "x"}])
    page = build_report(run.root).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_run_without_data_is_refused(tmp_path):
    with pytest.raises(DataError):
        build_report(tmp_path)


def test_a_file_of_another_kind_is_named(run):
    run.write(run.answer("sobol"), {"kind": "fit"})
    with pytest.raises(DataError, match=r"sobol\.json holds no 'sobol' result"):
        build_report(run.root)
    run.answer("sobol").unlink()
    run.write(run.timings, [1])
    with pytest.raises(DataError, match=r"timings\.json does not hold the times of steps"):
        build_report(run.root)
