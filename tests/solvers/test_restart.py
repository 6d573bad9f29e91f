"""Drives that go on where the last one ended."""

import dataclasses

import numpy as np
import pytest

from memflux.circuit import Circuit
from memflux.device import Device, Devices
from memflux.errors import InvalidValue
from memflux.solvers import lanes as at
from memflux.solvers.solver import Solver, simulate
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
        ("belongs to another device", {"devices": DEVICE.replace(barrier_left=0.2)}),
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


def test_batches_keep_no_state():
    traces = Solver(control="fast", engine="compiled").traces(Devices.of([DEVICE, DEVICE]), CYCLE)
    assert [t.ok for t in traces] == [True, True]
    assert [t.state for t in traces] == [None, None]


def test_what_a_circuit_was_doing_does_not_follow_the_device(first):
    """The last update of the contact's voltage is scratch, however large."""
    numbers = first.state.numbers.copy()
    numbers[at.APPLIED_SHIFT] = 0.5
    spoilt = dataclasses.replace(first.state, numbers=numbers)
    clean, again = (simulate(DEVICE, CYCLE, control="fast", engine="compiled", state=s) for s in (first.state, spoilt))
    np.testing.assert_array_equal(again.current, clean.current)


def test_from_behind_a_circuit_at_its_compliance_to_a_plain_drive():
    end, top = 6.3439318775065745, 2.950438796521646
    limited = simulate(
        DEVICE,
        PiecewiseLinear(times=np.array([0.0, end / 2, end]), voltages=np.array([0.0, top, 0.154 * top])),
        control="fast",
        engine="compiled",
        samples=8,
        circuit=Circuit(series_resistance=1e4, compliance=2.138e-5),
    )
    back = PiecewiseLinear(times=np.array([0.0, 1.0]), voltages=np.array([limited.state.voltage, 0.0]))
    trace = simulate(DEVICE, back, control="fast", engine="compiled", samples=40, state=limited.state)
    assert trace.ok, trace.status
    assert trace.history.rescues == 0
    assert trace.voltage[0] == limited.state.voltage


@pytest.mark.parametrize("circuit", [Circuit(series_resistance=1.0), Circuit(series_resistance=1e4)])
def test_a_source_that_jumps_is_followed(circuit):
    """On at 40 V at once; then, from there, to -10 V at once."""
    on = PiecewiseLinear(times=np.array([0.0, 1.0]), voltages=np.array([40.0, 40.0]))
    trace = simulate(DEVICE, on, control="fast", engine="compiled", samples=20, circuit=circuit)
    assert trace.ok, trace.status
    other = PiecewiseLinear(times=np.array([0.0, 1.0]), voltages=np.array([-10.0, -10.0]))
    trace = simulate(DEVICE, other, control="fast", engine="compiled", samples=20, circuit=circuit, state=trace.state)
    assert trace.ok, trace.status
    np.testing.assert_allclose(circuit.series_resistance * trace.current[1:] + trace.voltage[1:], -10.0, atol=1e-9)


def test_a_state_that_does_not_fit_its_mesh_is_refused(first):
    for changed in (
        dataclasses.replace(first.state, numbers=first.state.numbers[:-1]),
        dataclasses.replace(first.state, levels=first.state.levels[:, 1:], fluxes=first.state.fluxes[:, 1:]),
    ):
        with pytest.raises(InvalidValue, match="state does not fit the mesh"):
            simulate(DEVICE, CYCLE, control="fast", engine="compiled", state=changed)


def test_a_content_that_cannot_be_had_is_a_status_or_another_device(first):
    other = DEVICE.replace(mean_vacancy_density=9e27, vacancy_charge=-4)
    with pytest.raises(InvalidValue, match="state belongs to another device"):
        simulate(other, CYCLE, control="fast", engine="compiled", state=first.state)
