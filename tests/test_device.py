import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memflux.device import FIELDS, QUANTITIES, Device, Devices
from memflux.errors import InvalidValue
from memflux.space import Space

PRESETS = ("seed", "S1", "S2", "Ex107", "fit-a", "fit-b")


def test_unknown_preset_is_refused_with_a_suggestion():
    with pytest.raises(InvalidValue, match="preset = 's2' is not known; choose one of seed, S1, S2"):
        Device.preset("s2")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_round_trip(name):
    device = Device.preset(name)
    assert Device.from_dict(device.to_dict()) == device
    assert Devices.of(device)[0] == device


def test_published_numbers_of_the_presets():
    s2, ex107, fit = (Device.preset(n) for n in ("S2", "Ex107", "fit-b"))
    assert (s2.mobility_electron, s2.mobility_vacancy, s2.barrier_left, s2.barrier_right) == (
        2.15e-3,
        1.15e-13,
        0.144,
        0.110,
    )
    assert s2.area == pytest.approx(1.5e-13)
    assert not Device.preset("S1").barrier_lowering
    assert (ex107.vacancy_charge, ex107.relative_permittivity, ex107.vacancy_offset) == (2, 9.0, 0.38)
    assert ex107.area == pytest.approx(2.1e-11)
    assert (fit.donor_density, fit.mobility_vacancy) == (1e21, 1.0462e-13)


def test_a_following_field_follows_until_it_is_set():
    device = Device(relative_permittivity=7.0)
    assert device.resolved().image_force_permittivity == 7.0
    assert device.replace(relative_permittivity=8.0).resolved().image_force_permittivity == 8.0
    assert device.replace(mobility_hole=1e-4).resolved().mobility_hole == 1e-4


def test_key_is_the_content_of_the_device():
    assert Device().key() == Device(mobility_hole=Device().mobility_electron).key()
    assert Device().key() != Device(length=1.0000001e-6).key()
    assert Device().key() != Device(contact_density="lowered").key()


def test_devices_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Device().length = 2e-6  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        Devices.of(Device()).length[0] = 2e-6


def test_batches_slice_and_index():
    devices, _ = Space.preset("9d").sample(10, seed=0)
    assert len(devices) == 10
    assert isinstance(devices[3], Device)
    assert len(devices[2:5]) == 3
    assert devices[2:5][1] == devices[3]
    assert devices[np.array([7, 1])][0] == devices[7]
    assert [d.length for d in devices] == devices.length.tolist()


def test_a_batch_keeps_what_follows():
    devices = Devices.of([Device(), Device(mobility_hole=1e-5)])
    assert np.isnan(devices.mobility_hole[0])
    assert devices[0].mobility_hole is None
    np.testing.assert_array_equal(devices.resolved().mobility_hole, [1.3e-3, 1e-5])


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("length", [1e-6, -1.0, 1e-6], r"length\[1\] = -1 m is out of range"),
        ("barrier_left", [0.1, 0.1, np.nan], r"barrier_left\[2\] = nan eV is not finite"),
        ("length", [1e-6, 1e-6], "does not fit 3 devices; give one value or 3"),
        ("vacancy_charge", 0, "vacancy_charge = 0 is out of range"),
        ("contact_density", "free", "contact_density = 'free' is not known"),
    ],
)
def test_bad_columns_are_refused(column, value, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        Devices.of([Device()] * 3).replace(**{column: value})


def test_an_empty_batch_is_refused():
    with pytest.raises(InvalidValue, match="devices has no entries"):
        Devices.of([])


def test_a_large_batch_is_arrays_not_objects():
    devices = Devices.repeat(Device(), 175_000, barrier_left=np.linspace(0.05, 0.17, 175_000))
    assert len(devices) == 175_000
    assert all(isinstance(column, np.ndarray) for column in devices.columns().values())


@given(st.sampled_from(sorted(set(QUANTITIES) - {"vacancy_charge"})), st.floats(allow_nan=True, allow_infinity=True))
def test_whatever_is_accepted_lies_in_its_range(name, value):
    quantity = QUANTITIES[name]
    if quantity.low <= value <= quantity.high:
        assert getattr(Device(**{name: value}), name) == value
    else:
        with pytest.raises(InvalidValue, match=f"^{name} = "):
            Device(**{name: value})


def test_every_real_field_has_a_unit_and_a_range():
    assert set(FIELDS) - set(QUANTITIES) == {"barrier_lowering", "contact_density"}


def test_a_batch_shares_no_memory_with_its_caller():
    holes = np.full(2, 1e-4)
    flags = np.array([True, False])
    devices = Devices.repeat(Device(), 2, mobility_hole=holes, barrier_lowering=flags)
    holes[:], flags[:] = -5.0, True
    np.testing.assert_array_equal(devices.mobility_hole, 1e-4)
    np.testing.assert_array_equal(devices.barrier_lowering, [True, False])
    for name in FIELDS:
        assert not getattr(devices, name).flags.writeable


def test_a_word_is_no_truth_value():
    with pytest.raises(InvalidValue, match=r"barrier_lowering = .*no.* is not a truth value; give True or False"):
        Devices.of(Device()).replace(barrier_lowering="no")
