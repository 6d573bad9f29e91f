"""The engine is one word in the file: whichever it is, the rows agree."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memflux.dataset import Dataset
from memflux.platform.campaigns.campaign import Campaign

MEMFLUX = Path(sys.executable).with_name("memflux")
ENGINES = ("petsc", "compiled", "cuda")


@pytest.mark.timeout(240)
def test_engines_make_the_same_rows(tmp_path):
    pytest.importorskip("petsc4py")
    made = {}
    for engine in ENGINES:
        campaign = Campaign(space="5d-parametric", count=2, samples=8, engine=engine)
        file = tmp_path / f"{engine}.yaml"
        file.write_text(campaign.to_yaml())
        words = [MEMFLUX, "campaign", "run", file, "--out", tmp_path / engine, "--executor", "serial"]
        variables = os.environ | ({"NUMBA_ENABLE_CUDASIM": "1"} if engine == "cuda" else {})
        told = subprocess.run(words, env=variables, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        made[engine] = Dataset.open(tmp_path / engine)
    peak = np.abs(made["petsc"].traces.current).max(axis=1, keepdims=True)
    for engine in ENGINES:
        assert made[engine].traces.ok.all()
        assert set(made[engine].biography["engine"]) == {engine}
        apart = np.abs(made[engine].traces.current - made["petsc"].traces.current) / peak
        assert apart.max() < 1e-8
    assert len({key for engine in ENGINES for key in made[engine].rows.key}) == 6
