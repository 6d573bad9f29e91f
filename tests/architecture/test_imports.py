"""The layering holds, its lint catches what breaks it, and importing stays light."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

SUBPACKAGES = ("platform", "solvers", "training", "analysis")
HEAVY = (
    "torch", "ray", "petsc4py", "mpi4py", "SALib", "pymoo", "optuna", "matplotlib", "pandas", "scipy", "numba",
)  # fmt: skip
OPTIONAL = ("ray", "torch", "safetensors", "petsc4py", "mpi4py", "SALib", "pymoo", "scipy", "matplotlib", "httpx")

# Imports each name given as an argument, in one interpreter; ImportErrors of absent optional packages are passed over.
IMPORT_EACH = """
import importlib, sys
optional = set(sys.argv[1].split(","))
bad = []
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in optional:
            bad.append(f"{name}: {error!r}")
    except Exception as error:
        bad.append(f"{name}: {error!r}")
print("\\n".join(bad))
"""

# The same with some packages made impossible to find. A finder, and no None in sys.modules: SciPy looks
# for torch there and takes what it finds for the module.
BLOCKED = (
    """
import sys
blocked = set(sys.argv.pop(1).split(","))
class Blocking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocking())
"""
    + IMPORT_EACH
)


def run_python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd, check=False
    )


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """lint-imports on the package in folder/src, whatever memflux the environment holds."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder / 'src')!r}); "
        "from importlinter.cli import lint_imports_command; "
        "lint_imports_command(['--no-cache', '--no-logo'])"
    )
    return run_python(code, cwd=folder)


def module_names(repository: Path, below: str = "") -> list[str]:
    source = repository / "src"
    names = (
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((source / "memflux" / below).rglob("*.py"))
        if path.name != "__main__.py"
    )
    return list(names)


