import numpy as np
import pytest

from memflux.contracts import CurveCost, Differentiable
from memflux.device import Device, Devices
from memflux.errors import InvalidValue
from memflux.solvers.solver import Solver, corner_times, simulate
from memflux.space import Space
from memflux.waveform import PulseTrain, Triangle

DRIVE = Triangle(amplitude=5.0, period=4.0, cycles=2)
COARSE = Solver(control="fast", engine="compiled", samples=16)


def test_a_batch_lies_on_the_common_grid_of_phase():
    devices, drive = Space.preset("9d").sample(3, seed=4)
    traces = COARSE(devices, drive)
    assert traces.ok.all()
    assert traces.current.shape == (3, 33)
    np.testing.assert_allclose(traces.time[:, -1], 2 * drive.period)
    np.testing.assert_allclose(traces.voltage[:, 4], drive.amplitude)


def test_rows_do_not_depend_on_their_neighbours():
    devices, drive = Space.preset("5d-parametric").sample(3, seed=4)
    together = COARSE(devices, drive).current
    alone = np.stack([COARSE(devices[i : i + 1], drive).current[0] for i in (2, 0, 1)])
    np.testing.assert_array_equal(together[[2, 0, 1]], alone)


def test_petsc_and_compiled_engines_agree():
    pytest.importorskip("petsc4py", exc_type=ImportError)
    devices, drive = Space.preset("9d").sample(2, seed=1)
    a, b = (Solver(engine=e, samples=40)(devices, drive).current for e in ("petsc", "compiled"))
    assert (np.abs(a - b).max(axis=1) < 1e-8 * np.abs(b).max(axis=1)).all()


def test_engine_auto_names_what_it_uses():
    assert Solver().engine in ("petsc", "compiled")


def test_reference_controls_return_native_levels():
    one = simulate(Device.preset("S2"), DRIVE, control="reference", engine="compiled", levels=np.linspace(0, 0.1, 6))
    assert one.time.size == 6
    several = simulate(Devices.of([Device(), Device()]), DRIVE, levels=np.linspace(0, 0.1, 6), engine="compiled")
    assert isinstance(several, list)
    assert [t.time.size for t in several] == [6, 6]
    with pytest.raises(InvalidValue, match="control = 'reference' has time levels of its own"):
        Solver(control="reference", engine="compiled")(Devices.of(Device()), DRIVE)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"control": "acurate"}, "control = 'acurate' is not known.*Did you mean 'accurate'"),
        ({"engine": "gpu"}, "engine = 'gpu' is not known; choose one of auto, petsc, compiled, cuda"),
        ({"samples": 3}, "samples = 3 is out of range; give a whole number from 8"),
        ({"levels": [0.0, 2.0, 1.0]}, "levels starts at 0 s and must start at 0 and increase"),
        ({"levels": [0.0, 99.0]}, r"levels\[1\] = 99 s is out of range"),
        ({"levels": [0.0, 1.0], "profiles": [2.0]}, "profiles go to 2 s and levels end at 1 s; give more levels"),
        ({"profiles": [-1.0]}, r"profiles\[0\] = -1 s is out of range"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        simulate(Device(), DRIVE, **options)


def test_profiles_of_a_batch_are_refused():
    with pytest.raises(InvalidValue, match="profiles are kept for one device only"):
        simulate(Devices.of([Device(), Device()]), DRIVE, profiles=[0.0])


def test_the_solver_is_differentiable_and_its_gradient_points_uphill():
    solver = Solver(control="fast", engine="compiled", samples=16, parameters=("barrier_left", "mobility_electron"))
    assert isinstance(solver, Differentiable)
    truth = Device.preset("fit-b")
    target = solver(Devices.of(truth), DRIVE).cycle().current[0]
    cost = CurveCost(kind="curve", target=target)
    away = Devices.of(truth.replace(barrier_left=0.13))
    value, gradient = solver.value_and_gradient(away, DRIVE, cost)
    closer, _ = solver.value_and_gradient(Devices.of(truth.replace(barrier_left=0.125)), DRIVE, cost)
    assert gradient.shape == (1, 2)
    assert gradient[0, 0] > 0
    assert closer[0] < value[0]


def test_corners_that_miss_the_grid_are_visited():
    assert corner_times(Triangle(amplitude=1.0, period=8.0, cycles=2), 160).size == 0
    np.testing.assert_allclose(corner_times(Triangle(amplitude=1.0, period=8.0, cycles=2), 10), [2.0, 6.0, 10.0, 14.0])
    pulses = PulseTrain(amplitude=-2.0, width=2e-3, ramp=1.5e-3, rest=2e-3, cycles=2)
    hidden = corner_times(pulses, 40)
    assert hidden.size == 14
    trace = simulate(Device.preset("S1"), pulses, engine="compiled", control="fast", samples=40)
    assert trace.ok
    assert trace.time.size == 81


def test_no_devices_is_a_mistake():
    with pytest.raises(InvalidValue, match="devices has no entries; give at least one device"):
        COARSE(Devices.repeat(Device(), 0), DRIVE)


def test_chosen_times_are_returned_and_change_no_number():
    device, drive = Device.preset("S2"), Triangle(amplitude=10.0, period=8.0, cycles=1)
    whole = simulate(device, drive, control="fast", engine="compiled")
    part = simulate(device, drive, control="fast", engine="compiled", at=whole.time[[3, 50, 160]])
    np.testing.assert_array_equal(part.current, whole.current[[3, 50, 160]])
    rows = simulate(Devices.of([device, device]), drive, control="fast", engine="compiled", at=[2.0])
    assert [len(t) for t in rows] == [1, 1]
    assert rows[0].current[0] == whole.current[40]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"at": [2.0, 1.0]}, "at has 2 entries"),
        ({"at": []}, "at has 0 entries"),
        ({"at": [9.0]}, r"at\[0\] = 9 s is out of range"),
        ({"at": [1.0], "levels": [0.0, 1.0]}, "leave it out with levels"),
        ({"at": [1.0], "control": "reference"}, "control = 'reference'"),
    ],
)
def test_times_that_cannot_be_returned_are_refused(arguments, words):
    with pytest.raises(InvalidValue, match=words):
        simulate(Device.preset("S2"), Triangle(amplitude=10.0, period=8.0, cycles=1), **arguments)
