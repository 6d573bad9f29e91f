"""Where and with what a result was made: versions, machine, date."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from memflux import __version__

PACKAGES = ("numpy", "numba", "petsc4py", "mpi4py", "ray", "torch", "pyarrow", "pymoo", "scipy")


def provenance() -> dict[str, str]:
    """Names and values, JSON-ready; packages that are not installed are left out."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "memflux": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
    }
    for name in PACKAGES:
        try:
            about[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return about


def processor() -> str:
    """The model name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
