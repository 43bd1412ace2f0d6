"""Something that Ctrl-C must not stop half way: the start of a cluster.

A cluster that is half there cannot be closed: its processes print tracebacks, or stay.  So it is
started in a thread, which signals do not reach, and an interruption waits until that has ended.
The terminal sends Ctrl-C to all processes of a command; those that are started here ignore it, and
end with the cluster.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import resource_tracker
from typing import TypeVar

__all__ = ["uninterrupted"]

T = TypeVar("T")

MOST_S = 30.0
"""How long an interruption waits: a start that hangs is left as it is."""


def uninterrupted(start: Callable[[], T], close: Callable[[T], object]) -> T:
    """What ``start`` returns.

    Parameters
    ----------
    start
        Starts something.
    close
        Closes it again, if there was an interruption meanwhile.
    """
    started: Future[T] = Future()

    def run() -> None:
        resource_tracker.ensure_running()  # of multiprocessing: its start lets signals in again
        # new threads and processes inherit this
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            started.set_result(start())
        except BaseException as error:
            started.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return started.result()
    except KeyboardInterrupt:
        if started.exception(MOST_S) is None:
            close(started.result())
        raise
