import numpy as np
import pytest

from memflux.errors import DataError, InvalidValue
from memflux.waveform import (
    PiecewiseLinear,
    PulseTrain,
    RandomDrive,
    Sine,
    Triangle,
    concatenate,
    from_dict,
    same_family,
)

PULSES = PulseTrain(amplitude=-5.0, width=2e-3, ramp=1.5e-3, rest=2e-3, cycles=3)
RAMP = PiecewiseLinear(times=np.array([0.0, 1.0, 3.0]), voltages=np.array([0.0, 2.0, -1.0]), cycles=2)
RANDOM = RandomDrive(amplitude=3.0, period=5.0, pattern=7, cycles=2)
WAVES = [Triangle(amplitude=10.0, period=8.0), Sine(amplitude=2.0, period=0.1, cycles=3), PULSES, RAMP, RANDOM]


def test_triangle_goes_up_down_and_back():
    wave = Triangle(amplitude=10.0, period=8.0, cycles=2)
    np.testing.assert_allclose(
        wave.voltage(np.array([0, 1, 2, 4, 5, 6, 7, 8, 10, 16])), [0, 5, 10, 0, -5, -10, -5, 0, 10, 0]
    )


def test_pulse_train_has_the_published_shape():
    time = np.array([0, 2e-3, 3.5e-3, 5.5e-3, 7e-3, 9e-3, 9.02e-3, 9.12e-3, 9.14e-3])
    assert float(PULSES.periods()) == pytest.approx(9.14e-3)
    np.testing.assert_allclose(PULSES.voltage(time), [0, 0, -5, -5, 0, 0, 0.2, 0.2, 0], atol=1e-9)


def test_a_cycle_owns_its_end():
    assert RAMP.voltage(3.0) == -1.0
    assert RAMP.voltage(3.0 + 1e-9) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("wave", WAVES)
def test_waves_round_trip_and_repeat(wave):
    again = from_dict(wave.to_dict())
    phase = np.linspace(0.01, 0.99, 37)
    assert type(again) is type(wave)
    np.testing.assert_array_equal(again.at(phase)[1], wave.at(phase)[1])
    np.testing.assert_allclose(wave.at(phase + wave.cycles - 1)[1], wave.at(phase)[1], atol=1e-12)
    assert ((wave.corners() > 0) & (wave.corners() < 1)).all()


@pytest.mark.parametrize("wave", WAVES)
def test_grid_includes_both_ends_once(wave):
    time, voltage = wave.grid(40)
    assert time.shape == voltage.shape == (wave.cycles * 40 + 1,)
    assert time[0] == 0.0
    assert time[-1] == pytest.approx(float(wave.duration()))


