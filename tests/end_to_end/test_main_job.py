"""The main job, small: real physics on Ray, a surrogate, an endpoint, analyses, a report."""

import importlib.util
import json

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def job(repository):
    path = repository / "examples" / "01_device_to_report.py"
    spec = importlib.util.spec_from_file_location("device_to_report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = {"count": 48, "samples": 16, "epochs": 40, "base_samples": 64, "generations": 3, "starts": 8, "checks": 2}


def test_from_devices_to_a_report(job, tmp_path, capfd):
    page = job.main(out=str(tmp_path / "run"), cores=2, **SMALL).read_text()
    assert page.count("data:image/svg+xml") == 6
    assert 'class="missing"' not in page
    sobol = json.loads((tmp_path / "run" / "sobol.json").read_text())
    assert sobol["evaluations"] == 64 * 7
    checks = json.loads((tmp_path / "run" / "checks.json").read_text())
    assert len(checks["pareto"]["objectives"]) >= 1
    assert "simulating 48 devices" in capfd.readouterr().err


@pytest.mark.slow
def test_a_second_time_all_that_is_there_is_kept(job, tmp_path):
    job.main(out=str(tmp_path / "run"), cores=2, **SMALL)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}
    answers = {n: (tmp_path / "run" / f"{n}.json").stat().st_mtime_ns for n in ("sobol", "pareto", "fit")}
    job.main(out=str(tmp_path / "run"), cores=2, **SMALL)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.parquet")}
    assert answers == {n: (tmp_path / "run" / f"{n}.json").stat().st_mtime_ns for n in answers}
