"""`memflux calibrate` on data of the compact model: bands kept beside a surrogate, and what it refuses."""

import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from memflux.cli import calibrate as commands
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue
from memflux.space import Space
from memflux.stand_in import StandIn
from memflux.training.loop import fit
from memflux.training.schedule import Schedule
from memflux.training.surrogate import Surrogate

SPACE = Space.preset("5d-parametric")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("calibrate")
    for name, count, seed in (("trained", 80, 0), ("fresh", 120, 1), ("few", 20, 2)):
        devices, drive = SPACE.sample(count, seed=seed)
        traces = StandIn(samples=16)(devices, drive)
        Dataset.write(root / name, devices=devices, drive=drive, traces=traces, space=SPACE)
    data = Dataset.open(root / "trained")
    fit(
        data.devices, data.drive, data.traces, SPACE, schedule=Schedule(epochs=20), dataset_hash=data.content_hash
    ).save(root / "model")
    return root


def run(*words):
    app = Typer()
    commands.register(app)
    return CliRunner().invoke(app, [str(w) for w in words])


def test_bands_are_kept_and_hold(folders):
    result = run(folders / "model", folders / "fresh", "--out", folders / "banded", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["quantiles_from"] == 60
    surrogate = Surrogate.load(folders / "banded")
    devices, drive = SPACE.sample(200, seed=3)
    truth = StandIn(samples=16)(devices, drive).current
    low, high = surrogate.band(devices, drive)
    assert 0.88 < ((low <= truth) & (truth <= high)).mean() <= 1.0
    low, high = surrogate.band(devices, drive, "curve")
    assert 0.85 < ((low <= truth) & (truth <= high)).all(axis=1).mean() <= 1.0


def test_outside_the_space_there_is_no_band(folders):
    surrogate = Surrogate.load(folders / "model").calibrated(
        *SPACE.sample(120, seed=1), StandIn(samples=16)(*SPACE.sample(120, seed=1))
    )
    devices, drive = SPACE.sample(2, seed=3)
    devices = devices.replace(mobility_electron=devices.mobility_electron * [1.0, 1e3])
    low, high = surrogate.band(devices, drive)
    assert (low[0] < high[0]).all()
    assert not surrogate(devices, drive).inside[1]
    assert (low[1] != low[1]).all()
    assert (high[1] != high[1]).all()


def test_what_is_refused(folders):
    words = (folders / "model", folders / "trained", "--out", folders / "out")
    with pytest.raises(InvalidValue, match="is a data set that"):
        raise run(*words).exception
    words = (folders / "model", folders / "few", "--out", folders / "out")
    with pytest.raises(InvalidValue, match="20 of the 20 devices are solved; give at least 80"):
        raise run(*words).exception
    devices, drive = Space.preset("9d").sample(120, seed=0)
    Dataset.write(folders / "other", devices=devices, drive=drive, traces=StandIn(samples=16)(devices, drive))
    words = (folders / "model", folders / "other", "--out", folders / "out")
    with pytest.raises(InvalidValue, match="120 of the 120 devices lie outside the training space"):
        raise run(*words).exception
    assert not (folders / "out").exists()
    with pytest.raises(InvalidValue, match="has no bands; calibrate it"):
        Surrogate.load(folders / "model").band(*SPACE.sample(1, seed=0))


def test_damaged_bands_are_named(folders, tmp_path):
    data = Dataset.open(folders / "fresh")
    surrogate = Surrogate.load(folders / "model").calibrated(data.devices, data.drive, data.traces)
    surrogate.save(tmp_path / "s")
    fields = json.loads((tmp_path / "s" / "bands.json").read_text())
    for content, reason in (("{", "is not JSON"), ("[]", "no JSON object"), (json.dumps({**fields, "x": 1}), "'x'")):
        (tmp_path / "s" / "bands.json").write_text(content)
        with pytest.raises(DataError, match=reason):
            Surrogate.load(tmp_path / "s")
    (tmp_path / "s" / "bands.json").unlink()
    assert Surrogate.load(tmp_path / "s").bands is None
