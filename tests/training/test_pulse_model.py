"""A saved pulse model."""

import json

import numpy as np
import pytest

from measured_trains import SETTINGS, made_up
from memflux.errors import DataError, InvalidValue
from memflux.training.pulse_mlp import PulseConfig
from memflux.training.pulse_model import PulseModel, check_settings, train_model
from memflux.training.pulse_training import SummedRecipe


@pytest.fixture(scope="module")
def model():
    return train_model(made_up(), PulseConfig(), SummedRecipe(steps=60))


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "m")
    return tmp_path / "m"


def test_what_is_saved_is_loaded(model, folder):
    again = PulseModel.load(folder)
    np.testing.assert_array_equal(again.scaled(SETTINGS), model.scaled(SETTINGS))
    np.testing.assert_array_equal(again.current(SETTINGS), model.current(SETTINGS))
    np.testing.assert_array_equal(again.band(SETTINGS)[0], model.band(SETTINGS)[0])
    np.testing.assert_array_equal(again.scatter(SETTINGS), model.scatter(SETTINGS))
    assert again.record == model.record
    again.save(folder)  # replaces its own


def test_answers_are_physical(model):
    low, high = model.band(SETTINGS)
    curve = model.scaled(SETTINGS)
    assert ((low <= curve) & (curve <= high)).all()
    assert 0.7 < curve[:, -1].min() < curve[:, -1].max() < 1.3
    first = np.full(5, 3e-7)
    np.testing.assert_allclose(model.current(SETTINGS, first)[:, 0], first)
    assert model.covers(SETTINGS).sum() >= 4
    assert not model.covers(SETTINGS + 10.0).any()
    assert model.record["mse"]["test"] < 0.02


def test_a_row_split_has_no_band():
    model = train_model(made_up(), PulseConfig(), SummedRecipe(steps=20), "rows")
    assert "leaks" in model.record["remark"]
    assert model.record["test_curves"] == []
    assert model.scatter(SETTINGS).tolist() == [0.0] * 5
    with pytest.raises(InvalidValue, match="no unseen curves"):
        model.band(SETTINGS)


def changed(folder, change):
    document = json.loads((folder / "pulse_model.json").read_text())
    change(document)
    (folder / "pulse_model.json").write_text(json.dumps(document))


DAMAGE = {
    "no document": (lambda f: (f / "pulse_model.json").unlink(), "holds no pulse_model.json"),
    "no JSON": (lambda f: (f / "pulse_model.json").write_text("{"), "is not JSON"),
    "a list": (lambda f: (f / "pulse_model.json").write_text("[]"), "no JSON object"),
    "another format": (lambda f: changed(f, lambda d: d.update(format=9)), "format 9"),
    "a key more": (lambda f: changed(f, lambda d: d.update(more=1)), "unknown more"),
    "a key less": (lambda f: changed(f, lambda d: d.pop("scale")), "has no scale"),
    "another size": (lambda f: changed(f, lambda d: d["config"].update(width=32)), "has shape"),
    "a size that is none": (lambda f: changed(f, lambda d: d["config"].update(width=-1)), "not usable"),
    "a short scaling": (lambda f: changed(f, lambda d: d.update(center=[0.0])), "give 6"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "cannot be read"),
    "damaged weights": (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 99), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence(damage, folder):
    spoil, message = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        PulseModel.load(folder)


def test_a_foreign_folder_is_kept(model, tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InvalidValue, match="holds no pulse model"):
        model.save(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (np.zeros((2, 4)), "settings has shape"),
        (np.zeros(5), "give an array of 2 dimensions"),
        (np.full((1, 5), np.nan), "not finite"),
        (np.array([[-1.0, 2.0, 0.1, 0.1, 0.0]]), "set_duration"),
        (np.zeros((0, 5)), "settings has shape"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InvalidValue, match=message):
        check_settings(settings)
