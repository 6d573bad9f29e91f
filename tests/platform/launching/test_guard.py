"""Guarded work leaves no process behind, whoever is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A child in the group, a daemon in a session of its own, and an orphan; then it waits for SIGTERM.
SCRIPT = """
import os, signal, subprocess, sys, time
from pathlib import Path
from memflux.platform.launching.guard import guarded

folder = Path(sys.argv[1])
mode = sys.argv[2]

def work(came):
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    subprocess.run(["sh", "-c", "setsid sleep 1000 & exec true"], check=True)
    (folder / "pids").write_text(f"{os.getppid()} {os.getpid()}")
    if mode == "raise":
        raise ValueError("work went wrong")
    while signal.SIGUSR1 not in came:
        time.sleep(0.05)
    return 75

sys.exit(guarded(work, cleanup=lambda: (folder / "clean").touch()))
"""


def sleepers(folder: Path) -> list[int]:
    """Processes named sleep that were started with the folder as their working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(entry.name)] if state != "Z" else []
    return found


@pytest.fixture
def begin(tmp_path):
    """Start guarded work; the shim, and the ids of shim and guardian."""
    started = []

    def start(mode="wait"):
        shim = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), mode], cwd=tmp_path)
        started.append(shim)
        wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().count(" ") == 1)
        return shim, [int(pid) for pid in (tmp_path / "pids").read_text().split()]

    yield start
    for shim in started:
        shim.kill()
        shim.wait()


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_signals_reach_the_work_and_its_code_comes_back(begin, tmp_path):
    shim, (above, guardian) = begin()
    assert above == shim.pid
    assert os.getsid(guardian) == guardian != os.getsid(shim.pid)
    assert len(sleepers(tmp_path)) == 5
    shim.send_signal(signal.SIGTERM)  # the work has no handler for it, and is not ended by it
    shim.send_signal(signal.SIGUSR1)
    assert shim.wait(timeout=20) == 75
    assert sleepers(tmp_path) == []
    assert (tmp_path / "clean").exists()


@pytest.mark.parametrize("victim", [0, 1], ids=["shim", "guardian"])
def test_whoever_is_killed_the_other_one_ends_everything(begin, tmp_path, victim):
    shim, pids = begin()
    os.kill(pids[victim], signal.SIGKILL)
    assert shim.wait(timeout=20) == (-9 if victim == 0 else 137)
    wait_for(lambda: not sleepers(tmp_path))
    assert (tmp_path / "clean").exists()


def test_work_that_raises_is_cleaned_up_after(begin, tmp_path):
    shim, _ = begin("raise")
    assert shim.wait(timeout=20) == 70
    assert sleepers(tmp_path) == []
