"""A device behind a resistor, a compliance current, or a current source."""

import dataclasses

import numpy as np
import pytest

from memflux.circuit import Circuit
from memflux.device import Device, Devices
from memflux.errors import InvalidValue
from memflux.solvers import batch, march
from memflux.solvers.control import SolverControl
from memflux.solvers.lanes import allocate
from memflux.solvers.solver import Solver, simulate
from memflux.solvers.system import build_system
from memflux.waveform import PiecewiseLinear, PulseTrain, Sine, Triangle

DEVICE = Device.preset("S2")
DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=1)


@pytest.fixture(scope="module")
def plain():
    """The device without a circuit."""
    return simulate(DEVICE, DRIVE, control="fast", engine="compiled")


def peak(trace):
    """The largest |I| [A]."""
    return np.abs(trace.current).max()


@pytest.mark.parametrize("share", [1e-3, 0.3, 1.0, 30.0])
def test_resistor_and_device_share_the_voltage_of_the_source_at_every_level(plain, share):
    resistance = share * 10.0 / peak(plain)
    trace = simulate(DEVICE, DRIVE, control="fast", engine="compiled", circuit=Circuit(series_resistance=resistance))
    assert trace.ok
    np.testing.assert_allclose(resistance * trace.current + trace.voltage, DRIVE.voltage(trace.time), atol=1e-9)
    assert peak(trace) < peak(plain)


def test_a_vanishing_resistor_changes_nothing(plain):
    trace = simulate(DEVICE, DRIVE, control="fast", engine="compiled", circuit=Circuit(series_resistance=1e-6))
    np.testing.assert_allclose(trace.current, plain.current, atol=1e-6 * peak(plain))


def test_a_huge_resistor_is_a_current_source():
    top = 1e-7
    forced = simulate(
        DEVICE,
        PiecewiseLinear(times=np.array([0.0, 2.0, 6.0, 8.0]), voltages=np.array([0.0, top, -top, 0.0])),
        control="fast",
        engine="compiled",
        circuit=Circuit(source="current"),
    )
    resistance = 1e4 / top
    behind = simulate(
        DEVICE,
        Triangle(amplitude=1e4, period=8.0, cycles=1),
        control="fast",
        engine="compiled",
        circuit=Circuit(series_resistance=resistance),
    )
    np.testing.assert_allclose(behind.current, forced.current, atol=2e-3 * top)
    np.testing.assert_allclose(behind.voltage, forced.voltage, atol=2e-2 * np.abs(forced.voltage).max())


def test_a_current_source_forces_the_total_current():
    drive = Sine(amplitude=5e-5, period=4.0, cycles=1)
    trace = simulate(DEVICE, drive, control="fast", engine="compiled", circuit=Circuit(source="current"))
    assert trace.ok
    np.testing.assert_allclose(trace.current, drive.voltage(trace.time), atol=1e-9 * drive.amplitude)
    assert np.ptp(trace.voltage) > 0.1


def test_the_voltage_found_under_a_current_gives_that_current_back():
    """Two drives of one device: its voltage under a current source, applied, drives the same current."""
    drive = Sine(amplitude=5e-5, period=4.0, cycles=1)
    levels = np.linspace(0.0, 4.0, 161)
    forced = simulate(
        DEVICE, drive, control="fast", engine="compiled", levels=levels, circuit=Circuit(source="current")
    )
    applied = PiecewiseLinear(times=levels, voltages=forced.voltage)
    again = simulate(DEVICE, applied, control="fast", engine="compiled", levels=levels)
    np.testing.assert_allclose(again.current, forced.current, atol=1e-6 * drive.amplitude)


@pytest.mark.parametrize("resistance", [0.0, 1e4])
def test_compliance_limits_the_current_and_leaves_the_rest_alone(plain, resistance):
    limit = 0.4 * peak(plain)
    circuit = Circuit(compliance=limit, series_resistance=resistance)
    trace = simulate(DEVICE, DRIVE, control="fast", engine="compiled", circuit=circuit)
    assert trace.ok
    source = DRIVE.voltage(trace.time)
    held = np.abs(trace.current) > limit * (1 - 1e-9)
    assert 5 < held.sum() < len(trace) // 2
    assert np.abs(trace.current).max() <= limit * (1 + 1e-9)
    np.testing.assert_allclose(trace.voltage[~held], (source - resistance * trace.current)[~held], atol=1e-9)
    assert (np.abs(trace.voltage[held]) <= np.abs(source[held]) + 1e-9).all()
    before = np.flatnonzero(held)[0]
    if resistance == 0.0:
        np.testing.assert_allclose(trace.current[:before], plain.current[:before], atol=1e-6 * limit)


