"""memflux cluster and memflux submit, as people and machines call them."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from memflux.cli.main import app
from memflux.errors import InvalidValue, MissingDependency, ServiceError


@pytest.fixture
def file(tmp_path):
    """A small compact campaign."""
    path = tmp_path / "c.yaml"
    path.write_text("space: 5d-parametric\ncount: 40\nengine: compact\n")
    return path


@pytest.fixture
def call():
    """Run a command; its standard output, and the exception it ended with."""

    def invoke(*words, code=0):
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == code, result.output
        if code and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return invoke


def test_a_slurm_job_is_written_beside_the_data_set(file, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("cluster", "slurm", file, "--out", "data", "--nodes", 2, "--time", "01:00:00", "--no-submit")
    told = json.loads(call(*words, "--json"))
    folder = tmp_path / "data.slurm"
    assert told == {"script": f"{folder}/job.sh", "folder": str(folder), "out": f"{tmp_path}/data", "job": None}
    assert "#SBATCH --nodes=2" in (folder / "job.sh").read_text()
    assert not (tmp_path / "data").exists()
    assert "script" in call(*words)


def test_the_script_and_its_folder_may_be_elsewhere(file, call, tmp_path):
    script, folder = tmp_path / "here.sh", tmp_path / "shared"
    words = ("--out", "s3://bucket/a/c", "--nodes", 1, "--time", "1-00:00:00", "--no-submit", "--json")
    told = json.loads(call("cluster", "slurm", file, *words, "--script", script, "--folder", folder))
    assert (told["script"], told["folder"], told["out"]) == (str(script), str(folder), "s3://bucket/a/c")
    assert str(folder) in script.read_text()


def test_a_manifest_goes_to_standard_output_or_a_file(file, call, tmp_path):
    words = ("cluster", "kubernetes", file, "--out", "s3://b/c", "--image", "x:1", "--workers", 2, "--cpus", 4)
    text = call(*words)
    assert [document["kind"] for document in yaml.safe_load_all(text)] == ["ConfigMap", "RayJob"]
    told = json.loads(call(*words, "--json"))
    assert told["manifest"] == text
    assert told["entrypoint"] in text
    assert call(*words, "--file", tmp_path / "job.yaml") == ""
    assert (tmp_path / "job.yaml").read_text() == text


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("cluster", "slurm", "FILE", "--out", "d", "--nodes", 0, "--time", "01:00:00"), InvalidValue, "nodes = 0"),
        (("cluster", "slurm", "FILE", "--out", "d", "--nodes", 1, "--time", "1h"), InvalidValue, "give HH:MM:SS"),
        (("cluster", "slurm", "none.yaml", "--out", "d", "--nodes", 1, "--time", "01:00:00"), InvalidValue, "be read"),
        (
            ("cluster", "slurm", "FILE", "--out", "d", "--nodes", 1, "--time", "01:00:00"),
            MissingDependency,
            "no sbatch",
        ),
        (
            ("cluster", "kubernetes", "FILE", "--out", "d", "--image", "x", "--workers", 1, "--cpus", 1),
            InvalidValue,
            "URL",
        ),
        (("submit", "FILE", "--address", "auto", "--out", "d"), InvalidValue, "may be anyone's Ray"),
        (("submit", "FILE", "--address", "head:8265", "--out", "d"), InvalidValue, "give one as http://head:8265"),
        (("submit", "FILE", "--address", "http://127.0.0.1:1", "--out", "d"), ServiceError, "is its dashboard running"),
        (("submit", "none.yaml", "--address", "http://127.0.0.1:1", "--out", "d"), InvalidValue, "cannot be read"),
        (("submit", "FILE", "--address", "http://a:1", "--out", "d", "--stop", "--detach"), InvalidValue, "exclude"),
    ],
)
def test_mistakes_are_sentences(file, call, tmp_path, monkeypatch, words, error, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(error, match=sentence):
        call(*(file if word == "FILE" else word for word in words), code=1)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("command", [("submit",), ("cluster", "slurm"), ("cluster", "kubernetes")])
def test_every_command_has_help_with_an_example(call, command):
    text = call(*command, "--help")
    assert f"Example: memflux {' '.join(command)}" in text
    assert "--json" in text
