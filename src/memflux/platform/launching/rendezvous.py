"""How the tasks of one job find each other: a private folder that all of them see, and a connection to the first.

The folder tells where the first task listens. The connection tells it who has joined, and them, by
its end, that all is over: at once, where a shared file system may show a file after half a minute.
"""

import contextlib
import dataclasses
import hashlib
import hmac
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from memflux.errors import ServiceError

HEAD = "head.json"
OUTCOME = "outcome.json"
TOKEN = "token"
HELLO_S = 10.0  # in which a connection has to say who it is


def prepare(run: Path) -> None:
    """Make `run` its owner's alone, with a new token of mode 0600 in it. Raises OSError."""
    run.mkdir(mode=0o700, exist_ok=True)
    run.chmod(0o700)
    handle = os.open(run / TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))


def write_json(path: Path, record: dict) -> None:
    """Make `path` hold `record`, in one step."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    temporary.write_text(json.dumps(record), encoding="utf-8")
    os.replace(temporary, path)


def outcome(run: Path) -> int | None:
    """The exit code that the first task left, if it came so far."""
    try:
        return int(json.loads((run / OUTCOME).read_text(encoding="utf-8"))["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Host:
    """The first task's end: who has joined, and, when it is closed, that all is over."""

    def __init__(self, run: Path, host: str) -> None:
        self._token = (run / TOKEN).read_text()
        self._server = socket.create_server((host, 0))
        self._joined: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="memflux-rendezvous", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.getsockname()[1])

    @property
    def joined(self) -> int:
        """How many tasks have joined."""
        with self._lock:
            return len(self._joined)

    def close(self) -> None:
        """Tell all that it is over."""
        with self._lock:
            for connection in (self._server, *self._joined.values()):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes whoever waits on it; closing alone does not
                connection.close()
            self._joined.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        """A connection counts once it proves that it knows the token; then it stays open."""
        try:
            connection.settimeout(HELLO_S)
            line = connection.makefile("rb").readline(200).decode().split()
            rank = int(line[0])
            if not hmac.compare_digest(line[1], _proof(self._token, rank)):
                raise ValueError("not one of this job")
        except (OSError, ValueError, IndexError):
            connection.close()
            return
        with self._lock:
            self._joined[rank] = connection


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Guest:
    """Another task's end."""

    connection: socket.socket
    address: str  # host:port of the Ray to join
    token: str

    @classmethod
    def find(cls, run: Path, patience_s: float, stopped: Callable[[], bool]) -> Self | None:
        """Wait for the first task and connect to it; None once `stopped`. Raises ServiceError when patience ends."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if stopped():
                return None
            with contextlib.suppress(OSError, ValueError, KeyError):
                record = json.loads((run / HEAD).read_text(encoding="utf-8"))
                place = (record["host"], record["port"])
                return cls(
                    connection=socket.create_connection(place, timeout=HELLO_S),
                    address=record["address"],
                    token=(run / TOKEN).read_text(),
                )
            time.sleep(0.5)
        raise ServiceError(f"the first task of this job did not show in {run} in {patience_s:g} s.")

    @property
    def own_address(self) -> str:
        """The address of this machine that the first one sees."""
        return str(self.connection.getsockname()[0])

    def say_joined(self, rank: int) -> None:
        """Tell the first task that this machine is part of its Ray."""
        with contextlib.suppress(OSError):  # it may have ended meanwhile, which `over` tells
            self.connection.sendall(f"{rank} {_proof(self.token, rank)}\n".encode())

    def over(self, wait_s: float) -> bool:
        """Whether the first task has hung up; waits a moment for it."""
        self.connection.settimeout(wait_s)
        try:
            return self.connection.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


def _proof(token: str, rank: int) -> str:
    """What only the owner of the token can say: the token itself does not travel."""
    return hmac.new(token.encode(), f"task {rank} joined".encode(), hashlib.sha256).hexdigest()
