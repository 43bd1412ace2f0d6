"""Only workers that are fit get tasks, also of those that join later.

A plugin looks at every worker (`xpscale.runtime.preflight`), and gives those that are fit a
resource that the tasks ask for; so the scheduler itself keeps tasks from all others.  The plugin
travels by value and needs nothing of xpscale to be loaded: a worker with another version, or
without xpscale, is left out and not harmed.  Fit workers, and their nannies, are also made to
finish their tasks when they are told to end (`xpscale.runtime.executors.draining`).
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpscale.errors import PlanError
from xpscale.formatting import format_bytes
from xpscale.runtime.executors.connection import connected
from xpscale.runtime.preflight import check_of, software

if TYPE_CHECKING:
    from distributed import Client, NannyPlugin, WorkerPlugin

__all__ = ["Answer", "Fit", "fit_workers"]

MOST_S = 60.0
GRACE_S = 3.0
"""How long to wait for the first fit worker, and after it for the others; who answers later gets
tasks from then on.
"""

POLL_S = 0.1

MOST_NAMED = 5

NANNIES = "xpscale-drain"
"""Name of the plugin of all nannies, which stays."""


@dataclass(frozen=True)
class Answer:
    """What a worker says of itself.

    Parameters
    ----------
    worker
        Its address.
    problems
        Why it is not fit; empty if it is.
    place
        Machine and control group whose memory it shares.
    free, held
        Bytes of memory that the place can still give, and that this process holds of it.
    oom_kills
        How many processes the kernel has killed there for memory.
    """

    worker: str
    problems: tuple[str, ...]
    place: str = ""
    free: int = 0
    held: int = 0
    oom_kills: int = 0

    def __str__(self) -> str:
        return f"{self.worker}: {'; '.join(self.problems)}"


@dataclass(frozen=True)
class Fit:
    """The workers of a cluster that are fit for a function of a task.

    Parameters
    ----------
    name
        Of the resource that they have, and of the topic under which workers answer.
    answers
        What those that are there now said, by address.
    """

    name: str
    answers: dict[str, Answer]

    @property
    def resources(self) -> dict[str, float]:
        """What a task must ask for."""
        return {self.name: 1.0}

    @property
    def workers(self) -> list[str]:
        """Addresses of those that are fit."""
        return sorted(answer.worker for answer in self.answers.values() if not answer.problems)

    @property
    def misfits(self) -> str:
        """Lines that name the others, and say why; empty if there are none."""
        return _told([answer for answer in self.answers.values() if answer.problems])

    def require_memory(self, n_bytes: int) -> None:
        """Refuse work for which the workers of some machine have too little memory together.

        Parameters
        ----------
        n_bytes
            What a process needs at most.

        Raises
        ------
        PlanError
            With both numbers.
        """
        answers = [self.answers[worker] for worker in self.workers]
        numbers = Counter(answer.place for answer in answers)
        for place, n in numbers.items():
            own = [answer for answer in answers if answer.place == place]
            there = max(answer.free for answer in own) + sum(answer.held for answer in own)
            if n * n_bytes > there:
                raise PlanError(
                    f"{n} workers on {place.partition(' ')[0]} need up to"
                    f" {format_bytes(n * n_bytes)} of memory, and {format_bytes(there)} are"
                    " available there",
                    "Start fewer workers there, or ingest with a smaller --max-rows",
                )


@contextlib.contextmanager
def fit_workers(client: Client, function: Any) -> Iterator[Fit]:
    """The workers that are fit, and what a task must ask for in order to run on one.

    Parameters
    ----------
    client
        A connected client.
    function
        Function of a task.

    Raises
    ------
    PlanError
        There are workers, and none of them is fit.
    """
    from distributed.protocol.pickle import dumps

    name = f"xpscale-fit-{uuid.uuid4().hex[:8]}"
    with connected(client):
        _begin(client.register_plugin, _drain_nannies(), NANNIES)
        plugin = _preflight(name, dumps((check_of(function), software())))
        _begin(client.register_plugin, plugin, name)
        fit = Fit(name, _answers(client, name))
    try:
        if fit.misfits and not fit.workers:
            raise PlanError(f"no worker can do the work{fit.misfits}", "Nothing was begun")
        yield fit
    finally:
        _begin(client.unregister_worker_plugin, name).join(GRACE_S)


def _answers(client: Client, name: str) -> dict[str, Answer]:
    """What the workers have said, by address.

    One that hangs never answers, and one that has just started imports for long.
    """
    began, first_fit = time.monotonic(), math.inf
    while True:
        found = {event["worker"]: Answer(**event) for _, event in client.get_events(name)}
        now = time.monotonic()
        if any(not answer.problems for answer in found.values()):
            first_fit = min(first_fit, now)
        if not {*client.nthreads()} - {*found} or now > min(began + MOST_S, first_fit + GRACE_S):
            return found
        time.sleep(POLL_S)


def _told(answers: Collection[Answer]) -> str:
    lines = [*map(str, answers)][:MOST_NAMED]
    if n_more := len(answers) - len(lines):
        lines.append(f"and {n_more} more")
    return ":" * bool(lines) + "".join(f"\n  {line}" for line in lines)


def _begin(function: Callable[..., Any], *arguments: Any) -> threading.Thread:
    """Call something that a worker may hold up, and whose failure is that of a worker."""

    def call() -> None:
        with contextlib.suppress(Exception):
            function(*arguments)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def _drain_nannies() -> NannyPlugin:
    from distributed import NannyPlugin

    class Drain(NannyPlugin):
        idempotent = True

        def setup(self, nanny: Any) -> None:
            import contextlib

            with contextlib.suppress(Exception):  # another version of xpscale, or none
                from xpscale.runtime.executors.draining import drain_on_sigterm

                drain_on_sigterm(nanny)

    return Drain()


def _preflight(name: str, payload: bytes) -> WorkerPlugin:
    from distributed import WorkerPlugin

    class Preflight(WorkerPlugin):
        async def setup(self, worker: Any) -> None:
            import asyncio

            limit = getattr(worker.memory_manager, "memory_limit", None)

            def look() -> dict[str, Any]:
                try:
                    import pickle

                    from xpscale.runtime.machine import memory_here
                    from xpscale.runtime.preflight import misfits

                    check, expected = pickle.loads(payload)
                    return {"problems": misfits(check, expected, limit), **memory_here()}
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    return {"problems": (f"another version of xpscale, or none ({what})",)}

            answer = await asyncio.to_thread(look)
            if not answer["problems"]:
                from xpscale.runtime.executors.draining import drain_on_sigterm

                drain_on_sigterm(worker)
                try:
                    await worker.set_resources(**{name: 1e9})
                except (KeyError, OSError):
                    return  # it has left meanwhile, and the scheduler knows it no more
                # a scheduler looks again at tasks that nobody could run when a worker's status
                # changes, but not when its resources do
                for status in ("paused", "running"):
                    worker.batched_send(
                        {"op": "worker-status-change", "status": status, "stimulus_id": name}
                    )
            worker.log_event(name, {"worker": worker.address, **answer})

    return Preflight()
