"""Signals that ask a run to stop: the first sets a flag, the second interrupts."""

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # the last is what Slurm sends ahead of a walltime


@contextlib.contextmanager
def stop_on_signals(on_stop: Callable[[], None] | None = None) -> Iterator[Callable[[], bool]]:
    """Within, a stop signal only sets the flag that is yielded; the second interrupts at once.

    `on_stop` is called at the first, in a thread: a signal comes at any moment, also while the
    main thread holds what `on_stop` needs.
    """
    asked = False
    tell: queue.SimpleQueue[bool] = queue.SimpleQueue()  # may be put to within a signal handler

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell.put(True)

    def listen() -> None:
        if tell.get() and on_stop is not None:
            on_stop()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    listener = threading.Thread(target=listen, name="memflux-stop", daemon=True)
    listener.start()
    before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        tell.put(False)
        listener.join()
