"""Folders: files appear whole, on any file system."""

import os

import pytest

from memflux.errors import DataError, InvalidValue
from memflux.folder import TEMPORARY, Folder


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    """A folder on disk and one in fsspec's memory."""
    made = Folder.at(tmp_path / "a" if request.param == "local" else f"memory://{tmp_path.name}")
    made.create()
    return made


def test_what_is_written_is_read(folder):
    folder.write("x", b"first")
    folder.write("x", b"second")
    folder.write("y", b"")
    assert folder.read("x") == b"second"
    assert folder.names() == ["x", "y"]
    folder.remove("y")
    folder.remove("y")
    assert not folder.exists("y")


def test_a_missing_folder_has_no_names(tmp_path):
    assert Folder.at(tmp_path / "none").names() == []


def test_a_missing_file_is_a_data_error(folder):
    with pytest.raises(DataError, match="cannot be read"):
        folder.read("none")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    folder = Folder.at(tmp_path)
    folder.write("x", b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device; make room"):
        folder.write("x", b"new")
    assert folder.read("x") == b"old"
    assert not [name for name in folder.names() if name.startswith(TEMPORARY)]


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InvalidValue, match="give a path or a URL"):
        Folder.at("nonsense://somewhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(DataError, match="cannot be made"):
        Folder.at(tmp_path / "f").create()
