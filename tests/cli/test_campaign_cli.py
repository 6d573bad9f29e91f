"""memflux campaign, as people and machines call it."""

import json
import os
import signal

import pytest
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.errors import DataError, InvalidValue, ServiceError


@pytest.fixture
def call():
    """Run a command; its standard output, and the exception it ended with."""

    def invoke(*words, code=0):
        result = CliRunner().invoke(app, ["campaign", *map(str, words)])
        assert result.exit_code == code, result.output
        if code and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return invoke


@pytest.fixture
def file(call, tmp_path):
    """A small compact campaign."""
    path = tmp_path / "c.yaml"
    path.write_text(call("new", "--preset", "5d-parametric", "--count", 40, "--seed", 5, "--engine", "compact"))
    return path


def test_new_writes_a_commented_file(file, call):
    assert "count: 40 " in file.read_text()
    assert "# " in file.read_text()
    fields = json.loads(call("new", "--preset", "9d", "--count", 7, "--json"))
    assert (fields["space"], fields["count"], fields["seed"], fields["engine"]) == ("9d", 7, 0, "auto")


def test_check_says_what_it_will_cost(file, call):
    cost = json.loads(call("check", file, "--probe", 2, "--json"))
    assert (cost["devices"], cost["shards"], cost["samples_per_curve"]) == (40, 3, 321)
    assert cost["disk_mb"] > 0
    assert cost["core_hours"] > 0
    assert len(cost["first_devices"]) == 10
    assert "barrier_left" in call("check", file, "--probe", 0)


def test_run_status_verify(file, call, tmp_path):
    out = tmp_path / "d"
    made = json.loads(call("run", file, "--out", out, "--executor", "serial", "--json"))
    assert (made["done"], made["made"], made["failed"], made["stopped"]) == (40, 40, 0, False)
    again = json.loads(call("run", file, "--out", out, "--executor", "serial", "--json"))
    assert again["made"] == 0
    told = json.loads(call("status", out, "--json"))
    assert (told["wanted"], told["done"], told["failed"], told["failed_by_class"]) == (40, 40, 0, {})
    assert len(told["content_hash"]) == 64
    assert told["rate"] > 0
    assert told["content_hash"][:20] in call("status", out)
    whole = {"wanted": 3, "present": 3, "missing": 0, "damaged": 0, "sentences": []}
    assert json.loads(call("verify", out, "--json")) == whole
    next(out.glob("*.parquet")).unlink()
    assert json.loads(call("verify", out, "--json")) == whole | {"present": 2, "missing": 1}


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_run_on_ray_makes_the_same(file, call, tmp_path):
    call("run", file, "--out", tmp_path / "a", "--executor", "ray", "--workers", 1, "--json")
    call("run", file, "--out", tmp_path / "b", "--executor", "serial", "--json")
    a, b = (json.loads(call("status", tmp_path / name, "--json")) for name in "ab")
    assert a["content_hash"] == b["content_hash"]


def test_verify_names_the_damaged_shard(file, call, tmp_path):
    call("run", file, "--out", tmp_path / "d", "--executor", "serial")
    shard = sorted((tmp_path / "d").glob("*.parquet"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="1 of 3 shards"):
        call("verify", tmp_path / "d", code=1)
    with pytest.raises(DataError, match=shard.name):
        call("status", tmp_path / "d", code=1)
    again = json.loads(call("run", file, "--out", tmp_path / "d", "--executor", "serial", "--json"))
    assert (again["damaged"], again["made"], again["done"]) == (1, 16, 40)
    call("verify", tmp_path / "d")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--executor", "rai"), InvalidValue),
        (("--address", "auto"), InvalidValue),
        (("--address", "127.0.0.1:1"), ServiceError),
    ],
)
def test_a_run_that_cannot_begin_leaves_nothing(file, tmp_path, options, error):
    result = CliRunner().invoke(app, ["campaign", "run", str(file), "--out", str(tmp_path / "d"), *options])
    assert isinstance(result.exception, error)
    assert "curves" not in result.stderr
    assert not (tmp_path / "d").exists()


def test_an_interrupted_run_says_what_it_waits_for(file, tmp_path, monkeypatch):
    from memflux.platform.campaigns.shard_work import Job

    made = Job.make

    def make(self, predictor, number):
        os.kill(os.getpid(), signal.SIGINT)
        return made(self, predictor, number)

    monkeypatch.setattr(Job, "make", make)
    result = CliRunner().invoke(
        app, ["campaign", "run", str(file), "--out", str(tmp_path / "d"), "--executor", "serial"]
    )
    assert result.exit_code == 75
    assert "stopping: shards in flight are finished; interrupt again to drop them" in result.stderr
    assert "stopped at 16 of 40 curves" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "FILE", "--out", "OUT", "--executor", "rai"), "executor = 'rai' is not known"),
        (("run", "FILE", "--out", "OUT", "--executor", "serial", "--address", "x:1"), "address is for --executor ray"),
        (("run", "none.yaml", "--out", "OUT"), "cannot be read"),
        (("new", "--preset", "5dparametric", "--count", 3), "Did you mean '5d-parametric'"),
    ],
)
def test_mistakes_are_sentences(file, call, tmp_path, words, sentence):
    places = {"FILE": file, "OUT": tmp_path / "d"}
    with pytest.raises(InvalidValue, match=sentence):
        call(*(places.get(word, word) for word in words), code=1)


def test_a_folder_that_is_no_data_set(call, tmp_path):
    with pytest.raises(DataError, match=r"no manifest\.json"):
        call("status", tmp_path, code=1)


@pytest.mark.parametrize("command", ["new", "check", "run", "status", "verify"])
def test_every_command_has_help_with_an_example(call, command):
    text = call(command, "--help")
    assert "Example: memflux campaign" in text
    assert "--json" in text
