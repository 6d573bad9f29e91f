"""`memflux doctor` names what is missing, survives it, and its self-test works."""

import importlib.metadata
import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from memflux.cli import doctor, selftest
from memflux.cli.main import app

GOOD = [{"name": "vocabulary", "ok": True, "seconds": 0.1, "detail": "fine"}]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No self-test, no question to MPI or CUDA: only what is looked up."""
    monkeypatch.setattr(doctor, "run_self_test", lambda: GOOD)
    monkeypatch.setattr(doctor, "mpi_library", lambda: None)
    monkeypatch.setattr(doctor, "cuda", lambda: None)


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, package=None: None if name in names else find(name, package)
    )


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.mark.usefixtures("quick")
def test_missing_optional_packages_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "ray", "petsc4py", "torch", "pymoo", "matplotlib", "mpi4py", "sklearn", "h5netcdf")
    code, text = invoke("--json")
    report = json.loads(text)
    rows = {row["name"]: row for row in report["packages"]}
    assert code == 0
    assert report["ok"] is True
    for name in (
        "ray",
        "petsc4py",
        "torch",
        "pymoo",
        "matplotlib",
        "mpi4py",
        "sklearn",
        "h5netcdf",
        "MPI",
        "CUDA",
    ):
        assert rows[name]["version"] is None
        assert rows[name]["remedy"]
    assert "memflux[cluster]" in rows["ray"]["remedy"]
    assert "make setup" in rows["petsc4py"]["remedy"]
    assert rows["numpy"]["version"]
    assert rows["numpy"]["remedy"] == ""


@pytest.mark.usefixtures("quick")
def test_the_table_for_people_says_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "ray")
    code, text = invoke()
    assert code == 0
    line = next(line for line in text.splitlines() if " ray " in line)
    assert "missing" in line
    assert "memflux[cluster]" in line
    assert "works vocabulary" in text


@pytest.mark.usefixtures("quick")
def test_a_missing_required_package_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "numba")
    code, text = invoke("--json")
    assert code == 1
    assert json.loads(text)["ok"] is False


@pytest.mark.usefixtures("quick")
def test_a_failed_self_test_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "run_self_test", lambda: [GOOD[0] | {"ok": False, "detail": "broken [/] pipe"}])
    code, text = invoke()
    assert code == 1
    assert "fails vocabulary" in text
    assert "broken [/] pipe" in text


def test_a_package_without_metadata_is_present_with_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert doctor.installed_version(doctor.Package(module="numpy", purpose="", remedy="")) == "unknown"


def test_a_package_that_breaks_the_lookup_is_missing() -> None:
    assert doctor.installed_version(doctor.Package(module="no_such_package", purpose="", remedy="")) is None
    assert doctor.installed_version(doctor.Package(module="no_such_package.sub", purpose="", remedy="")) is None


def test_mpi_that_crashes_or_hangs_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MPI_QUESTION", "import os; os.abort()")
    assert doctor.mpi_library() is None

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 30)

    monkeypatch.setattr(subprocess, "run", hang)
    assert doctor.mpi_library() is None


def test_cuda_of_a_broken_torch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert doctor.cuda() is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [("1048576\n", 1048576), ("max\n", None), (None, None), ("9" * 18, None)],
    ids=["limit", "no limit", "no file", "limit above the machine"],
)
def test_the_memory_limit_is_that_of_the_control_group_where_less(
    written: str | None, expected: int | None, tmp_path: Path
) -> None:
    machine = doctor.memory_limit(tmp_path)
    if written is not None:
        (tmp_path / "memory.max").write_text(written)
    assert doctor.memory_limit(tmp_path) == (machine if expected is None else expected)


def test_the_self_test_in_its_own_process_passes() -> None:
    checks = {check["name"]: check for check in doctor.run_self_test()}
    assert set(checks) == {"vocabulary", "solver"}
    assert all(check["ok"] for check in checks.values()), checks
    assert "Ex107 with engine" in str(checks["solver"]["detail"])


def test_a_self_test_that_crashes_or_hangs_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\necho 'Abort(1): no MPI' >&2\nkill -ABRT $$\n")
    crashing.chmod(0o700)
    monkeypatch.setattr(doctor.sys, "executable", str(crashing))
    (check,) = doctor.run_self_test()
    assert check["ok"] is False
    assert "no MPI" in str(check["detail"])
    crashing.write_text("#!/bin/sh\nexec sleep 30\n")
    (check,) = doctor.run_self_test(limit=0.5)
    assert check["ok"] is False
    assert "no answer" in str(check["detail"])


def test_a_check_that_fails_is_reported_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> str:
        raise ArithmeticError("the current has the wrong sign")

    monkeypatch.setattr(selftest, "check_solver", failing)
    rows = {row["name"]: row for row in selftest.run_checks()}
    assert rows["vocabulary"]["ok"] is True
    assert rows["solver"]["ok"] is False
    assert "wrong sign" in str(rows["solver"]["detail"])
