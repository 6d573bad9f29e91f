import dataclasses

import numpy as np
import pytest

from memflux.device import Device
from memflux.errors import InvalidValue
from memflux.space import GRID, PRESETS, Parameter, Space
from memflux.waveform import PiecewiseLinear, PulseTrain, RandomDrive, Sine, Triangle


@pytest.mark.parametrize("name", PRESETS)
def test_samples_lie_in_the_space_and_round_trip(name):
    space = Space.preset(name)
    devices, drive = space.sample(300, seed=3)
    unit = space.coordinates(devices, drive)
    assert space.contains(devices, drive).all()
    assert ((unit > -1e-12) & (unit < 1 + 1e-12)).all()
    again, _ = space.build(unit)
    np.testing.assert_allclose(again.barrier_left, devices.barrier_left, rtol=1e-12)
    assert Space.from_dict(space.to_dict()) == space


@pytest.mark.parametrize("name", ["5d-parametric", "9d", "16d"])
def test_a_sample_is_a_prefix_of_a_larger_one_and_any_part_can_be_made_alone(name):
    space = Space.preset(name)
    few, many, part = space.sample(20, seed=5), space.sample(50, seed=5), space.sample(10, seed=5, first=30)
    for field in few[0].columns():
        np.testing.assert_array_equal(getattr(few[0], field), getattr(many[0], field)[:20])
        np.testing.assert_array_equal(getattr(part[0], field), getattr(many[0], field)[30:40])
    if space.varies_drive:
        np.testing.assert_array_equal(part[1].period, many[1].period[30:40])


def test_seeds_differ_and_zero_is_a_seed():
    space = Space.preset("9d")
    draws = [space.sample(50, seed=s)[0].barrier_left for s in (0, 1, 0)]
    np.testing.assert_array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], draws[1])


