"""One task of a job, as srun starts it; no process outlives it, however it ends.

srun --ntasks-per-node=1 python -m memflux.platform.launching.node --run RUN --cpus 8 c.yaml DIR
"""

import argparse
import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path

from memflux.platform.launching.guard import guarded

# The folders of an embedded Ray are called so, too: whoever starts one removes those without an owner.
FOLDER = "memflux-ray-"


def main() -> None:
    """Do the work under guard; the process ends with its exit code."""
    words = _read_arguments()
    folder = _private_folder()
    sys.exit(
        guarded(
            lambda signals: _work(words, folder, signals), cleanup=lambda: shutil.rmtree(folder, ignore_errors=True)
        )
    )


def _work(words: argparse.Namespace, folder: Path, signals: list[int]) -> int:
    # Not before the fork: Ray brings gRPC, which does not survive one.
    from memflux.platform.launching.task import Task, work

    task = Task(
        rank=words.rank, tasks=words.tasks, cpus=words.cpus, run=words.run, file=words.file, out=words.out,
        patience_s=words.patience,
    )  # fmt: skip
    # Ray opens its folder to everybody; this one's parent is its owner's alone.
    return work(task, folder / "r", signals)


def _private_folder() -> Path:
    """A folder with a short path (socket paths are limited to 107 bytes), locked while this process lives."""
    parent = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=parent))
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # closed by the end of the process
    return folder


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="campaign file")
    parser.add_argument("out", help="folder or URL to fill")
    parser.add_argument("--run", type=Path, required=True, help="folder that all tasks see, with a token")
    parser.add_argument("--cpus", type=int, required=True, help="cores of this machine")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for the other tasks")
    parser.add_argument("--rank", type=int, default=os.environ.get("SLURM_PROCID", "0"))
    parser.add_argument("--tasks", type=int, default=os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
