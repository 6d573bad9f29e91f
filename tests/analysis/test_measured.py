import numpy as np
import pytest

from memflux.analysis.measured import read_curve, read_curves
from memflux.errors import InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.waveform import PulseTrain, Sine, Triangle

DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=2)
SAMPLES = 40


def loop(phase):
    """A current that tells branches apart, on phases 0..1 of a cycle."""
    return 1e-6 * (np.sin(2 * np.pi * phase) + 0.3 * np.sin(4 * np.pi * phase))


def record(path, *, cycles=2, points=500, header="", columns="vi", noise=0.0, drive=DRIVE, sep=",", scale=1.0):
    """Write a record of `drive`; the last cycle is `loop`, earlier ones are twice as large."""
    phase = np.linspace(0.0, cycles, points * cycles + 1)
    within = phase - np.floor(phase)
    within[-1] = 1.0
    current = loop(within) * np.where(phase < cycles - 1, 2.0, 1.0)
    voltage = scale * drive.at(phase % 1.0)[1]
    voltage = voltage + noise * np.random.default_rng(0).standard_normal(phase.size)
    data = {"t": phase * float(drive.periods()) + 100.0, "v": voltage, "i": current, "x": phase}
    rows = [sep.join(f"{data[c][k]:.9e}" for c in columns) for k in range(phase.size)]
    path.write_text("\n".join([header] * bool(header) + rows) + "\n")
    return path


WANTED = loop(np.arange(SAMPLES + 1) / SAMPLES)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cycles": 1},
        {"cycles": 5},
        {"header": "voltage,current"},
        {"header": "Current (A);Voltage [V]", "columns": "iv", "sep": ";"},
        {"header": "# a remark\nV I", "sep": " "},
        {"columns": "tvi"},
        {"columns": "tvi", "cycles": 1},
        {"header": "index,t_s,v_V,i_A", "columns": "xtvi"},
        {"drive": Sine(amplitude=3.0, period=0.5)},
        {"drive": Sine(amplitude=3.0, period=0.5), "columns": "tvi"},
        {"scale": 0.99},
    ],
)
def test_the_last_cycle_lands_on_the_phase_grid(tmp_path, options):
    drive = options.get("drive", DRIVE)
    target = read_curve(record(tmp_path / "c.csv", **options), drive, SAMPLES)
    assert target.shape == (SAMPLES + 1,)
    tolerance = 4e-8 if options.get("scale") or isinstance(drive, Sine) else 5e-9
    np.testing.assert_allclose(target, WANTED, atol=tolerance)


def test_noise_in_the_voltage_makes_no_branches(tmp_path):
    target = read_curve(record(tmp_path / "c.csv", noise=0.05), DRIVE, SAMPLES)
    np.testing.assert_allclose(target, WANTED, atol=8e-8)


def test_plateaus_need_times(tmp_path):
    drive = PulseTrain(amplitude=2.0, width=1.0, ramp=0.5, rest=1.0, read_voltage=0.2, read_width=1.0, read_ramp=0.5)
    timed = record(tmp_path / "t.csv", drive=drive, columns="tvi")
    np.testing.assert_allclose(read_curve(timed, drive, SAMPLES), WANTED, atol=5e-9)
    with pytest.raises(InvalidValue, match="plateaus"):
        read_curve(record(tmp_path / "v.csv", drive=drive), drive, SAMPLES)


def test_a_simulated_curve_comes_back(tmp_path):
    devices, drive = Space.preset("5d-parametric").sample(1, seed=0)
    trace = StandIn(samples=400)(devices, drive)[0]
    np.savetxt(tmp_path / "c.csv", np.stack([trace.voltage, trace.current], axis=1), delimiter=",")
    target = read_curve(tmp_path / "c.csv", drive, 200)
    np.testing.assert_allclose(target, trace.cycle(-1).current[::2], rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 lines"),
        ("1,2,3,4\n" * 30, "has 4 columns"),
        ("voltage,power\n" + "1,2\n" * 30, "name one voltage, one current"),
        ("voltage,voltage,current\n" + "1,2,3\n" * 30, "name one voltage"),
        ("0,0\n1,1\n0,0\n", "has 3 points"),
        ("0,0\n" * 20 + "1,abc\n", "line 21: '1,abc' is not 2 numbers"),
        ("0,0\n" * 20 + "1,2,3\n", "is not 2 numbers"),
        ("0,0\n" * 20 + "1,nan\n", "line 21 has a value that is not finite"),
        ("0,1e-9\n" * 30, "covers 0 to 0 V and the drive -10 to 10 V"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, text, words):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(InvalidValue, match=words):
        read_curve(path, DRIVE, SAMPLES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 0.5}, "covers -5 to 5 V"),
        ({"scale": 2.0}, "covers -20 to 20 V"),
        ({"scale": -1.0}, "first down"),
        ({"scale": -1.0, "columns": "tvi"}, "differs from the drive"),
        ({"columns": "tvi", "drive": Triangle(amplitude=10.0, period=3.0)}, "less than one period|differs"),
        ({"points": 8, "cycles": 3}, "points in its last cycle"),
    ],
)
def test_records_of_another_drive_are_refused(tmp_path, options, words):
    with pytest.raises(InvalidValue, match=words):
        read_curve(record(tmp_path / "c.csv", **options), DRIVE, SAMPLES)


