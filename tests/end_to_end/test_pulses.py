"""Trains of pulses, one after the other: the second example."""

import importlib.util

import numpy as np


def test_resets_lower_the_read_current_and_sets_raise_it(repository, tmp_path):
    spec = importlib.util.spec_from_file_location("pulses", repository / "examples" / "02_pulses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reads = module.main(out=str(tmp_path / "run"), count=6, control="fast", engine="compiled")
    assert reads.shape == (12,)
    steps = np.diff(reads)
    assert (steps[:5] * np.sign(steps[0]) > 0).all()  # one direction within a train,
    assert (steps[6:] * np.sign(steps[6]) > 0).all()
    assert steps[0] * steps[6] < 0  # the other in the next
    np.testing.assert_allclose(np.loadtxt(tmp_path / "run" / "reads.csv", skiprows=1), reads)
    assert (tmp_path / "run" / "reads.png").stat().st_size > 5000
