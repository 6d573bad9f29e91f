"""Records of hysteresis loops: what is read, how periods are found, how far a model is, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.loops import Loops, loop_error, read_loops

RESISTANCE = 5e3


def write(path: Path, frequency: float = 5.0, periods: float = 1.0, a_period: int = 400, noise: float = 0.0) -> None:
    """A record of a device whose conductance follows the phase."""
    time = np.arange(int(periods * a_period)) / (a_period * frequency)
    phase = 2.0 * np.pi * frequency * time
    source = np.sin(phase) + noise * np.random.default_rng(0).normal(size=time.size)
    voltage = np.sin(phase) / (1.0 + RESISTANCE * 1e-4 * (2.0 + np.cos(phase)))
    rows = np.stack([time, source, voltage, (source - voltage) / RESISTANCE], 1)
    np.savetxt(path, rows, delimiter=",", header="time_s,source_V,voltage_V,current_A", comments="")


def test_a_period_and_many_noisy_ones_are_the_same_loop(tmp_path: Path) -> None:
    write(tmp_path / "one.csv")
    write(tmp_path / "many.csv", periods=40.37, noise=0.02)
    loops = read_loops(tmp_path, samples=200)
    assert loops.names == ("many", "one")
    np.testing.assert_allclose(loops.frequency, 5.0, rtol=1e-3)
    assert loops.series_resistance == pytest.approx(RESISTANCE)
    many = loops.voltage[0]  # cut where the source rises: at phase 0
    assert np.abs(many - loops.voltage[1]).max() < 0.03


def test_current_or_voltage_follows_from_the_resistance(tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    whole = read_loops(tmp_path)
    table = np.loadtxt(tmp_path / "a.csv", delimiter=",", skiprows=1)
    for kept, header in (((0, 1, 2), "time_s,source_V,voltage_V"), ((0, 1, 3), "time_s,source_V,current_A")):
        np.savetxt(tmp_path / "a.csv", table[:, kept], delimiter=",", header=header, comments="")
        with pytest.raises(InvalidValue, match="or the series resistance"):
            read_loops(tmp_path)
        loops = read_loops(tmp_path, series_resistance=RESISTANCE)
        np.testing.assert_allclose(loops.current, whole.current, atol=1e-12)
        np.testing.assert_allclose(loops.voltage, whole.voltage, atol=1e-9)
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header="time_s,source_V,voltage_V,current_A", comments="")
    with pytest.raises(InvalidValue, match="v_s = R_s i"):
        read_loops(tmp_path, series_resistance=2.0 * RESISTANCE)


def test_a_drive_of_two_pulses_needs_its_period(tmp_path: Path) -> None:
    time = np.arange(1000) / 1000.0
    source = np.where((time % 0.5 < 0.1) | ((time % 0.5 > 0.2) & (time % 0.5 < 0.25)), 1.0, 0.0)
    rows = np.stack([time, source, 1e-5 * source * (1.0 + time % 0.5)], 1)
    np.savetxt(tmp_path / "p.csv", rows, delimiter=",", header="time_s,source_V,current_A", comments="")
    (tmp_path / "periods.csv").write_text("p,0.5\n")
    loops = read_loops(tmp_path, series_resistance=1e3, samples=100)
    assert loops.frequency[0] == pytest.approx(2.0)
    np.testing.assert_allclose(loops.source[0][[0, 30, 60]], [1.0, 0.0, 0.0], atol=0.01)
    (tmp_path / "periods.csv").write_text("name,period_s\n")
    with pytest.raises(InvalidValue, match="without a header"):
        read_loops(tmp_path, series_resistance=1e3)


def loops_of(voltage: np.ndarray) -> Loops:
    return Loops(
        names=tuple(map(str, range(len(voltage)))),
        frequency=np.ones(len(voltage)),
        source=2.0 * voltage,
        voltage=voltage,
        current=1e-3 * voltage,
        series_resistance=1e3,
    )


def test_the_error_is_relative_to_the_record() -> None:
    loops = loops_of(np.random.default_rng(0).normal(size=(3, 50)) * np.array([[1.0], [1e-3], [1e3]]))
    assert loop_error(loops.voltage, loops.current, loops) == pytest.approx(0.0)
    flat = loop_error(np.full((3, 50), loops.voltage.mean(1, keepdims=True)), loops.current, loops)
    np.testing.assert_allclose(flat, 49 / 50)  # the unbiased variance, eq. 3
    two = loop_error(np.stack([loops.voltage] * 2), np.stack([loops.current] * 2), loops)
    assert two.shape == (2, 3)


def test_records_are_picked_and_split() -> None:
    loops = loops_of(np.random.default_rng(0).normal(size=(3, 20)))
    kept, held = loops.split(("1",))
    assert kept.names == ("0", "2")
    assert held.names == ("1",)
    assert loops[1:].names == ("1", "2")
    for wrong in (("4",), (), ("0", "1", "2")):
        with pytest.raises(InvalidValue):
            loops.split(wrong)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no column"),
        ("time_s,source_V\n" + "0,1\n" * 20, "voltage_V"),
        ("time_s,source_V,current_A\n" + "0,1,1\n" * 20, "evenly"),
        ("time_s,source_V,current_A\n0,1,x\n", "no table"),
        ("time_s,source_V,current_A\n0,1,1\n", "1 samples"),
        ("time_s,source_V,current_A\n" + "".join(f"{k},{k},nan\n" for k in range(20)), "finite"),
        ("time_s,source_V,current_A\n" + "".join(f"{k},{k},1\n" for k in range(20)), "constant"),
        ("time_s,source_V,current_A\n" + "".join(f"{k},{k},{k}\n" for k in range(20)), "whole periods"),
        ("time_s,source_V,current_A\n" + "".join(f"{k},{k},{k},1\n" for k in range(20)), "4 columns"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_records_that_cannot_be_used_are_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InvalidValue, match=match):
        read_loops(tmp_path, series_resistance=1e-3)
    with pytest.raises(InvalidValue, match="0 records"):
        read_loops(tmp_path / "nowhere")


def test_records_are_known_by_what_they_hold(tmp_path: Path) -> None:
    for name, frequency in (("a", 5.0), ("b", 10.0)):
        write(tmp_path / f"{name}.csv", frequency)
    loops = read_loops(tmp_path)
    assert read_loops(tmp_path).content_hash == loops.content_hash
    others = (
        read_loops(tmp_path, RESISTANCE * 1.001),
        read_loops(tmp_path, samples=999),
        loops[np.array([1, 0])],
        loops[:1],
        dataclasses.replace(loops, names=("a", "c")),
        dataclasses.replace(loops, current=np.nextafter(loops.current, 1.0)),
    )
    assert len({loops.content_hash, *(other.content_hash for other in others)}) == 1 + len(others)