def test_missing_binary_unsorted_and_batched(tmp_path):
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_curve(tmp_path / "none.csv", DRIVE, SAMPLES)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81" * 40)
    with pytest.raises(InvalidValue, match="is not text"):
        read_curve(tmp_path / "b.csv", DRIVE, SAMPLES)
    path = record(tmp_path / "c.csv", columns="tvi", cycles=1)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:50], lines[20], *lines[50:]]))
    with pytest.raises(InvalidValue, match="sample 51 is not later"):
        read_curve(path, DRIVE, SAMPLES)
    with pytest.raises(InvalidValue, match="one drive"):
        read_curve(path, Triangle(amplitude=np.ones(3), period=1.0), SAMPLES)


@pytest.mark.parametrize(
    ("header", "factor"),
    [("V (V),I (uA)", 1e-6), ("voltage [mV],current [A]", 1e-3), ("v_V,i_nA", 1e-9), ("V/V,|I|/mA", 1e-3)],
)
def test_units_of_the_header_count(tmp_path, header, factor):
    path = record(tmp_path / "c.csv", header=header)
    drive = DRIVE
    lines = path.read_text().splitlines()
    wanted = WANTED * factor
    if "mV" in header:
        drive, wanted = Triangle(amplitude=0.01, period=8.0, cycles=2), WANTED
    path.write_text("\n".join(lines))
    np.testing.assert_allclose(read_curve(path, drive, SAMPLES), wanted, atol=5e-9 * max(wanted.max() / 1e-6, 1e-12))


@pytest.mark.parametrize("header", ["V (V),I (A/m^2)", "V (V),current density", "V (A),I (A)"])
def test_units_that_are_not_known_are_refused(tmp_path, header):
    with pytest.raises(InvalidValue, match=r"is in .*; give it in"):
        read_curve(record(tmp_path / "c.csv", header=header), DRIVE, SAMPLES)


def passive(phase):
    """|I| of a device whose way out is the branch of smaller magnitude above 0 V and of larger below."""
    voltage = DRIVE.at(phase)[1]
    out = np.where(phase < 0.5, phase <= 0.25, phase > 0.75)  # where the magnitude is the smaller one
    return voltage, 1e-6 * np.abs(voltage) ** 1.5 * np.where(out, 1.0, 3.0)


def test_a_lost_sign_is_that_of_the_voltage(tmp_path):
    phase = np.linspace(0.0, 1.0, 801)
    voltage, size = passive(phase)
    np.savetxt(tmp_path / "c.csv", np.stack([voltage, size], axis=1), delimiter=",")
    target = read_curve(tmp_path / "c.csv", DRIVE, SAMPLES)
    wanted = DRIVE.at(np.arange(SAMPLES + 1) / SAMPLES)[1]
    inside = np.abs(wanted) > 1.0
    assert (np.sign(target) == np.sign(wanted))[inside].all()


def test_interleaved_branches_are_told_apart_and_given_in_every_order(tmp_path):
    voltage, size = passive(np.linspace(0.0, 1.0, 801))
    order = np.argsort(voltage, kind="stable")
    np.savetxt(tmp_path / "c.dat", np.stack([voltage, size], axis=1)[order])
    curves = read_curves(tmp_path / "c.dat", DRIVE, SAMPLES)
    assert len(curves) == 4
    wanted, known = passive(np.arange(SAMPLES + 1) / SAMPLES)
    inside = (np.abs(wanted) > 0.5) & (np.abs(wanted) < 9.5)
    off = [np.abs(np.abs(curve) / np.where(known > 0, known, 1.0) - 1.0)[inside].max() for curve in curves]
    assert int(np.argmin(off)) == 1  # smaller on the way up, larger on the way down
    assert off[1] < 0.02
    assert min(off[0], off[2], off[3]) > 0.5
    assert all((np.sign(curve) == np.sign(wanted)).all() for curve in curves)
    with pytest.raises(InvalidValue, match="put in order in 4 ways"):
        read_curve(tmp_path / "c.dat", DRIVE, SAMPLES)


def test_interleaved_branches_need_both_signs(tmp_path):
    voltage = np.concatenate([np.linspace(0, 10, 200), [-9.9, -10.0]])
    np.savetxt(tmp_path / "c.dat", np.stack([np.sort(voltage), np.abs(np.sort(voltage))], axis=1))
    with pytest.raises(InvalidValue, match="2 points on one side of 0 V"):
        read_curves(tmp_path / "c.dat", DRIVE, SAMPLES)
