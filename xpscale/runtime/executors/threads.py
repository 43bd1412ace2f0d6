"""Several tasks at a time in this process: one is read while another is computed and a third is
compressed and written.

What takes time in a task (storage, decompression, torch, Parquet) releases the interpreter's lock,
so threads overlap it; how many tasks are in flight is what bounds memory.  Dask workers with
several threads do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from xpscale.runtime.attempt import CatchErrors
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.types import TaskReport

__all__ = ["ThreadsExecutor"]


@dataclass(frozen=True)
class ThreadsExecutor(SerialExecutor):
    """Runs tasks in threads.

    Parameters
    ----------
    n_threads
        Tasks at a time.
    """

    n_threads: int = 2

    def run(
        self,
        function: Callable[[Any], TaskReport],
        tasks: Iterable[Any],
        tell: Callable[[Any], None] = lambda _: None,
    ) -> Iterator[TaskReport]:
        """Reports in the order in which tasks end; a consumer that stops early waits for those in
        flight.
        """
        waiting, safe = iter(tasks), CatchErrors(function)
        with ThreadPoolExecutor(self.n_threads) as threads:
            running: set[Future[TaskReport]] = set()
            while True:
                running |= {
                    threads.submit(safe, task)
                    for task in islice(waiting, self.n_threads - len(running))
                }
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