def test_batches_have_one_drive_a_device():
    wave = Triangle(amplitude=np.array([1.0, 2.0, 3.0]), period=np.array([1.0, 2.0, 4.0]), cycles=2)
    time, voltage = wave.grid(8)
    assert len(wave) == 3
    assert time.shape == (3, 17)
    np.testing.assert_allclose(voltage[:, 2], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(voltage[1], wave[1].grid(8)[1])
    assert wave[1:].batch == 2
    assert wave[0].batch is None


def test_a_batch_of_pulses_agrees_with_its_members():
    wave = PulseTrain(amplitude=np.array([1.0, -2.0]), width=np.array([1e-3, 5e-3]), ramp=1e-3, rest=1e-3)
    phase = np.linspace(0, 1, 101)
    for i in (0, 1):
        np.testing.assert_allclose(wave.at(phase)[1][i], wave[i].at(phase)[1], atol=1e-12)


def test_one_drive_serves_any_number():
    wave = Triangle(amplitude=1.0, period=1.0)
    assert wave[5] is wave
    assert wave.for_batch(7) is wave
    with pytest.raises(TypeError, match="no length"):
        len(wave)


def test_csv_with_and_without_header(tmp_path):
    for name, head in (("a.csv", ""), ("b.csv", "time,voltage\n")):
        path = tmp_path / name
        path.write_text(head + "0,0\n1,2\n3,-1\n")
        wave = PiecewiseLinear.from_csv(path, cycles=2)
        np.testing.assert_array_equal(wave.voltages, [0, 2, -1])


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: Triangle(amplitude=float("nan"), period=8.0),
            "amplitude = nan V is not finite; give a number from 1e-15",
        ),
        (lambda: Triangle(amplitude=10.0, period=0.0), "period = 0 s is out of range; give a number from 1e-12"),
        (
            lambda: Triangle(amplitude=10.0, period=8.0, cycles=0),
            "cycles = 0 is out of range; give a whole number from 1",
        ),
        (lambda: Triangle(amplitude=np.array([1.0, -1.0]), period=8.0), r"amplitude\[1\] = -1 V is out of range"),
        (
            lambda: Triangle(amplitude=np.ones(2), period=np.ones(3)),
            r"the drive has \{'amplitude': 2, 'period': 3\} values; give each field one value",
        ),
        (
            lambda: PiecewiseLinear(times=np.array([0.0, 2.0, 1.0]), voltages=np.zeros(3)),
            r"times\[2\] = 1 s is not after 2 s; sort the times",
        ),
        (
            lambda: PiecewiseLinear(times=np.array([0.0, 2.0]), voltages=np.zeros(3)),
            "times has 2 entries and voltages 3; give one voltage a time",
        ),
        (lambda: PiecewiseLinear(times=np.zeros((2, 2)), voltages=np.zeros(3)), r"times has shape \(2, 2\)"),
        (lambda: from_dict({"kind": "triangel"}), "waveform kind = 'triangel' is not known.*Did you mean 'triangle'"),
        (
            lambda: from_dict({"kind": "sine", "amplitud": 1.0}),
            "'amplitud' is not a field of a sine waveform; did you mean 'amplitude'",
        ),
        (lambda: from_dict({"kind": "sine", "amplitude": 1.0}), "the sine waveform is incomplete"),
        (lambda: Triangle(amplitude=np.ones(2), period=1.0).for_batch(3), "drive has 2 entries for 3 devices"),
        (lambda: Triangle(amplitude=1.0, period=1.0).grid(2), "samples = 2 is out of range"),
        (
            lambda: RandomDrive(amplitude=1.0, period=1.0, pattern=np.array([1.0, 2.5])),
            r"pattern = 2.5 is no whole number; give one from 0 to 2\^53",
        ),
        (lambda: RandomDrive(amplitude=1.0, period=1.0, pattern=-1), "pattern = -1 is out of range"),
    ],
)
def test_bad_drives_are_refused(build, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        build()


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv is no CSV of time"):
        PiecewiseLinear.from_csv(tmp_path / "none.csv")
    (tmp_path / "wide.csv").write_text("0,1,2\n1,2,3\n")
    with pytest.raises(DataError, match="has 3 columns; give two"):
        PiecewiseLinear.from_csv(tmp_path / "wide.csv")
    (tmp_path / "text.csv").write_text("0,1\n1,high\n")
    with pytest.raises(InvalidValue, match=r"voltages\[1\] = nan V is not finite"):
        PiecewiseLinear.from_csv(tmp_path / "text.csv")


def test_a_cycle_owns_its_end_whatever_the_period():
    for period in np.random.default_rng(0).uniform(0.5, 20.0, 200):
        wave = PiecewiseLinear(
            times=np.array([0.0, 0.4 * period, period]), voltages=np.array([5.0, 8.0, -3.0]), cycles=9
        )
        np.testing.assert_array_equal(wave.voltage(np.arange(1, 10) * period), -3.0)


def test_a_batch_with_one_period_for_all():
    wave = Triangle(amplitude=np.array([1.0, 2.0]), period=4.0, cycles=1)
    time, voltage = wave.grid(8)
    assert time.shape == voltage.shape == (2, 9)
    np.testing.assert_allclose(wave.voltage(np.array([1.0, 3.0])), [[1.0, -1.0], [2.0, -2.0]])


def test_a_grid_has_bounded_size():
    with pytest.raises(InvalidValue, match="samples = 1000001 is out of range; give a whole number from 4 to 1000000"):
        Triangle(amplitude=1.0, period=1.0, cycles=10).grid(1_000_001)


def test_a_cell_is_read_at_the_end_of_the_read_hold():
    pulses = PulseTrain(amplitude=-5.0, width=7e-3, ramp=3e-3, rest=2e-3, read_voltage=0.2, cycles=3)
    times = pulses.read_times()
    assert times.shape == (3,)
    np.testing.assert_allclose(pulses.voltage(times), 0.2)
    np.testing.assert_allclose(pulses.voltage(times + 1e-6), 0.19)
    np.testing.assert_allclose(np.diff(times), pulses.periods())
    batch = PulseTrain(amplitude=np.array([-5.0, 2.0]), width=7e-3, ramp=3e-3, rest=2e-3, cycles=3)
    assert batch.read_times().shape == (2, 3)


def test_a_random_drive_is_its_pattern():
    """The same on every machine; it starts and ends at 0 V and reaches its amplitude."""
    phases, voltages = RANDOM.corners(), RANDOM.shape(RANDOM.corners())
    np.testing.assert_allclose(
        phases[:4], [0.004042609884130344, 0.008085219768260689, 0.13351972582925725, 0.1375623357133876], rtol=1e-12
    )
    np.testing.assert_allclose(
        voltages[:4], [2.3956471343751167, 2.3956471343751167, 1.266048463403481, 1.266048463403481], rtol=1e-12
    )
    assert (np.diff(phases) > 0).all()
    assert np.abs(voltages).max() == 3.0
    assert RANDOM.voltage(0.0) == RANDOM.voltage(5.0) == RANDOM.voltage(10.0) == 0.0
    other = RandomDrive(amplitude=3.0, period=5.0, pattern=8)
    assert not np.allclose(other.grid(40)[1], RANDOM.grid(40)[1][:41], atol=0.5)


def test_a_batch_of_random_drives_agrees_with_its_members():
    wave = RandomDrive(amplitude=np.array([1.0, 2.0]), period=4.0, pattern=np.array([7.0, 2.0**53]))
    _, voltage = wave.grid(64)
    for k in range(2):
        np.testing.assert_array_equal(voltage[k], wave[k].grid(64)[1])
        np.testing.assert_array_equal(wave.corners()[k], wave[k].corners())


def test_random_drives_ramp_hold_jump_and_rest():
    wave = RandomDrive(amplitude=1.0, period=1.0, pattern=np.arange(200.0))
    phases, voltages = wave.corners(), wave.shape(wave.corners())
    lengths, steps = np.diff(phases, axis=1), np.diff(voltages, axis=1)
    rates = np.abs(steps) / lengths
    assert 0.3 < (steps == 0.0).mean() < 0.8  # holds
    assert 0.1 < (rates > 20.0).mean() < 0.4  # jumps
    assert 0.25 < (voltages[:, ::2] == 0.0).mean() < 0.4  # rests
    assert np.quantile(lengths, [0.05, 0.95]) == pytest.approx([0.003, 0.16], rel=0.2)


def test_drives_of_one_family_become_one_batch():
    one = Triangle(amplitude=5.0, period=2.0, cycles=2)
    two = Triangle(amplitude=np.array([6.0, 7.0]), period=3.0, cycles=2)
    both = concatenate([one, two], [2, 2])
    np.testing.assert_array_equal(both.amplitude, [5.0, 5.0, 6.0, 7.0])
    np.testing.assert_array_equal(both.period, [2.0, 2.0, 3.0, 3.0])
    assert not same_family(one, Triangle(amplitude=5.0, period=2.0, cycles=3))
    assert not same_family(one, Sine(amplitude=5.0, period=2.0, cycles=2))
    with pytest.raises(InvalidValue, match="different families"):
        concatenate([one, Sine(amplitude=5.0, period=2.0, cycles=2)], [1, 1])
    with pytest.raises(InvalidValue, match="2 entries for 3 devices"):
        concatenate([two], [3])
