"""Ports and addresses for a Ray that shares its machine with other Rays."""

import contextlib
import os
import socket
from collections.abc import Sequence

LOOPBACK = "127.0.0.1"


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """`count` different ports of `host` that were free a moment ago: the system chose them.

    Somebody else may take one before it is used, so whoever uses them must be ready to ask again.
    """
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in held]


def own_address(names: Sequence[str] = ()) -> str:
    """The address of this machine that others reach: of the first of `names` that has one, or of the way out.

    A name may stand for a loopback address in the machine's own /etc/hosts (Debian does so); then
    the address is that of the interface that leads elsewhere. 127.0.0.1 where there is none.
    """
    for name in [*names, os.uname().nodename]:
        with contextlib.suppress(OSError):
            address = socket.gethostbyname(name)
            if not address.startswith("127."):
                return address
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # reserved for documentation: nothing is sent
        return str(probe.getsockname()[0])
    return LOOPBACK
