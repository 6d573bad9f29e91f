"""The set-up stops with one sentence that names the cause and the remedy, before it changes anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def set_up(checkout: Path, repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(repository / "scripts" / "setup.sh", checkout / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, checkout)
    command = ["bash", str(checkout / "scripts" / "setup.sh")]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


def old_python(folder: Path) -> str:
    path = folder / "python3.9"
    path.write_text('#!/bin/sh\nif [ "$1" = -V ]; then echo "Python 3.9.2"; else exit 1; fi\n')
    path.chmod(0o700)
    return str(path)


def test_a_python_that_is_not_there(tmp_path: Path, repository: Path) -> None:
    result = set_up(tmp_path / "checkout", repository, PYTHON="/no/such/python")
    assert result.returncode == 1
    assert result.stderr.startswith("set-up stopped: PYTHON=/no/such/python is not a program")
    assert len(result.stderr.splitlines()) == 1


def test_a_python_that_is_too_old(tmp_path: Path, repository: Path) -> None:
    result = set_up(tmp_path / "checkout", repository, PYTHON=old_python(tmp_path))
    assert result.returncode == 1
    assert "is Python 3.9.2; memflux needs Python 3.11 or newer." in result.stderr
    assert not (tmp_path / "checkout" / ".venv" / "bin").exists()


def test_a_checkout_whose_path_has_a_space(tmp_path: Path, repository: Path) -> None:
    result = set_up(tmp_path / "my checkout", repository)
    assert result.returncode == 1
    assert "has a space" in result.stderr


@pytest.mark.parametrize("name", ["setup", "demo", "test", "test-slow", "lint", "types", "clean"])
def test_make_help_names_each_target(name: str, repository: Path) -> None:
    shown = subprocess.run(["make", "--no-print-directory"], cwd=repository, capture_output=True, text=True, check=True)
    assert f"make {name} " in shown.stdout
