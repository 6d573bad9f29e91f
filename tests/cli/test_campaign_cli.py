"""memflux campaign, as people and machines call it."""

import dataclasses
import json
import os
import re
import signal

import pytest
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.dataset import Dataset
from memflux.errors import DataError, InvalidValue, ServiceError
from memflux.folder import Folder
from memflux.shards import list_shards, write_shard


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
    assert (fields["space"], fields["count"], fields["seed"], fields["engine"]) == ("9d", 7, 0, "petsc")
    published = json.loads(call("new", "--preset", "9d", "--design", "sobol", "--engine", "cuda", "--json"))
    assert (published["count"], published["design"], published["shard_size"]) == (20_000, "sobol", 4096)


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
    assert made["core_hours"] == pytest.approx(made["seconds"] / 3600)
    again = json.loads(call("run", file, "--out", out, "--executor", "serial", "--json"))
    assert again["made"] == 0
    told = json.loads(call("status", out, "--json"))
    assert (told["wanted"], told["done"], told["failed"], told["failed_by_class"]) == (40, 40, 0, {})
    assert len(told["content_hash"]) == 64
    assert told["rate"] > 0
    assert told["failures_have_in_common"] == []
    assert (told["shards"], told["engine"]) == (3, "compact")
    assert told["content_hash"][:20] in call("status", out)
    whole = {"wanted": 3, "present": 3, "missing": 0, "damaged": 0, "sentences": []}
    assert json.loads(call("verify", out, "--json")) == whole
    next(out.glob("*.parquet")).unlink()
    assert json.loads(call("verify", out, "--json")) == whole | {"present": 2, "missing": 1}


def test_a_run_ends_with_one_line_of_what_it_cost(file, call, tmp_path):
    told = call("run", file, "--out", tmp_path / "d", "--executor", "serial")
    assert re.fullmatch(
        r"40 devices made \(40 of 40 there\), 0 failed, \S+ core-hours, \S+ devices per core-second\n", told
    )
    assert call("run", file, "--out", tmp_path / "d", "--executor", "serial").startswith(
        "0 devices made (40 of 40 there)"
    )


def test_machines_get_progress_as_json_lines(file, tmp_path):
    words = ["campaign", "run", str(file), "--out", str(tmp_path / "d"), "--executor", "serial", "--json"]
    result = CliRunner().invoke(app, words)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert {line["event"] for line in lines} == {"progress"}
    assert (lines[0]["done"], lines[-1]["done"], lines[-1]["wanted"]) == (0, 40, 40)
    assert len(result.stdout.splitlines()) == 1


def test_rows_are_solved_again_and_compared(file, call, tmp_path):
    out = tmp_path / "d"
    call("run", file, "--out", out, "--executor", "serial")
    told = json.loads(call("verify", out, "--solve", 5, "--json"))
    assert (told["solved_again"], told["identical"], told["worst_deviation"]) == (5, 5, 0.0)
    read = Dataset.open(out)
    folder = Folder.at(out)
    for shard in list_shards(folder):
        rows = read.rows[16 * shard.number : 16 * shard.number + 16]
        folder.remove(shard.name)
        write_shard(folder, shard.number, dataclasses.replace(rows, current=rows.current * 1.001))
    with pytest.raises(DataError, match="5 of 5 rows are not what the solver makes: row"):
        call("verify", out, "--solve", 5, code=1)


def test_unlucky_devices_are_retried_and_no_others(file, call, tmp_path):
    out = tmp_path / "d"
    call("run", file, "--out", out, "--executor", "serial")
    whole = Dataset.open(out).content_hash
    read = Dataset.open(out)
    classes = read.status_class.copy()
    classes[[1, 2, 20]] = ["crashed", "diverged", "node_lost"]
    folder = Folder.at(out)
    for shard in list_shards(folder):
        rows = dataclasses.replace(read.rows, status_class=classes)[16 * shard.number : 16 * shard.number + 16]
        folder.remove(shard.name)
        write_shard(folder, shard.number, rows)
    with pytest.raises(InvalidValue, match="class = 'diverged' would end in the same way again"):
        call("retry", out, "--class", "diverged", code=1)
    with pytest.raises(InvalidValue, match=r"class = 'crashd' is not known; choose one of .* Did you mean 'crashed'"):
        call("retry", out, "--class", "crashd", code=1)
    told = json.loads(call("retry", out, "--class", "crashed", "--executor", "serial", "--json"))
    assert (told["made"], told["done"], told["failed"]) == (1, 40, 0)
    assert json.loads(call("status", out, "--json"))["failed_by_class"] == {"diverged": 1, "node_lost": 1}
    told = json.loads(call("retry", out, "--executor", "serial", "--json"))
    assert told["made"] == 1
    assert json.loads(call("status", out, "--json"))["failed_by_class"] == {"diverged": 1}
    assert list(Dataset.open(out).status_class).count("solved") == 39
    assert Dataset.open(out).content_hash != whole


def test_a_data_set_is_exported(file, call, tmp_path):
    out = tmp_path / "d"
    call("run", file, "--out", out, "--executor", "serial")
    told = json.loads(call("export", out, tmp_path / "d.csv", "--json"))
    assert told["rows"] == 40
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 41
    with pytest.raises(InvalidValue):
        call("export", out, tmp_path / "d.csv", code=1)
    with pytest.raises(InvalidValue, match="is a folder"):
        call("export", out, tmp_path, code=1)


def test_keys_and_names_that_mean_something_to_a_library(file, call, tmp_path):
    odd = tmp_path / "z[/b]"
    call("run", file, "--out", odd, "--executor", "serial")
    assert "z[/b]" in call("status", odd)
    file.write_text(file.read_text() + "self: 1\n")
    with pytest.raises(InvalidValue, match="'self' is not a key of a campaign"):
        call("run", file, "--out", odd, "--executor", "serial", code=1)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(120)
def test_run_on_ray_makes_the_same(file, call, tmp_path):
    call("run", file, "--out", tmp_path / "a", "--executor", "ray", "--workers", 1, "--json")
    call("run", file, "--out", tmp_path / "b", "--executor", "serial", "--json")
    file.write_text(file.read_text().replace("workers: null", "workers: 1"))
    told = json.loads(call("run", file, "--out", tmp_path / "c", "--executor", "ray", "--json"))
    assert told["cores"] == 1
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
        (("run", "FILE", "--out", "OUT", "--executor", "mpi", "--workers", 2), "workers is for --executor ray"),
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


@pytest.mark.parametrize("command", ["new", "check", "run", "retry", "status", "verify", "export"])
def test_every_command_has_help_with_an_example(call, command):
    text = call(command, "--help")
    assert "Example: memflux campaign" in text
    assert "--json" in text
