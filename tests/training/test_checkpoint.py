"""A damaged folder is a DataError with a sentence, and a save is all or nothing."""

import json
import pathlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from memflux.errors import DataError, InvalidValue
from memflux.training import checkpoint
from memflux.training.surrogate import Surrogate


@pytest.fixture
def folder(spectral, tmp_path):
    spectral.save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, change):
    path = folder / "surrogate.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edit_weights(folder, change):
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(folder, match):
    with pytest.raises(DataError, match=match) as caught:
        Surrogate.load(folder)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("space"), "has no space"),
        (lambda d: d.update(extra=1), "has the unknown extra"),
        (lambda d: d.update(format=99), "has format 99"),
        (lambda d: d.update(model="forest"), "model = 'forest' is not known"),
        (lambda d: d["config"].update(width=10**9), "width = 1000000000 is out of range"),
        (lambda d: d["config"].update(depth=2), "'depth' is not a field"),
        (lambda d: d["scaling"].pop("outputs"), "has no outputs"),
        (lambda d: d["scaling"]["outputs"].update(deviation=0.0), "deviation = 0 is out of range"),
        (lambda d: d["scaling"]["outputs"].pop("mean"), "is not usable"),
        (lambda d: d["record"].pop("test_errors"), "has no test_errors"),
        (lambda d: d["space"]["parameters"].pop(), "in .* has shape"),
        (lambda d: d.update(samples=17), "in .* has shape"),
        (lambda d: d.update(scaling=3), "scaling in surrogate.json holds no JSON object"),
    ],
)
def test_damaged_documents(folder, change, match):
    edit(folder, change)
    refused(folder, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("basis"), "weights.safetensors has no basis"),
        (lambda t: t.update(extra=torch.zeros(2)), "has the unknown extra"),
        (lambda t: t.update(basis=torch.zeros(3, 3)), "basis in .* has shape"),
        (lambda t: t.update(basis=t["basis"].double()), "basis in .* has type"),
        (lambda t: t["basis"].fill_(float("nan")), "basis in .* not finite"),
    ],
)
def test_damaged_weights(folder, change, match):
    edit_weights(folder, change)
    refused(folder, match)


def test_truncated_and_missing_files(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, "weights.safetensors is damaged")
    path.unlink()
    refused(folder, "cannot be read")
    (folder / "surrogate.json").write_text("{not json")
    refused(folder, "is not JSON")
    (folder / "surrogate.json").write_text("[]")
    refused(folder, "has format None")


def test_size_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_WEIGHTS", 10)
    refused(folder, "may have 10")


def test_a_folder_of_something_else_is_not_replaced(spectral, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(InvalidValue, match="holds no surrogate"):
        spectral.save(tmp_path / "thesis")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidValue, match="holds no surrogate"):
        spectral.save(tmp_path / "file")


def test_a_failed_save_keeps_the_old_one(spectral, folder, monkeypatch):
    rename = pathlib.Path.rename

    def broken(self, target):
        if self.name.endswith(".new"):
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", broken)
    with pytest.raises(OSError, match="disk full"):
        spectral.save(folder)
    monkeypatch.undo()
    Surrogate.load(folder)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
