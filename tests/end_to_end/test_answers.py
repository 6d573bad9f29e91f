"""From a served surrogate to answers: the third example."""

import importlib.util

import numpy as np
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def test_an_endpoint_answers_and_the_physics_confirms(repository, tmp_path, capsys):
    path = repository / "examples" / "03_endpoint_to_answers.py"
    spec = importlib.util.spec_from_file_location("endpoint_to_answers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(
        out=str(tmp_path / "run"), base_samples=256, population=24, generations=10, starts=24, checks=2, cores=2
    )
    most = [found.sobol.names[k] for k in found.sobol.total.argmax(axis=1)]
    assert dict(zip(found.sobol.quantities, most, strict=True))["on_off_ratio"] == "mobility_vacancy"
    assert np.abs(found.confirmed.predicted - found.confirmed.confirmed).max() < 0.15
    assert found.fit.nmae < 0.02
    assert found.fit.parameters["mobility_vacancy"] == pytest.approx(module.HIDDEN.mobility_vacancy, rel=0.3)
    assert found.picture.stat().st_size > 5000
    said = capsys.readouterr().out
    assert "on-off ratio R: vacancy mobility" in said
    assert "the FV model confirms" in said
