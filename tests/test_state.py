"""Saved states: what goes out comes back, what is none is refused."""

import numpy as np
import pytest

from memflux.device import Device
from memflux.errors import DataError
from memflux.state import State


def example():
    """A state of no solver's making."""
    rng = np.random.default_rng(0)
    return State(
        device=Device.preset("S2").replace(barrier_left=0.12),
        control="accurate",
        solver_version="2",
        voltage=0.5,
        current=1e-7,
        conduction=0.9e-7,
        levels=rng.random((3, 7, 4)),
        fluxes=rng.random((5, 6)),
        numbers=rng.random(5),
    )


def test_a_saved_state_comes_back_bit_by_bit(tmp_path):
    state = example()
    state.save(tmp_path / "s.npz")
    again = State.load(tmp_path / "s.npz")
    assert again.device == state.device
    for name in ("control", "solver_version", "voltage", "current", "conduction"):
        assert getattr(again, name) == getattr(state, name)
    for name in ("levels", "fluxes", "numbers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(state, name))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_what_is_no_state_is_refused(tmp_path, content):
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"s\.npz is no saved state"):
        State.load(tmp_path / "s.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.npz cannot be read"):
        State.load(tmp_path / "nothing.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "s.npz", about=np.array({"device": {}}, dtype=object), levels=0, fluxes=0, numbers=0)
    with pytest.raises(DataError, match="no saved state"):
        State.load(tmp_path / "s.npz")


def test_arrays_of_another_shape_are_refused(tmp_path):
    state = example()
    state.save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        parts = dict(file)
    parts["levels"] = parts["levels"][:, :5]
    np.savez(tmp_path / "s.npz", **parts)
    with pytest.raises(DataError, match="no saved state"):
        State.load(tmp_path / "s.npz")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        example().save(tmp_path / "nowhere" / "s.npz")


def changed(path, **arrays):
    """The saved state with some arrays replaced."""
    with np.load(path) as file:
        parts = dict(file) | arrays
    np.savez(path, **parts)


@pytest.mark.parametrize("name", ["levels", "fluxes", "numbers"])
def test_a_state_that_holds_no_numbers_is_refused(tmp_path, name):
    state, path = example(), tmp_path / "s.npz"
    state.save(path)
    changed(path, **{name: np.full_like(getattr(state, name), np.nan)})
    with pytest.raises(DataError, match="no saved state"):
        State.load(path)


def test_a_file_that_would_unpack_to_more_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "s.npz", levels=np.zeros((3, 1000, 4)))
    with pytest.raises(DataError, match="no saved state"):
        State.load(tmp_path / "s.npz")


def test_no_damage_escapes_as_anything_else(tmp_path):
    """One byte after the other of the first header and of the directory at the end."""
    example().save(tmp_path / "s.npz")
    whole = (tmp_path / "s.npz").read_bytes()
    refused, read = 0, []
    for place in [*range(200), *range(len(whole) - 300, len(whole))]:
        for value in (0, 0x28, 0xFF):
            (tmp_path / "d.npz").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                read.append(State.load(tmp_path / "d.npz"))
            except DataError:
                refused += 1
    assert refused > 500
    for state in read:  # bytes that do not matter
        np.testing.assert_array_equal(state.levels, example().levels)
