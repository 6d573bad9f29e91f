"""Drives that go on where the last one ended."""

import dataclasses

import numpy as np
import pytest

from memflux.circuit import Circuit
from memflux.device import Device, Devices
from memflux.errors import InvalidValue
from memflux.solvers.solver import simulate
from memflux.state import State
from memflux.waveform import PiecewiseLinear, PulseTrain, Triangle

DEVICE = Device.preset("S2")
CYCLE = Triangle(amplitude=10.0, period=8.0, cycles=1)


@pytest.fixture(scope="module")
def first():
    """One cycle from rest."""
    return simulate(DEVICE, CYCLE, control="fast", engine="compiled")


@pytest.mark.parametrize(("engine", "control"), [("compiled", "fast"), ("compiled", "accurate"), ("petsc", "fast")])
def test_a_drive_that_is_cut_in_two_gives_the_numbers_of_the_whole(tmp_path, control, engine):
    if engine == "petsc":
        pytest.importorskip("petsc4py", exc_type=ImportError)
    whole = simulate(DEVICE, Triangle(amplitude=10.0, period=8.0, cycles=2), control=control, engine=engine)
    begun = simulate(DEVICE, CYCLE, control=control, engine=engine)
    begun.state.save(tmp_path / "s.npz")
    ended = simulate(DEVICE, CYCLE, control=control, engine=engine, state=State.load(tmp_path / "s.npz"))
    current = np.concatenate([begun.current, ended.current[1:]])
    np.testing.assert_allclose(current, whole.current, atol=1e-9 * np.abs(whole.current).max())
    assert ended.current[0] == begun.current[-1]
    assert ended.conduction[0] == begun.conduction[-1]


def test_the_state_is_that_of_the_end_whatever_is_returned(first):
    part = simulate(DEVICE, CYCLE, control="fast", engine="compiled", at=[2.0])
    for name in ("voltage", "current", "conduction"):
        assert getattr(part.state, name) == getattr(first.state, name)
    np.testing.assert_array_equal(part.state.levels, first.state.levels)


def test_engines_go_on_from_the_states_of_each_other(first):
    pytest.importorskip("petsc4py", exc_type=ImportError)
    here, there = (simulate(DEVICE, CYCLE, control="fast", engine=e, state=first.state) for e in ("compiled", "petsc"))
    np.testing.assert_allclose(there.current, here.current, atol=1e-8 * np.abs(here.current).max())


def test_vacancies_are_kept_over_a_protocol_of_resets_sets_and_a_sweep():
    """Pulse trains of both signs and a sweep behind a resistor, one after the other."""
    reset = PulseTrain(amplitude=-6.0, width=1e-3, ramp=1e-4, rest=1e-2, read_voltage=0.5, cycles=3)
    sets = dataclasses.replace(reset, amplitude=6.0)
    state, contents, reads = None, [], []
    for drive in (reset, sets, reset, CYCLE):
        circuit = Circuit(series_resistance=1e4) if drive is CYCLE else None
        trace = simulate(
            DEVICE, drive, control="fast", engine="compiled", samples=16, profiles=[0.0], state=state, circuit=circuit
        )
        assert trace.ok, trace.status
        state = trace.state
        contents.append(np.trapezoid(trace.profiles.vacancy[0], trace.profiles.x))
        reads.append(np.abs(trace.current).max())
    np.testing.assert_allclose(contents, contents[0], rtol=1e-10)
    assert reads[0] != reads[2]  # the second train of resets meets another device


def test_the_inside_at_the_start_is_that_of_the_state():
    """A sweep that is left at full voltage, where current flows."""
    rise = PiecewiseLinear(times=np.array([0.0, 2.0]), voltages=np.array([0.0, 10.0]))
    hold = PiecewiseLinear(times=np.array([0.0, 1.0]), voltages=np.array([10.0, 10.0]))
    begun = simulate(DEVICE, rise, control="fast", engine="compiled", profiles=[2.0])
    again = simulate(DEVICE, hold, control="fast", engine="compiled", profiles=[0.0], state=begun.state)
    there, here = begun.profiles, again.profiles
    np.testing.assert_array_equal(here.vacancy[0], begun.state.levels[0, :, 2])
    np.testing.assert_allclose(here.vacancy[0], there.vacancy[0], rtol=1e-2)
    np.testing.assert_allclose(here.j_total[0], begun.current[-1] / DEVICE.area, rtol=1e-9)
    np.testing.assert_allclose(here.j_n[0], there.j_n[0], rtol=1e-2)
    assert np.abs(here.j_displacement[0]).max() < 1e-6 * np.abs(here.j_n[0]).max()


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("belongs to one device, and another", {"devices": DEVICE.replace(barrier_left=0.2)}),
        ("control = 'fast', not 'accurate'", {"control": "accurate"}),
        ("cannot go on from a state", {"control": "reference"}),
        ("starts at 3 V", {"drive": PiecewiseLinear(times=np.array([0.0, 1.0]), voltages=np.array([3.0, 0.0]))}),
        ("pass a Device instead of Devices", {"devices": Devices.of(DEVICE)}),
    ],
)
def test_what_cannot_go_on_is_refused(first, words, arguments):
    given = {"devices": DEVICE, "drive": CYCLE, "control": "fast", "engine": "compiled"} | arguments
    with pytest.raises(InvalidValue, match=words):
        simulate(**given, state=first.state)


def test_a_state_of_another_version_is_refused(first):
    old = dataclasses.replace(first.state, solver_version="1")
    with pytest.raises(InvalidValue, match="solver_version = '1'"):
        simulate(DEVICE, CYCLE, control="fast", engine="compiled", state=old)


def test_only_single_devices_keep_their_state(first):
    assert first.state is not None
    failed = simulate(DEVICE.replace(barrier_left=15.0), CYCLE, control="fast", engine="compiled")
    assert failed.ok or failed.state is None
