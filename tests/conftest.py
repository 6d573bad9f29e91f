"""What all tests share. Must not import memflux: the jaxtyping hook of pytest has to come first."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts a job in the background has it ignore SIGINT, and so would everything that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of the published reference data; MEMFLUX_REFERENCE_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("MEMFLUX_REFERENCE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}; set MEMFLUX_REFERENCE_DATA to their folder")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here; run as root")
    yield place
    subprocess.run(["umount", str(place)], check=True)
