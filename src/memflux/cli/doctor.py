"""`memflux doctor`: what is installed, how to get what is missing, and whether it works."""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memflux import __version__
from memflux.cli.output import Json, console, emit

SELF_TEST_LIMIT = 240.0  # s; takes a few, up to two minutes where kernels are compiled for the first time
MPI_QUESTION = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One package that memflux uses: what for, and how to get it."""

    module: str  # import name
    purpose: str
    remedy: str
    distribution: str | None = None  # name on the index where it differs from the module's
    required: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the report."""

    name: str
    version: str | None  # None: missing
    purpose: str
    remedy: str = ""  # what to do, where something is to be done
    required: bool = False


def _extra(name: str) -> str:
    return f"make setup, or pip install 'memflux[{name}]'"


CORE = "pip install memflux"
PACKAGES = (
    Package(module="numpy", purpose="arrays", remedy=CORE, required=True),
    Package(module="numba", purpose="compiled kernels", remedy=CORE, required=True),
    Package(module="pyarrow", purpose="data sets", remedy=CORE, required=True),
    Package(
        module="petsc4py",
        purpose="solver engine 'petsc'",
        remedy="make setup builds it (ten minutes), or set PETSC_DIR and pip install petsc4py",
    ),
    Package(module="mpi4py", purpose="campaigns over MPI", remedy=_extra("petsc")),
    Package(module="ray", purpose="campaigns and endpoints", remedy=_extra("cluster")),
    Package(
        module="sklearn",
        distribution="scikit-learn",
        purpose="what failures have in common",
        remedy=_extra("cluster"),
    ),
    Package(module="h5netcdf", purpose="exports to NetCDF and HDF5", remedy=_extra("export")),
    Package(module="torch", purpose="surrogates", remedy=_extra("training")),
    Package(module="optuna", purpose="studies of hyperparameters", remedy=_extra("tune")),
    Package(module="onnxruntime", purpose="surrogates as ONNX files", remedy=_extra("onnx")),
    Package(module="pymoo", purpose="Pareto fronts", remedy=_extra("analysis")),
    Package(module="emcee", purpose="posterior samples", remedy=_extra("analysis")),
    Package(module="matplotlib", purpose="figures", remedy=_extra("report")),
)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("doctor")(doctor)


def doctor(as_json: Json = False) -> None:
    """Say what is installed, how to get what is missing, and run a self-test of a few seconds.

    Exit code 0 where the core works, 1 otherwise; a missing optional package is no failure.

    Example: memflux doctor --json
    """
    rows = inspect()
    with console.status("self-test", spinner="dots"):
        tests = run_self_test()
    machine = {"cpus": cpu_count(), "memory": memory_limit()}
    ok = all(row.version is not None for row in rows if row.required) and all(test["ok"] for test in tests)
    if as_json:
        packages = [dataclasses.asdict(row) for row in rows]
        emit({"ok": ok, "engine": engine(), **machine, "packages": packages, "self_test": tests}, as_json)
    else:
        show(rows, tests, machine)
    if not ok:
        raise typer.Exit(1)


def inspect() -> list[Row]:
    """A row for Python, each package, BLAS, MPI and CUDA; looks, and imports nothing that could hurt."""
    rows = [
        Row(name="memflux", version=__version__, purpose="this", required=True),
        Row(name="Python", version=platform.python_version(), purpose="", required=True),
    ]
    for package in PACKAGES:
        row = Row(
            name=package.module,
            version=installed_version(package),
            purpose=package.purpose,
            remedy=package.remedy,
            required=package.required,
        )
        rows.append(row if row.version is None else dataclasses.replace(row, remedy=""))
    present = {row.name for row in rows if row.version is not None}
    rows.append(Row(name="BLAS", version=blas(), purpose="NumPy's linear algebra", remedy=""))
    rows.append(_library("MPI", mpi_library() if "mpi4py" in present else None, _mpi_remedy("mpi4py" in present)))
    rows.append(_library("CUDA", cuda() if "torch" in present else None, _cuda_remedy("torch" in present)))
    return rows


def _library(name: str, version: str | None, remedy: str) -> Row:
    purpose = {"MPI": "library behind mpi4py", "CUDA": "GPU of torch"}[name]
    return Row(name=name, version=version, purpose=purpose, remedy="" if version else remedy)


def _mpi_remedy(present: bool) -> str:
    return "apt-get install mpich, or pip install mpich" if present else _extra("petsc")


def _cuda_remedy(present: bool) -> str:
    return (
        "needs an NVIDIA GPU, its driver and a CUDA build of torch; everything runs without"
        if present
        else _extra("training")
    )


def installed_version(package: Package) -> str | None:
    """The version of a package, "unknown" where only its metadata is absent, None where it is missing."""
    try:
        found = importlib.util.find_spec(package.module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        return None
    try:
        return importlib.metadata.version(package.distribution or package.module)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def blas() -> str:
    """The BLAS that NumPy was built with."""
    built = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()


def mpi_library() -> str | None:
    """First line of the MPI library's own description; asked in a process of its own, without MPI_Init."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", MPI_QUESTION], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.split("\n")
    return " ".join(lines[0].replace("\t", " ").split()) or None


def cuda() -> str | None:
    """CUDA version and GPU that torch sees, or None."""
    try:
        torch = importlib.import_module("torch")
        if not torch.cuda.is_available():
            return None
        return f"{torch.version.cuda}, {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    except (ImportError, OSError, RuntimeError, AttributeError):
        return None


def engine() -> str:
    """The solver engine that `engine="auto"` chooses here."""
    try:
        return str(importlib.import_module("memflux.solvers.solver").Solver().engine)
    except ImportError:
        return "none"


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_limit(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use: the machine's, or the control group's where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (groups / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def run_self_test(limit: float = SELF_TEST_LIMIT) -> list[dict[str, object]]:
    """The checks of `memflux.cli.selftest` in a process of its own; a crash or a hang is a failed check."""
    command = [sys.executable, "-P", "-m", "memflux.cli.selftest"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return [{"name": "self-test", "ok": False, "seconds": limit, "detail": f"no answer in {limit:g} s"}]
    except OSError as error:
        return [{"name": "self-test", "ok": False, "seconds": 0.0, "detail": str(error)}]
    try:
        checks: list[dict[str, object]] = json.loads(answer.stdout.strip().split("\n")[-1])
    except ValueError:
        last = (answer.stderr.strip() or answer.stdout.strip() or "no output").split("\n")[-1]
        detail = f"the process ended with code {answer.returncode}: {last}"
        return [{"name": "self-test", "ok": False, "seconds": 0.0, "detail": detail}]
    return checks


def show(rows: list[Row], tests: list[dict[str, object]], machine: dict[str, int]) -> None:
    """The report for people, on standard output."""
    table = Table(title="memflux doctor", title_justify="left")
    for heading in ("", "version", "for", "to get it"):
        table.add_column(heading)
    for row in rows:
        version = Text(row.version or "missing", style="" if row.version else "bold red" if row.required else "yellow")
        table.add_row(row.name, version, row.purpose, Text(row.remedy))  # its brackets are no markup
    out = Console()
    out.print(table)
    out.print(f"solver engine: {engine()}   CPUs: {machine['cpus']}   memory: {machine['memory'] / 2**30:.1f} GiB")
    for test in tests:
        mark = "[green]works[/]" if test["ok"] else "[bold red]fails[/]"
        out.print(mark, f"{test['name']} ({test['seconds']} s):", Text(str(test["detail"])), soft_wrap=True)
