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


def test_rows_are_of_one_dimension():
    devices = Devices.of([Device(), Device()])
    with pytest.raises(InvalidValue, match="the rows have 2 dimensions"):
        devices[np.zeros((2, 2), dtype=int)]


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


ALONE = sorted(set(QUANTITIES) - {"vacancy_charge", "mean_vacancy_density"})  # whatever the other fields are


@given(st.sampled_from(ALONE), st.floats(allow_nan=True, allow_infinity=True))
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


def test_a_density_takes_the_place_of_the_offset():
    given = Device.preset("S2").replace(mean_vacancy_density=5e23)
    assert given.vacancy_offset == 0.33
    assert Device.from_dict(given.to_dict()) == given
    assert given.resolved() == given.replace(mobility_hole=2.15e-3, image_force_permittivity=10.0)
    assert given.replace(mean_vacancy_density=None) == Device.preset("S2")
    assert given.replace(mean_vacancy_density=None, vacancy_offset=0.3).vacancy_offset == 0.3
    for change in ({"vacancy_offset": 0.3}, {"vacancy_offset": 0.3, "mean_vacancy_density": 1e23}):
        with pytest.raises(InvalidValue, match="vacancy_offset has no effect where mean_vacancy_density is given"):
            given.replace(**change)
        with pytest.raises(InvalidValue, match="vacancy_offset has no effect where mean_vacancy_density is given"):
            Devices.of([given, Device()]).replace(**change)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mean_vacancy_density": 0.0}, "^mean_vacancy_density = 0 m.-3 is out of range; give a number from 1e.10"),
        ({"mean_vacancy_density": 1e28}, r"to below vacancy_site_density = 1e\+28 m\^-3, or more sites\.$"),
        ({"mean_vacancy_density": 1e20, "vacancy_site_density": 0.0}, r"to below vacancy_site_density = 0 m\^-3"),
    ],
)
def test_a_density_lies_below_that_of_the_sites(fields, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        Device(**fields)
    with pytest.raises(InvalidValue, match=r"^mean_vacancy_density\[0\] = .* is out of range"):
        Devices.of([Device()] * 2).replace(**fields)


def test_keys_from_before_there_was_a_density_hold():
    assert Device().key().startswith("c531c58e32b7")
    assert Device.preset("Ex107").key().startswith("b1f4f6ecb5f7")
    assert "mean_vacancy_density" not in Device().to_dict()
    given = Device(mean_vacancy_density=5e23)
    assert given.key() == Device(mean_vacancy_density=5e23, vacancy_offset=0.1).key()
    assert given.key() not in (Device().key(), Device(mean_vacancy_density=4e23).key())


def test_a_batch_may_give_densities_for_some():
    devices = Devices.of([Device(), Device(mean_vacancy_density=5e23)])
    assert [d.mean_vacancy_density for d in devices] == [None, 5e23]
    np.testing.assert_array_equal(devices.identity()["vacancy_offset"], [0.3, 5e23])
    assert "mean_vacancy_density" not in devices.identity()
    old = {name: column for name, column in devices.columns().items() if name != "mean_vacancy_density"}
    assert np.isnan(Devices(**old).mean_vacancy_density).all()
    assert np.isnan(devices.replace(mean_vacancy_density=None).mean_vacancy_density).all()
    with pytest.raises(InvalidValue, match=r"mean_vacancy_density\[1\] = 2e\+28 m\^-3 is out of range"):
        devices.replace(mean_vacancy_density=[1e23, 2e28])


def test_batches_one_after_the_other():
    a, b = Devices.repeat(Device.preset("seed"), 2), Devices.repeat(Device.preset("S1"), 1)
    both = Devices.concatenate([a, b])
    assert (len(both), both[0], both[2]) == (3, a[0], b[0])
    with pytest.raises(InvalidValue, match="batches has no entries"):
        Devices.concatenate([])