def test_the_contracts_are_kept(repository: Path) -> None:
    result = lint_imports(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


class Planted(NamedTuple):
    """One import that must not be, and the name of the contract that must say so."""

    file: str
    line: str
    contract: str


PLANTED = {
    "sibling": Planted("training/planted.py", "import memflux.solvers.planted_too", "Layers"),
    "other sibling": Planted("analysis/planted.py", "from memflux.training import planted_too", "Layers"),
    "upward": Planted("solvers/planted.py", "import memflux.platform.planted_too", "Layers"),
    "upward inside a function": Planted("analysis/planted.py", "def f():\n    import memflux.cli.main", "Layers"),
    "errors import device": Planted("errors.py", "from memflux.device import Device", "Layers"),
    "waveform imports traces": Planted("waveform.py", "import memflux.traces", "Layers"),
    "a module in no layer": Planted("helpers.py", "", "Layers"),
    "scipy in the vocabulary": Planted("space.py", "import scipy.stats", "Vocabulary"),
    "ray in analysis": Planted("analysis/planted.py", "import ray", "Ray"),
    "ray in the command line": Planted("cli/planted.py", "from ray import serve", "Ray"),
    "torch in analysis": Planted("analysis/planted.py", "def f():\n    import torch", "torch"),
    "torch in platform": Planted("platform/planted.py", "import torch", "torch"),
    "petsc4py in training": Planted("training/planted.py", "import petsc4py", "PETSc"),
    "petsc4py in another solver file": Planted("solvers/planted.py", "from petsc4py import PETSc", "PETSc"),
    "mpi4py in platform": Planted("platform/planted.py", "from mpi4py import MPI", "PETSc"),
    "SALib in platform": Planted("platform/planted.py", "import SALib.sample", "SALib"),
    "pymoo in training": Planted("training/planted.py", "import pymoo", "SALib"),
    "torch in solvers": Planted("solvers/planted.py", "import torch", "Solvers work without"),
    "ray in training": Planted("training/planted.py", "import ray", "Training works without"),
    "petsc4py in analysis": Planted("analysis/planted.py", "import petsc4py", "Analysis works without"),
}  # fmt: skip


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A copy of the sources and contracts, with one innocent module in each sub-package."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(repository / "pyproject.toml", folder)
    shutil.copytree(repository / "src" / "memflux", folder / "src" / "memflux")
    for name in SUBPACKAGES:
        (folder / "src" / "memflux" / name / "planted_too.py").write_text('"""Nothing."""\n')
    return folder


def test_the_copy_itself_is_clean(copied: Path) -> None:
    result = lint_imports(copied)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_caught(case: str, copied: Path) -> None:
    planted = PLANTED[case]
    path = copied / "src" / "memflux" / planted.file
    before = path.read_text() if path.exists() else None
    path.write_text((before or '"""Planted."""\n') + f"\n{planted.line}\n")
    try:
        result = lint_imports(copied)
    finally:
        path.unlink() if before is None else path.write_text(before)
    assert result.returncode != 0, result.stdout
    broken = [line for line in result.stdout.splitlines() if line.rstrip().endswith("BROKEN") or " BROKEN " in line]
    assert any(line.startswith(planted.contract) for line in broken), result.stdout


@pytest.mark.parametrize("below", ["", *SUBPACKAGES, "cli"])
def test_every_module_imports_in_a_fresh_interpreter(below: str, repository: Path) -> None:
    names = module_names(repository, below)
    if not below:
        names = [name for name in names if name.count(".") < 2]
    absent = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    result = run_python(IMPORT_EACH, ",".join(absent), *names)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, memflux; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_help_of_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys; from memflux.cli.main import app; from typer.testing import CliRunner; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0, result.output; "
        "print([m for m in ('torch', 'ray', 'petsc4py', 'mpi4py', 'SALib', 'pymoo', 'matplotlib') if m in sys.modules])"
    )
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize(
    ("below", "blocked"),
    [
        ("training", "ray,petsc4py,mpi4py,SALib,pymoo"),
        ("analysis", "ray,petsc4py,mpi4py,torch"),
        ("solvers", "ray,petsc4py,mpi4py,torch,SALib,pymoo"),
    ],
)
def test_sub_packages_do_without_the_others_packages(below: str, blocked: str, repository: Path) -> None:
    own = {"training": "torch", "analysis": "scipy", "solvers": "numba"}[below]
    if importlib.util.find_spec(own) is None:
        pytest.skip(f"{own} is not installed")
    result = run_python(BLOCKED, blocked, "none", *module_names(repository, below))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_the_four_sub_packages_exist_and_their_init_is_a_docstring(name: str, repository: Path) -> None:
    assert importlib.util.find_spec(f"memflux.{name}") is not None
    body = ast.parse((repository / "src" / "memflux" / name / "__init__.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr]


def test_platform_at_the_root_is_the_standard_library(repository: Path) -> None:
    result = run_python("import platform, uuid; print(platform.__file__, platform.system())", cwd=repository)
    assert result.returncode == 0, result.stderr
    assert str(repository / "src") not in result.stdout
    assert not (repository / "platform").exists()


class TestShapesAreExecuted:
    """The flag of jaxtyping is on: annotations of arrays are checked under pytest."""

    def trace(self, **changes: object) -> object:
        from memflux.traces import Trace

        fields: dict[str, object] = {"time": np.zeros(3), "voltage": np.zeros(3), "current": np.zeros(3)}
        return Trace(**(fields | changes), period=1.0, cycles=1)  # type: ignore[arg-type]

    def test_a_good_trace_passes(self) -> None:
        assert len(self.trace()) == 3  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "current",
        [np.zeros(4), np.zeros(3, dtype=np.int64), np.zeros((3, 1)), [0.0, 0.0, 0.0]],
        ids=["length", "dtype", "rank", "list"],
    )
    def test_a_malformed_trace_is_rejected(self, current: object) -> None:
        from jaxtyping import TypeCheckError

        with pytest.raises(TypeCheckError):
            self.trace(current=current)
