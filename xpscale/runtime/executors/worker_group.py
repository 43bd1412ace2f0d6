"""One function in several worker processes of a Dask cluster at the same time, for processes that
communicate.

Dask's tasks know nothing of each other; here each gets its rank, their number, and one address at
which the first listens and the others connect.  They start together or not at all, and if one fails
the others are ended.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import queue
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from xpscale.errors import PlanError, TryAgainError
from xpscale.runtime.executors.fit_workers import Fit, fit_workers

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Member", "WorkerGroup"]

POLL_S = 1.0

END_S = 20.0
"""How long the others may take to end after one has failed."""

Result = TypeVar("Result")
Member = Callable[[int, int, str, Callable[[Any], None]], Result]
"""``function(rank, n, address, send)``; ``send`` takes a plain value to the listener."""

_numbers = itertools.count()


@dataclass(frozen=True)
class WorkerGroup:
    """Runs one function in n worker processes at the same time.

    Parameters
    ----------
    client
        A connected client.
    n
        How many processes, at most as many as the cluster has.
    """

    client: Client
    n: int

    def run(self, function: Member[Result], listen: Callable[[Any], None] | None = None) -> Result:
        """What the first of n members returns.

        Parameters
        ----------
        function
            Called once in each of n worker processes that are fit for it.
        listen
            Called in this process with what the members send: numbers, text, lists and
            dictionaries of them.

        Raises
        ------
        PlanError
            If there are fewer than n workers that are fit; the message names the others.
        TryAgainError
            If a worker is lost.
        """
        with fit_workers(self.client, function) as fit:
            return self._run(function, listen, self._workers(fit))

    def _workers(self, fit: Fit) -> list[str]:
        if len(fit.workers) < self.n:
            raise PlanError(
                f"{self.n} worker processes are needed, and {len(fit.workers)} of"
                f" {len(fit.answers)} that are connected can do the work{fit.misfits}",
                "Start more workers",
            )
        return fit.workers[: self.n]

    def _run(
        self, function: Member[Result], listen: Callable[[Any], None] | None, workers: list[str]
    ) -> Result:
        client, n = self.client, self.n
        topic = f"xpscale-group-{client.id}-{next(_numbers)}"
        if listen is not None:
            client.subscribe_topic(topic, lambda event: listen(event[1]))
        host = urlsplit(workers[0]).hostname
        address = client.submit(_free_address, host, workers=[workers[0]], pure=False).result()
        futures = [
            client.submit(
                _member, function, rank, n, address, topic, workers=[worker], pure=False, retries=0
            )
            for rank, worker in enumerate(workers)
        ]
        try:
            result: Result = _first_result(client, futures, workers)
        finally:
            if listen is not None:
                client.unsubscribe_topic(topic)
        return result


def _first_result(client: Client, futures: list[Future[Any]], workers: list[str]) -> Any:
    """Wait for all of them; when one fails give the others time to notice, and raise what says
    most.
    """
    back: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(back.put)
    n_pending, give_up = len(futures), math.inf
    try:
        while n_pending and time.monotonic() < give_up:
            with contextlib.suppress(queue.Empty):
                n_pending -= 1 if back.get(timeout=POLL_S) else 0
            if any(future.status == "error" for future in futures) or set(workers) - set(
                client.nthreads()
            ):
                give_up = min(give_up, time.monotonic() + END_S)
        failures = [
            failure
            for future in futures
            if future.status == "error" and (failure := future.exception())
        ]
        failures.sort(
            key=lambda failure: isinstance(failure, TryAgainError)
        )  # "the others are gone" says least
        if failures:
            raise failures[0]
        if n_pending:
            raise TryAgainError(
                "one of the workers that trained together was lost", "Run the same command again"
            )
        return futures[0].result()
    except BaseException:
        _end(
            client,
            [worker for worker, future in zip(workers, futures, strict=True) if not future.done()],
        )
        raise
    finally:
        client.cancel(futures, force=True)


def _end(client: Client, workers: list[str]) -> None:
    """Restart the processes of members that still run: a task cannot be stopped otherwise."""
    there = [worker for worker in workers if worker in client.nthreads()]
    if there:
        with contextlib.suppress(TimeoutError, ValueError):
            client.restart_workers(there, timeout=30, raise_for_error=False)


def _free_address(host: str | None) -> str:
    with socket.socket() as probe:
        probe.bind((host or "", 0))
        return f"{host}:{probe.getsockname()[1]}"


def _member(function: Member[Result], rank: int, n: int, address: str, topic: str) -> Result:
    from distributed import get_worker

    worker = get_worker()
    return function(rank, n, address, lambda value: worker.log_event(topic, value))
