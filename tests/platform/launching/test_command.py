"""The line that a cluster runs is made of quoted words."""

import subprocess
from pathlib import Path

import pytest

from memflux.errors import InvalidValue
from memflux.platform.launching.command import absolute, campaign_run, check_file, entrypoint


def test_the_line_holds_nothing_that_a_shell_would_run(tmp_path):
    nasty = "s3://b/$(touch gone)`touch gone`;touch gone'\"&& touch gone"
    program = tmp_path / "my program"
    program.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    program.chmod(0o755)
    line = entrypoint("c $HOME.yaml", nasty, str(program))
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env={"RAY_ADDRESS": "10.0.0.1:6379 x"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == campaign_run("c $HOME.yaml", nasty, "10.0.0.1:6379 x")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("out", ["s3://bucket/c", "memory://c"])
def test_a_url_stays_as_it_is_whether_its_package_is_here_or_not(out):
    assert absolute(out) == out


def test_a_path_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute("data/c") == str(tmp_path / "data" / "c")
    assert absolute("~/c") == str(Path.home() / "c")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [("", "not the name of a folder"), ("a\nb", "not the name of a folder"), ("x9://c", "not known")],
)
def test_what_is_no_folder_is_refused(out, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        absolute(out)


def test_the_campaign_is_looked_at(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("space: 9d\ncuont: 3\n")
    with pytest.raises(InvalidValue, match="count"):
        check_file(file)