def test_a_compliance_that_is_never_met_changes_nothing(plain):
    trace = simulate(DEVICE, DRIVE, control="fast", engine="compiled", circuit=Circuit(compliance=1.0))
    np.testing.assert_allclose(trace.current, plain.current, atol=1e-6 * peak(plain))
    np.testing.assert_allclose(trace.voltage, plain.voltage, atol=1e-12)


def test_both_engines_agree_in_a_circuit():
    pytest.importorskip("petsc4py", exc_type=ImportError)
    circuit = Circuit(series_resistance=1e4, compliance=3e-5)
    here, there = (simulate(DEVICE, DRIVE, control="fast", engine=e, circuit=circuit) for e in ("compiled", "petsc"))
    np.testing.assert_allclose(there.current, here.current, atol=1e-8 * peak(here))
    np.testing.assert_allclose(there.voltage, here.voltage, atol=1e-8 * 10.0)


def test_pulses_behind_a_resistor():
    pulses = PulseTrain(amplitude=-8.0, width=1e-3, ramp=1e-4, rest=1e-3, read_voltage=0.5, cycles=2)
    trace = simulate(
        DEVICE, pulses, control="fast", engine="compiled", samples=20, circuit=Circuit(series_resistance=1e6)
    )
    assert trace.ok
    np.testing.assert_allclose(1e6 * trace.current + trace.voltage, pulses.voltage(trace.time), atol=1e-9)


def test_a_solver_with_a_circuit_is_a_predictor_of_batches():
    devices = Devices.of([DEVICE, DEVICE.replace(barrier_left=0.15)])
    solver = Solver(control="fast", engine="compiled", circuit=Circuit(series_resistance=1e5))
    traces = solver(devices, DRIVE)
    assert traces.ok.all()
    np.testing.assert_allclose(1e5 * traces.current + traces.voltage, np.tile(DRIVE.grid(160)[1], (2, 1)), atol=1e-9)


def test_published_controls_know_no_circuit():
    with pytest.raises(InvalidValue, match="control = 'reference' knows no circuit"):
        Solver(control="reference", circuit=Circuit(compliance=1e-6))


def test_a_current_source_gives_way_at_its_compliance_voltage(plain):
    """More than the device carries below 8 V; within reach, the current is the drive's."""
    top = 3.0 * peak(plain)
    drive = PiecewiseLinear(times=np.array([0.0, 2.0, 6.0, 8.0]), voltages=np.array([0.0, top, -top, 0.0]))
    circuit = Circuit(source="current", compliance=8.0)
    trace = simulate(DEVICE, drive, control="fast", engine="compiled", circuit=circuit)
    assert trace.ok, trace.status
    held = np.abs(trace.voltage) > 8.0 - 1e-9
    assert 10 < held.sum() < len(trace) - 10
    assert np.abs(trace.voltage).max() <= 8.0 + 1e-9
    assert {-1.0, 1.0} == set(np.sign(trace.voltage[held]))
    np.testing.assert_allclose(trace.current[~held], drive.voltage(trace.time)[~held], atol=1e-9 * top)


def test_a_failure_before_the_first_chosen_time_is_a_status(monkeypatch):
    monkeypatch.setattr(batch, "SLICE", 20)
    control = dataclasses.replace(SolverControl.preset("fast"), seconds_budget=0.0)
    job = batch.Job(
        device=DEVICE, drive=DRIVE, recorded=np.array([7.0]), hidden=DRIVE.grid(160)[0],
        circuit=Circuit(series_resistance=1e4),
    )  # fmt: skip
    trace = batch.solve_device(job, control, march.proceed, allocate(build_system(DEVICE, control).x.size, 1))
    assert trace.status_class == "out_of_budget"
    assert "was spent after t = " in trace.status
    assert np.isnan(trace.current).all()
    assert np.isnan(trace.voltage).all()


def test_an_unreachable_content_behind_a_circuit_has_no_voltage():
    device = DEVICE.replace(mean_vacancy_density=9e27, vacancy_charge=-4)
    trace = simulate(device, DRIVE, control="fast", engine="compiled", circuit=Circuit(source="current"))
    assert trace.status_class == "no_equilibrium"
    assert np.isnan(trace.voltage).all()
