"""Processes below another one. They and their threads may end while one looks."""

import contextlib
from pathlib import Path


def descendants(parent: int) -> list[int]:
    """Process ids below `parent`, as far as they still run."""
    below: list[int] = []
    with contextlib.suppress(OSError):
        for task in list(Path(f"/proc/{parent}/task").iterdir()):
            with contextlib.suppress(OSError):
                below += [int(pid) for pid in (task / "children").read_text().split()]
    return below + [pid for child in below for pid in descendants(child)]


def command_of(pid: int) -> bytes:
    """Command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