def test_draws_are_uniform_on_ten_thousand_values():
    space = Space.preset("9d")
    unit = space.coordinates(*space.sample(20_000, seed=0))
    steps = unit * (GRID - 1)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    np.testing.assert_allclose(unit.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(unit.var(axis=0), 1 / 12, atol=0.003)
    assert np.abs(np.corrcoef(unit.T) - np.eye(9)).max() < 0.03


def test_published_ranges():
    nine, parametric = Space.preset("9d"), Space.preset("5d-parametric")
    assert nine.names == (
        "period", "amplitude", "length", "donor_density", "vacancy_offset",
        "mobility_electron", "mobility_vacancy", "barrier_left", "barrier_right",
    )  # fmt: skip
    assert parametric.names == nine.names[4:]
    assert parametric.device.donor_density == 1e21
    ranges = {p.name: (p.low, p.high, p.log) for p in parametric.parameters}
    assert ranges["mobility_vacancy"] == (1e-15, 1e-13, True)
    assert ranges["vacancy_offset"] == (0.28, 0.32, False)
    assert [p.name for p in nine.parameters if p.log] == ["donor_density", "mobility_electron", "mobility_vacancy"]
    assert nine.device.donor_density == 1e20


def test_the_rule_of_16d_refuses_about_half_of_free_draws():
    raw, kept = Space.preset("16d-raw"), Space.preset("16d")
    devices, drive = raw.sample(4000, seed=0)
    highest = np.maximum(np.maximum(devices.barrier_left, devices.barrier_right), devices.vacancy_offset)
    assert np.mean(highest >= devices.band_gap) == pytest.approx(0.48, abs=0.03)
    assert len(drive) == 4000
    inside, _ = kept.sample(500, seed=0)
    assert (np.maximum(inside.barrier_left, inside.vacancy_offset) < inside.band_gap).all()


def test_contains_looks_at_constants_and_drive():
    space = Space.preset("5d-parametric")
    devices, drive = space.sample(3, seed=0)
    assert not space.contains(devices.replace(temperature=310.0), drive).any()
    assert not space.contains(devices, Triangle(amplitude=9.0, period=8.0)).any()
    assert not space.contains(devices, Sine(amplitude=10.0, period=8.0)).any()
    assert not space.contains(devices.replace(mobility_hole=1e-4), drive).any()
    np.testing.assert_array_equal(
        space.contains(devices.replace(barrier_left=[0.1, 0.3, 0.05]), drive), [True, False, True]
    )


def test_at_gives_the_devices_of_parameter_values():
    space = Space.preset("5d-parametric")
    values = np.array([[0.3, 1e-3, 1e-14, 0.1, 0.12]])
    devices, _ = space.at(values)
    assert devices[0] == Device(
        donor_density=1e21, vacancy_offset=0.3, mobility_electron=1e-3, mobility_vacancy=1e-14,
        barrier_left=0.1, barrier_right=0.12,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Space.preset("6d"), "preset = '6d' is not known; choose one of 2d"),
        (
            lambda: Parameter(name="lenght", low=1e-6, high=2e-6),
            "'lenght' is not a parameter that can vary; did you mean 'length'",
        ),
        (lambda: Parameter(name="length", low=2e-6, high=1e-6), "low of length = 2e-06 is not below high"),
        (lambda: Parameter(name="length", low=0.0, high=1e-6), "low of length = 0 m is out of range"),
        (lambda: Parameter(name="barrier_left", low=0.0, high=1.0, log=True), "cannot be on a log scale"),
        (lambda: Space(name="x", parameters=(), device=Device()), r"parameters = \[\] must be one or more"),
        (
            lambda: Space(
                name="x",
                parameters=(Parameter(name="vacancy_offset", low=0.1, high=0.2),),
                device=Device(mean_vacancy_density=1e23),
            ),
            "vacancy_offset has no effect where mean_vacancy_density is given; vary one of the two",
        ),
        (
            lambda: Parameter(name="vacancy_charge", low=1.0, high=2.0),
            "vacancy_charge takes whole numbers alone and cannot vary; give it as a constant",
        ),
        (
            lambda: Space(
                name="x",
                parameters=(
                    Parameter(name="mean_vacancy_density", low=1e22, high=1e24),
                    Parameter(name="vacancy_site_density", low=1e23, high=1e25),
                ),
                device=Device(),
            ),
            r"mean_vacancy_density = 1e\+24 m\^-3 is out of range; .* below vacancy_site_density = 1e\+23",
        ),
        (lambda: Space.preset("2d").sample(-1, seed=0), "count = -1 is out of range"),
        (lambda: Space.preset("2d").sample(1, seed=-1), "seed = -1 is out of range"),
    ],
)
def test_bad_spaces_are_refused(build, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        build()


def test_a_rule_that_nothing_keeps_is_given_up():
    length = Parameter(name="length", low=1e-6, high=2e-6)
    space = Space(name="none", parameters=(length,), device=Device(band_gap=0.2), rule="within_gap")
    with pytest.raises(InvalidValue, match="3 of 3 draws broke the rule 'within_gap' 1000 times; widen the space"):
        space.sample(3, seed=0)


def test_the_rule_belongs_to_the_space():
    raw, kept = Space.preset("16d-raw"), Space.preset("16d")
    devices, drive = raw.sample(200, seed=1)
    highest = np.maximum(np.maximum(devices.barrier_left, devices.barrier_right), devices.vacancy_offset)
    np.testing.assert_array_equal(kept.contains(devices, drive), highest < devices.band_gap)


def test_a_following_field_counts_with_its_value():
    space = Space.preset("16d")
    devices, drive = space.sample(3, seed=0)
    same = devices.replace(mobility_hole=np.nan)
    assert np.isfinite(space.coordinates(same, drive)).all()


DENSITY = Parameter(name="mean_vacancy_density", low=1e22, high=1e24, log=True)


def test_a_vacancy_density_can_vary_and_belongs_to_its_space():
    base = Device.preset("S2").replace(band_gap=0.32)
    space = Space(name="content", parameters=(DENSITY,), device=base, rule="within_gap")
    devices, drive = space.sample(20, seed=0)  # the offset of 0.33 eV, above the gap, has no effect
    assert ((devices.mean_vacancy_density >= 1e22) & (devices.mean_vacancy_density <= 1e24)).all()
    assert space.contains(devices, drive).all()
    other = dataclasses.replace(devices, vacancy_offset=np.full(20, 0.1))
    assert space.contains(other, drive).all()
    assert not space.contains(devices.replace(mean_vacancy_density=None), drive).any()
    assert Space.from_dict(space.to_dict()) == space


def test_a_given_density_is_a_constant_of_the_space():
    parameter = Parameter(name="barrier_left", low=0.1, high=0.2)
    space = Space(name="given", parameters=(parameter,), device=Device(mean_vacancy_density=1e23))
    devices, drive = space.sample(4, seed=0)
    assert space.contains(devices, drive).all()
    assert not space.contains(devices.replace(mean_vacancy_density=2e23), drive).any()
    plain, drive = Space.preset("5d-parametric").sample(4, seed=0)
    given = plain.replace(mean_vacancy_density=1e23)
    assert not Space.preset("5d-parametric").contains(given, drive).any()


def test_a_space_of_random_drives_gives_each_point_its_own():
    """Whatever is drawn beside it, and for the point itself as for its parameter values."""
    space = Space.preset("5d-any-drive")
    devices, drive = space.sample(40, seed=2)
    assert isinstance(drive, RandomDrive)
    assert np.unique(drive.pattern).size == 40
    _, part = space.sample(10, seed=2, first=30)
    np.testing.assert_array_equal(part.pattern, drive.pattern[30:])
    unit = space.coordinates(devices, drive)
    np.testing.assert_array_equal(space.build(unit[::-1])[1].pattern, drive.pattern[::-1])
    np.testing.assert_array_equal(space.at(space.values(unit))[1].pattern, drive.pattern)


def test_a_space_of_random_drives_holds_any_drive_of_its_size():
    space = Space.preset("5d-any-drive")
    devices, _ = space.sample(3, seed=0)
    for inside, drive in (
        (True, Sine(amplitude=5.0, period=4.0, cycles=7)),
        (True, PulseTrain(amplitude=-9.0, width=1.0, ramp=0.1, rest=1.0)),
        (True, PiecewiseLinear(times=np.array([0.0, 2.0, 4.0]), voltages=np.array([0.0, -2.0, 0.0]))),
        (False, Sine(amplitude=5.0, period=2.0)),
        (False, PulseTrain(amplitude=-11.0, width=1.0, ramp=0.1, rest=1.0)),
    ):
        assert space.contains(devices, drive).all() == inside, drive
