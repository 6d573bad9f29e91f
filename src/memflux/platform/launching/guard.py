"""Work that leaves no process behind: a shim that takes the signals, and a guardian that holds all descendants.

What a batch system knows is the shim. The work runs in a child of it, the guardian, in a session of
its own, which the kernel makes the parent of whatever its descendants leave behind. When the shim is
killed, the guardian ends everything; when the guardian is killed, the shim does.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
CRASHED = 70  # exit code of work that raised (EX_SOFTWARE)
_SET_CHILD_SUBREAPER = 36  # of prctl(2)


def guarded(work: Callable[[list[int]], int], cleanup: Callable[[], None] = lambda: None) -> int:
    """Run `work` in a guardian; its exit code, once no descendant of it is left.

    `work` gets a list that grows by the number of each signal that comes; none interrupts it.
    `cleanup` runs after the last descendant has ended, whoever ended them; it must not mind to run
    twice. To be called early, by the main thread of a process that has no other threads and no children.
    """
    adopt_orphans()
    lifeline, held = os.pipe()
    # Until the handlers are in place, here and in the child, signals wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if child == 0:
        os.close(held)
        _be_guardian(lifeline, work, cleanup)
    os.close(lifeline)

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        end_descendants()
        cleanup()
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (Linux)."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this system cannot adopt orphaned processes")


def end_descendants(patience_s: float = 0.0) -> None:
    """End every descendant of this process, by its id: SIGTERM, and SIGKILL after `patience_s`.

    The caller must have adopted orphans: then nobody escapes by outliving its parent. Children are
    not waited for, so that whoever started one still gets its exit code.
    """
    if patience_s > 0:
        _signal(descendants(os.getpid()), signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while descendants(os.getpid()) and time.monotonic() < deadline:
            time.sleep(0.02)
    while alive := descendants(os.getpid()):
        _signal(alive, signal.SIGKILL)
        time.sleep(0.02)


def descendants(parent: int) -> list[int]:
    """Ids of the processes below `parent` that still run, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # pid (command) state ppid ...: the command may hold anything, also brackets
                state, above = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children.setdefault(int(above), []).append(int(entry.name))
    found = list(children.get(parent, []))
    for pid in found:  # grows while it is gone through
        found += children.get(pid, [])
    return found


def _be_guardian(lifeline: int, work: Callable[[list[int]], int], cleanup: Callable[[], None]) -> None:
    """What the child does; it never returns."""
    code = CRASHED
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    try:
        os.setsid()
        adopt_orphans()
        for number in FORWARDED:
            signal.signal(number, note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        threading.Thread(target=_watch, args=(lifeline, cleanup), name="memflux-lifeline", daemon=True).start()
        code = work(came)
    except Exception:  # noqa: BLE001 - this process ends here, whatever it was
        traceback.print_exc()
    finally:
        end_descendants()
        cleanup()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(lifeline: int, cleanup: Callable[[], None]) -> None:
    """End everything when the other end of the pipe is closed: the shim is gone."""
    os.read(lifeline, 1)
    end_descendants()
    time.sleep(0.2)  # `work` may have been about to start one more
    end_descendants()
    cleanup()
    os._exit(CRASHED)


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
