"""How kernels are compiled, and where the machine code is kept.

Numba keeps machine code beside the source and looks at the file that holds a function alone: a
kernel inlined from another file can go stale unseen. Here the folder is named after the sources of all kernels,
Numba's version and the processor: nothing stale is ever found, one home directory serves
a cluster of different machines, and workers that compile at the same time cannot spoil each other's files
(Numba renames them into place).
"""

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba


@functools.cache
def cache_folder() -> Path | None:
    """Where machine code is kept: MEMFLUX_KERNEL_CACHE, else the user's cache; None where neither can be written."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.binding.get_host_cpu_name()}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = os.environ.get("MEMFLUX_KERNEL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "memflux", "kernels"
    )
    folder = Path(home) / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def is_cold() -> bool:
    """Whether kernels have yet to be compiled for this processor, which takes about a minute."""
    folder = cache_folder()
    return folder is None or next(folder.rglob("*.nbi"), None) is None


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` for a CPU; CUDA kernels may call the result.

    No exceptions and no allocation: division by zero gives inf, and without reference counts a call costs
    a third. Arrays must outlive the call, which holds for arguments.
    """
    return _compile(function, "never")


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a part of a larger kernel, merged into its caller."""
    return _compile(function, "always")


def _compile(function: Callable[..., Any], inline: str) -> Any:
    with kept() as cached:
        options: dict[str, Any] = {"cache": cached, "error_model": "numpy", "inline": inline, "_nrt": False}
        return numba.njit(**options)(function)


@contextlib.contextmanager
def kept() -> Iterator[bool]:
    """Functions decorated within keep their machine code in `cache_folder`; yields whether there is one."""
    folder = cache_folder()
    settings: Any = numba.config
    before = settings.CACHE_DIR
    if folder is not None:
        settings.CACHE_DIR = str(folder)
    try:
        yield folder is not None
    finally:
        settings.CACHE_DIR = before
