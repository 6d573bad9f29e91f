"""The environment of processes that solve: one thread each, and nothing that a launcher of MPI left behind."""

import os
from collections.abc import Mapping

# One thread a solve: BLAS reads these when it loads, and Ray itself sets only the first.
# PYTHONSAFEPATH keeps the folder of a script off the workers' path, where a folder named
# `platform` would hide the standard library's module.
WORKER_ENVIRONMENT: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",
}
# Some MPIs abort when a single process initialises them and finds these: it is none of the launcher's ranks.
MPI_LAUNCHER = ("PMI_", "PMI2_", "PMIX_", "OMPI_", "PRTE_", "HYDI_", "HYDRA_", "MPI_LOCAL", "SLURM_STEP", "SLURM_PMI")


def scrub_launcher_environment() -> None:
    """Take away what an MPI launcher or a Slurm step left in this process's environment."""
    for name in [n for n in os.environ if n.startswith(MPI_LAUNCHER)]:
        del os.environ[name]
