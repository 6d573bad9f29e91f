"""Gathering drops failed rows and refuses unusable sets; the split belongs to the device."""

import dataclasses

import numpy as np
import pytest

from memflux.device import Device, Devices
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.data import gather, split
from memflux.waveform import PiecewiseLinear, Sine, Triangle

SPACE = Space.preset("5d-parametric")


def example(count=30, samples=16):
    devices, drive = SPACE.sample(count, seed=0)
    return devices, drive, StandIn(samples=samples)(devices, drive)


def with_failed(traces, row):
    current, voltage = traces.current.copy(), traces.voltage.copy()
    current[row] = voltage[row] = np.nan
    status_class = traces.status_class.copy()
    status_class[row] = "diverged"
    return dataclasses.replace(traces, current=current, voltage=voltage, status_class=status_class)


def test_failed_rows_are_dropped_and_counted():
    devices, drive, traces = example()
    curves = gather(devices, drive, with_failed(traces, 4), SPACE)
    assert (len(curves), curves.dropped, curves.samples) == (29, 1, 16)
    assert 4 not in curves.rows
    np.testing.assert_array_equal(curves.current, traces.current[curves.rows])
    np.testing.assert_allclose(curves.unit, SPACE.coordinates(devices, drive)[curves.rows], atol=1e-12)


def test_equal_drives_of_a_batch_count_as_one():
    devices, drive, traces = example()
    batch = Triangle(amplitude=np.full(30, 10.0), period=np.full(30, 8.0), cycles=2)
    assert gather(devices, batch, traces, SPACE).drive.to_dict() == drive.to_dict()


def test_a_failed_set_is_refused():
    devices, drive, traces = example()
    with pytest.raises(InvalidValue, match="none of the 30 traces is ok"):
        gather(devices, drive, with_failed(traces, slice(None)), SPACE)


def test_bad_sets_are_refused_with_a_sentence():
    devices, drive, traces = example()
    nan = dataclasses.replace(traces, current=np.where(np.arange(30)[:, None] == 7, np.nan, traces.current))
    with pytest.raises(InvalidValue, match=r"not finite .* row 7"):
        gather(devices, drive, nan, SPACE)
    with pytest.raises(InvalidValue, match="30 devices and 29 traces"):
        gather(devices, drive, traces[:29], SPACE)
    with pytest.raises(InvalidValue, match="phase grid"):
        gather(devices, drive, dataclasses.replace(traces, time=traces.time * 1.01), SPACE)
    with pytest.raises(InvalidValue, match="over 2 cycles for a drive of 3"):
        gather(devices, dataclasses.replace(drive, cycles=3), traces, SPACE)
    with pytest.raises(InvalidValue, match="30 of 30 devices lie outside"):
        gather(devices.replace(length=2e-6), drive, traces, SPACE)


def test_a_varying_drive_must_be_in_the_space():
    devices, _ = SPACE.sample(30, seed=0)
    drive = Sine(amplitude=np.linspace(5.0, 10.0, 30), period=8.0)
    with pytest.raises(InvalidValue, match="amplitude of the drive varies from 5 to 10"):
        gather(devices, drive, StandIn(samples=16)(devices, drive), SPACE)


def test_split_is_a_partition_of_about_the_fractions():
    devices, drive = SPACE.sample(10_000, seed=0)
    parts = split(devices, drive)
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in parts), 1)
    for mask, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert mask.mean() == pytest.approx(share, abs=0.015)


def test_growing_and_reordering_move_no_device():
    devices, drive = SPACE.sample(500, seed=0)
    whole = split(devices, drive)
    part = split(devices[:100], drive)
    order = np.random.default_rng(0).permutation(500)
    shuffled = split(devices[order], drive)
    for a, b, c in zip(whole, part, shuffled, strict=True):
        np.testing.assert_array_equal(a[:100], b)
        np.testing.assert_array_equal(a[order], c)


def test_twins_stay_together():
    devices, drive = SPACE.sample(200, seed=0)
    for a, b in zip(split(devices, drive), split(devices.resolved(), drive), strict=True):
        np.testing.assert_array_equal(a, b)
    batch = Triangle(amplitude=np.full(200, drive.amplitude), period=np.full(200, drive.period))
    for a, b in zip(split(devices, drive), split(devices, batch), strict=True):
        np.testing.assert_array_equal(a, b)


def test_device_and_drive_both_decide():
    one = Devices.repeat(Device(), 400)
    assert split(one).train.all() or not split(one).train.any()
    drive = Triangle(amplitude=np.linspace(1.0, 10.0, 400), period=8.0)
    assert 0 < split(one, drive).train.sum() < 400
    knots = PiecewiseLinear(times=np.array([0.0, 1.0, 2.0]), voltages=np.array([0.0, 1.0, 0.0]))
    assert np.ptp(split(one, knots).train.astype(int)) == 0


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.4, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_bad_fractions_are_refused(fractions):
    with pytest.raises(InvalidValue, match="fractions"):
        split(Devices.of(Device()), fractions=fractions)


def test_no_test_part():
    devices, drive = SPACE.sample(100, seed=0)
    parts = split(devices, drive, fractions=(0.7, 0.3, 0.0))
    assert parts.test.sum() == 0
    assert parts.train.sum() + parts.validation.sum() == 100


def test_a_vacancy_density_decides_in_the_place_of_the_offset():
    devices, drive = SPACE.sample(400, seed=0)
    given = devices.replace(mean_vacancy_density=np.geomspace(1e22, 1e24, 400))
    assert not np.array_equal(split(given, drive).train, split(devices, drive).train)
    other = dataclasses.replace(given, vacancy_offset=np.full(400, 0.1))
    np.testing.assert_array_equal(split(given, drive).train, split(other, drive).train)
