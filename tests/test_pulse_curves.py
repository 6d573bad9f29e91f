"""Reading measured pulse trains, and each mistake in one sentence."""

import numpy as np
import pytest

from measured_trains import made_up, write
from memflux.errors import InvalidValue
from memflux.pulse_curves import PulseCurves


def test_what_is_written_is_read(tmp_path):
    curves = made_up()
    read = PulseCurves.read(write(curves, tmp_path))
    for name in ("ids", "settings", "current"):
        np.testing.assert_array_equal(getattr(read, name), getattr(curves, name))
    assert not read.current.flags.writeable


def test_replicates_share_a_setting():
    curves = made_up(replicates=3)
    assert curves.unique_settings.shape == (5, 5)
    np.testing.assert_array_equal(curves.unique_settings[curves.setting], curves.settings)
    assert np.bincount(curves.setting).tolist() == [3] * 5


def test_scaled_lies_between_0_and_1():
    scaled = made_up().scaled
    np.testing.assert_array_equal(scaled.min(axis=1), 0.0)
    np.testing.assert_array_equal(scaled.max(axis=1), 1.0)


def test_oddities_are_kept_and_flagged():
    curves = made_up(replicates=1)
    current = curves.current.copy()
    current[1, 4] = -1e-9
    current[2] = current[2, ::-1]
    odd = PulseCurves(ids=curves.ids, settings=curves.settings, current=current)
    assert odd.nonpositive.tolist() == [False, True, False, False, False]
    assert odd.falling.tolist() == [False, False, True, False, False]


def replaced(folder, name, old, new, count=1):
    path = folder / name
    path.write_text(path.read_text().replace(old, new, count))


MISTAKES = {
    "no file": (lambda f: (f / "curves.csv").unlink(), "cannot be read"),
    "no column": (lambda f: replaced(f, "curves.csv", "t_set_s", "t_set"), "has no column t_set_s"),
    "no curve column": (lambda f: replaced(f, "read_current_A.csv", "curve", "id"), "has no column curve"),
    "a gap in the pulses": (lambda f: replaced(f, "read_current_A.csv", "n3,", "n99,"), "has no column n3"),
    "text": (lambda f: replaced(f, "curves.csv", "2.0", "two"), "text or a gap"),
    "NaN": (lambda f: replaced(f, "curves.csv", "2.0", "nan"), "is not finite"),
    "out of range": (lambda f: replaced(f, "curves.csv", "2.0", "2000"), "out of range"),
    "ragged": (lambda f: replaced(f, "read_current_A.csv", "\n0,", "\n0,1e-6,"), "row 2 has 32 entries"),
    "an id twice": (lambda f: replaced(f, "curves.csv", "\n2,", "\n0,"), "curve 0 more than once"),
    "no settings": (lambda f: replaced(f, "curves.csv", "\n2,", "\n7,"), "curve 2 of"),
    "an id of letters": (lambda f: replaced(f, "curves.csv", "\n2,", "\na,"), "no whole number"),
    "empty": (lambda f: (f / "curves.csv").write_text(""), "no rows"),
    "no text": (lambda f: (f / "curves.csv").write_bytes(b"\xff\xfe\x00"), "no CSV text"),
    "a column twice": (lambda f: replaced(f, "curves.csv", "note", "curve"), "names a column twice"),
    "constant": (lambda f: constant(f), "same current after every pulse"),
}  # fmt: skip


def constant(folder):
    lines = (folder / "read_current_A.csv").read_text().splitlines()
    lines[1] = ",".join(["0"] + ["1e-6"] * 30)
    (folder / "read_current_A.csv").write_text("\n".join(lines))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake, tmp_path):
    spoil, message = MISTAKES[mistake]
    folder = write(made_up(), tmp_path / "d")
    spoil(folder)
    with pytest.raises(InvalidValue, match=message) as error:
        PulseCurves.read(folder)
    assert "\n" not in str(error.value)


def test_settings_without_currents(tmp_path):
    folder = write(made_up(), tmp_path / "d")
    lines = (folder / "read_current_A.csv").read_text().splitlines()
    (folder / "read_current_A.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(InvalidValue, match="has no currents"):
        PulseCurves.read(folder)


def test_no_folder(tmp_path):
    with pytest.raises(InvalidValue, match="is not a folder"):
        PulseCurves.read(tmp_path / "none")


@pytest.mark.reference
def test_published_record(reference_data):
    curves = PulseCurves.read(reference_data / "measured_hfo2_tio2_pulse")
    assert curves.current.shape == (227, 100)
    assert len(curves.unique_settings) == 75
    assert curves.ids[curves.nonpositive].tolist() == [152, 153]
    assert {153, 202} <= set(curves.ids[curves.falling].tolist())
