"""One campaign a folder: a lock that survives no crash."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from memflux.errors import DataError
from memflux.folder import Folder

LOCK = ".lock"
BEAT_S = 20.0  # how often the holder says that it is alive
SILENT_S = 120.0  # a holder on another host that was silent for so long is gone


@contextlib.contextmanager
def hold(folder: Folder) -> Iterator[None]:
    """Hold the folder for one run; DataError names the holder where there is one.

    A holder that was killed holds nothing: on this host the kernel drops its lock (or its process
    is gone), and one on another host counts as gone when it was silent for two minutes.
    """
    with _advisory(folder) as sole:
        _refuse_living(folder, sole)
        stop = threading.Event()
        beat = threading.Thread(target=_beat, args=(folder, stop), name="memflux-lock", daemon=True)
        _write(folder)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()
            folder.remove(LOCK)


@contextlib.contextmanager
def _advisory(folder: Folder) -> Iterator[bool]:
    """The kernel's lock on a local folder; yields whether it vouches for this host."""
    if not folder.local:
        yield False
        return
    try:
        handle = os.open(folder.root, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{folder.url} cannot be opened: {error.strerror}; give another folder.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DataError(_in_use(folder, _holder(folder))) from None
    except OSError:  # a file system without locks
        os.close(handle)
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)


def _refuse_living(folder: Folder, sole: bool) -> None:
    holder = _holder(folder)
    if not holder:
        return
    if holder.get("host") == socket.gethostname():
        alive = not sole and holder["pid"] != os.getpid() and _runs(int(holder["pid"]))
    else:
        alive = time.time() - holder["beat"] < SILENT_S
    if alive:
        raise DataError(_in_use(folder, holder))


def _in_use(folder: Folder, holder: dict) -> str:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return (
        f"{folder.url} is being filled by {who}; wait for it or stop it "
        f"(a run that was killed on another host frees the folder after {SILENT_S:g} s)."
    )


def _holder(folder: Folder) -> dict:
    try:
        record = json.loads(folder.read(LOCK)) if folder.exists(LOCK) else {}
    except (DataError, ValueError):
        return {}
    whole = isinstance(record, dict) and all(isinstance(record.get(name), int | float) for name in ("pid", "beat"))
    return record if whole else {}


def _write(folder: Folder) -> None:
    record = {"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()}
    folder.write(LOCK, json.dumps(record).encode())


def _beat(folder: Folder, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        with contextlib.suppress(DataError):  # a full disk stops the run where rows are written
            _write(folder)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
