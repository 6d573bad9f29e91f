"""Coverage for drives that a space does not describe."""

import numpy as np

from memflux.device import Device
from memflux.space import Parameter, Space
from memflux.training.coverage import INSIDE, coverage
from memflux.waveform import PiecewiseLinear, Sine

SPACE = Space.preset("5d-parametric")


def test_another_family_must_be_the_trained_drive_itself():
    devices, _ = SPACE.sample(4, seed=0)
    trained = Sine(amplitude=5.0, period=2.0)
    inside, reasons = coverage(SPACE, trained, 160, devices, trained)
    assert inside.all()
    assert set(reasons) == {INSIDE}
    asked = Sine(amplitude=np.array([5.0, 5.0, 6.0, 5.0]), period=2.0)
    inside, reasons = coverage(SPACE, trained, 160, devices, asked)
    assert inside.tolist() == [True, True, False, True]
    assert reasons[2] == "outside the training space: the drive differs from that of training"


def test_knots_are_compared():
    devices, _ = SPACE.sample(2, seed=0)
    trained = PiecewiseLinear(times=np.array([0.0, 1.0, 2.0]), voltages=np.array([0.0, 1.0, 0.0]), cycles=2)
    more = PiecewiseLinear(times=np.array([0.0, 1.0, 1.5, 2.0]), voltages=np.array([0.0, 1.0, 0.2, 0.0]), cycles=2)
    assert coverage(SPACE, trained, 160, devices, trained)[0].all()
    assert not coverage(SPACE, trained, 160, devices, more)[0].any()


def test_the_first_parameter_outside_is_named():
    devices, drive = SPACE.sample(3, seed=0)
    far = devices.replace(vacancy_offset=0.5, barrier_right=0.3)
    _, reasons = coverage(SPACE, drive, 160, far, drive)
    assert set(reasons) == {"outside the training space: vacancy_offset = 0.5 eV is beyond 0.28 to 0.32 eV"}


def test_a_vacancy_density_that_was_not_trained_is_named():
    devices, drive = SPACE.sample(2, seed=0)
    inside, reasons = coverage(SPACE, drive, 160, devices.replace(mean_vacancy_density=[np.nan, 5e23]), drive)
    assert inside.tolist() == [True, False]
    assert reasons[1] == "outside the training space: mean_vacancy_density = 5e+23 m^-3 differs from none"


def test_a_vacancy_density_that_was_trained_has_to_be_given():
    density = Parameter(name="mean_vacancy_density", low=1e22, high=1e24, log=True)
    space = Space(name="content", parameters=(density,), device=Device.preset("S2"))
    devices, drive = space.sample(3, seed=0)
    assert coverage(space, drive, 160, devices, drive)[0].all()
    _, reasons = coverage(space, drive, 160, devices.replace(mean_vacancy_density=None), drive)
    assert reasons[0] == "outside the training space: mean_vacancy_density = none is beyond 1e+22 to 1e+24 m^-3"
