"""The lock of a folder: one living holder, and no dead one."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from memflux.errors import DataError
from memflux.folder import Folder
from memflux.platform.lock import LOCK, SILENT_S, hold

HOLDER = """
import sys, time
from memflux.folder import Folder
from memflux.platform.lock import hold
with hold(Folder.at(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    return Folder.at(tmp_path)


def test_the_lock_is_free_again_afterwards(folder):
    for _ in range(2):
        with hold(folder):
            assert folder.exists(LOCK)
        assert folder.names() == []


def test_a_second_holder_is_refused_by_name(folder):
    with hold(folder), pytest.raises(DataError, match=f"filled by process {os.getpid()} on"), hold(folder):
        pytest.fail("held twice")


def test_a_killed_holder_holds_nothing(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder.root], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DataError, match=f"process {process.pid} on"), hold(folder):
            pytest.fail("held twice")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert folder.exists(LOCK)
    with hold(folder):
        assert json.loads(folder.read(LOCK))["pid"] == os.getpid()


@pytest.mark.parametrize("url", ["{}", "memory://{}"])
@pytest.mark.parametrize(("silent", "alive"), [(0.0, True), (2 * SILENT_S, False)])
def test_a_holder_on_another_host_is_believed_while_it_speaks(tmp_path, url, silent, alive):
    folder = Folder.at(url.format(tmp_path))
    folder.create()
    folder.write(LOCK, json.dumps({"host": "elsewhere", "pid": 1, "beat": time.time() - silent}).encode())
    if alive:
        with pytest.raises(DataError, match="process 1 on elsewhere"), hold(folder):
            pytest.fail("held twice")
    else:
        with hold(folder):
            assert json.loads(folder.read(LOCK))["host"] == socket.gethostname()


def test_where_the_kernel_has_no_locks_the_process_is_asked(tmp_path):
    folder = Folder.at(f"memory://{tmp_path.name}")
    parent = {"host": socket.gethostname(), "pid": os.getppid(), "beat": 0.0}
    folder.write(LOCK, json.dumps(parent).encode())
    with pytest.raises(DataError, match=f"process {os.getppid()} on"), hold(folder):
        pytest.fail("held twice")
    folder.write(LOCK, b"{damaged")
    with hold(folder):
        assert folder.exists(LOCK)
