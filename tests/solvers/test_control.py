import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.solvers.control import PhaseSteps, SolverControl


@pytest.mark.parametrize("name", ["accurate", "fast", "reference", "reference-S1", "reference-Ex107"])
def test_presets_know_whether_their_levels_are_their_own(name):
    control = SolverControl.preset(name)
    assert control.name == name
    assert control.adaptive == name.startswith("reference")
    assert (control.newton is None) == (control.growth is not None) == isinstance(control.steps, PhaseSteps)


def test_accurate_is_the_stricter_one():
    accurate, fast = SolverControl.preset("accurate"), SolverControl.preset("fast")
    assert accurate.first_spacing < fast.first_spacing
    assert accurate.growth < fast.growth
    assert accurate.largest_spacing < fast.largest_spacing
    assert accurate.steps.local_error < fast.steps.local_error


def test_refined_divides_every_spacing_and_nothing_else():
    control = SolverControl.preset("accurate")
    finer = control.refined(4.0)
    for name in ("first_spacing", "growth", "largest_spacing"):
        assert getattr(finer, name) == pytest.approx(getattr(control, name) / 4.0, rel=1e-15)
    assert finer.steps == control.steps
    assert SolverControl.preset("reference").refined(2.0).growth is None
    assert control.refined(1.0) == control
    assert np.isfinite(finer.newton_budget)


def test_an_unknown_preset_is_refused():
    with pytest.raises(InvalidValue, match="control = 'exact' is not known"):
        SolverControl.preset("exact")
