"""A worker that is told to end finishes the tasks it is at, as long as it is given time.

Batch systems and clouds end a job with SIGTERM, some time before SIGKILL: SLURM at the end of the
walltime and for ``scancel`` (``KillWait``, 30 s), Kubernetes for every pod that leaves a node
(``terminationGracePeriodSeconds``, 30 s).  Dask's worker processes die of it at once, and its
nannies wait for 8 s.  Here both take no new tasks, and end when the running ones have ended; what
waited behind them goes to other workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

__all__ = ["MEMORY_SHARE", "TOPIC", "drain_on_sigterm"]

TOPIC = "xpscale-workers"
"""Topic of the scheduler's events under which a worker says that it leaves."""

POLL_S = 0.1

MEMORY_SHARE = 0.9
"""Of its memory limit: a nanny sends SIGTERM to a process that holds more than 0.95 of it, which
must end at once.
"""


def drain_on_sigterm(server: Any) -> None:
    """Handle SIGTERM in this process from now on.

    Parameters
    ----------
    server
        A ``distributed.Worker`` or ``distributed.Nanny``; several nannies may share a process.
    """
    previous = signal.getsignal(signal.SIGTERM)
    servers = getattr(previous, "servers", None)
    if servers is not None:
        servers.add(server)
        return
    handler = _Handler({server}, asyncio.get_running_loop())
    with contextlib.suppress(ValueError):  # a worker in a thread of another program
        signal.signal(signal.SIGTERM, handler)


class _Handler:
    """Begins to drain all servers of this process."""

    def __init__(self, servers: set[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.servers, self.loop, self.tasks = servers, loop, set[Any]()

    def __call__(self, number: int, frame: Any) -> None:
        self.loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        """Once: a second signal is heard by the nanny and by its worker."""
        if not self.tasks:
            self.tasks = {asyncio.ensure_future(_drain(server)) for server in self.servers}


async def _drain(server: Any) -> None:
    from distributed import Nanny, Status

    if isinstance(server, Nanny):  # it ends when its worker has ended
        server.close_gracefully(reason="SIGTERM")
        process = server.process and server.process.process
        if process is not None and process.pid:
            os.kill(process.pid, signal.SIGTERM)
        return
    if _holds_too_much(server):
        os._exit(128 + signal.SIGTERM)
    running = len(server.state.executing)
    server.log_event(TOPIC, {"worker": server.address, "n_running": running})
    server.status = Status.closing_gracefully  # takes no task that waits here, and no new ones
    while server.state.executing:
        await asyncio.sleep(POLL_S)
    with contextlib.suppress(Exception):  # with the scheduler there is nobody to tell
        await server.scheduler.retire_workers(
            workers=[server.address],
            close_workers=False,
            remove=True,
            stimulus_id=f"xpscale-drained-{time.time()}",
        )
    await server.close(nanny=True, reason="SIGTERM")


def _holds_too_much(worker: Any) -> bool:
    limit = worker.memory_manager.memory_limit
    return bool(limit) and worker.monitor.get_process_memory() > MEMORY_SHARE * limit
