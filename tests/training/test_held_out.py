"""True curves kept with a surrogate, and what follows from them."""

import dataclasses

import numpy as np
import pytest

from memflux.analysis.held_out import half_widths, quantity_errors
from memflux.errors import DataError
from memflux.metrics import symmetry
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.held_out import KEPT, HeldOut
from memflux.training.surrogate import Surrogate
from memflux.waveform import Triangle

SPACE = Space.preset("5d-parametric")


@pytest.fixture(scope="module")
def solved():
    devices, drive = SPACE.sample(160, seed=41)
    return devices, drive, StandIn(samples=16)(devices, drive)


@pytest.fixture(scope="module")
def calibrated(spectral, solved):
    return spectral.calibrated(*solved)


def test_the_curves_of_the_calibration_come_back(calibrated, solved):
    devices, drive, traces = calibrated.held_out()
    np.testing.assert_allclose(devices.barrier_left, solved[0].barrier_left, rtol=1e-12)
    np.testing.assert_allclose(traces.current, solved[2].current, rtol=1e-6)
    np.testing.assert_array_equal(traces.voltage, solved[2].voltage)
    assert drive.cycles == 2


def test_a_drive_that_varies_comes_back():
    space = Space.preset("9d")
    devices, drive = space.sample(KEPT + 5, seed=3)
    traces = StandIn(samples=8)(devices, drive)
    failed = traces.status_class.copy()
    failed[0] = "diverged"
    kept = HeldOut.of(space, devices, drive, dataclasses.replace(traces, status_class=failed))
    there, wave, truth = kept.answered(space, Triangle(amplitude=1.0, period=1.0, cycles=2), samples=8)
    assert len(there) == KEPT
    found = {round(float(peak) * 1e20): k for k, peak in enumerate(np.float32(traces.current).max(axis=1))}
    rows = [found[round(float(peak) * 1e20)] for peak in np.float32(truth.current).max(axis=1)]
    assert 0 not in rows
    assert len(set(rows)) == KEPT
    np.testing.assert_allclose(wave.period, drive.period[rows], rtol=1e-12)
    np.testing.assert_allclose(truth.voltage, traces.voltage[rows], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(truth.current, traces.current[rows], rtol=1e-6)


def test_errors_of_quantities(calibrated, spectral, solved):
    devices, drive, traces = solved
    errors = quantity_errors(calibrated, ["symmetry", lambda t: t.current.max(axis=1)])
    assert errors.shape == (160, 2)
    wanted = symmetry(spectral(devices, drive)) - symmetry(traces)
    np.testing.assert_allclose(errors[:, 0], wanted, atol=1e-6)
    assert quantity_errors(spectral, ["symmetry"]) is None
    assert quantity_errors(StandIn(), ["symmetry"]) is None


def test_half_widths_cover_fresh_errors():
    generator = np.random.default_rng(0)
    errors = generator.standard_normal((2000, 2)) * [1.0, 5.0]
    errors[:100, 0] = np.nan
    half = half_widths(errors, 0.9)
    fresh = np.abs(generator.standard_normal((20_000, 2)) * [1.0, 5.0])
    np.testing.assert_allclose((fresh <= half).mean(axis=0), 0.9, atol=0.03)
    assert np.isinf(half_widths(errors[:5], 0.9)).all()


def test_they_travel_with_the_folder(calibrated, tmp_path):
    calibrated.save(tmp_path / "s")
    again = Surrogate.load(tmp_path / "s")
    np.testing.assert_array_equal(again.truths.current, calibrated.truths.current)
    np.testing.assert_array_equal(again.truths.values, calibrated.truths.values)


@pytest.mark.parametrize("damage", [b"", b"garbage", "short", "other", "nan"])
def test_a_damaged_file_is_refused(calibrated, tmp_path, damage):
    calibrated.save(tmp_path / "s")
    truths = calibrated.truths
    if damage == "short":
        damage = dataclasses.replace(truths, current=truths.current[:, :5]).to_bytes()
    elif damage == "other":
        damage = dataclasses.replace(truths, values=truths.values[:, :2]).to_bytes()
    elif damage == "nan":
        damage = dataclasses.replace(truths, current=np.full_like(truths.current, np.nan)).to_bytes()
    (tmp_path / "s" / "held_out.safetensors").write_bytes(damage)
    with pytest.raises(DataError, match=r"held_out.safetensors .*calibrate again"):
        Surrogate.load(tmp_path / "s")
