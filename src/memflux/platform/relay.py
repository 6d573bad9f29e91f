"""A mailbox between the processes of a training and whoever waits for it; imports nothing heavy, as it is a process."""

import queue
from typing import Any

import ray


class Relay:
    """Holds what rank 0 says until it is asked for, and whether to go on."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopped = False

    def put(self, item: Any) -> bool:
        """Keep an item; whether to stop."""
        self._items.put(item)
        return self._stopped

    def take(self) -> list[Any]:
        """All items since the last time."""
        return [self._items.get() for _ in range(self._items.qsize())]

    def stop(self) -> None:
        """Nobody listens any more."""
        self._stopped = True


REMOTE: Any = ray.remote(Relay)
