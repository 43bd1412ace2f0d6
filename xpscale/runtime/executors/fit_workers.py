"""Only workers that are fit get tasks, also of those that join later.

A plugin looks at every worker (`xpscale.runtime.preflight`), and gives those that are fit a
resource that the tasks ask for; so the scheduler itself keeps tasks from all others.  The plugin
travels by value and needs nothing of xpscale to be loaded: a worker with another version, or
without xpscale, is left out and not harmed.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpscale.errors import PlanError
from xpscale.runtime.executors.window import connected
from xpscale.runtime.preflight import check_of, software

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

__all__ = ["fit_workers"]

MOST_S = 60.0
"""How long to wait for all workers' answers; who answers later gets tasks from then on."""

ON_THEIR_WAY_S = 3.0

MOST_NAMED = 5

log = logging.getLogger("xpscale")


@contextlib.contextmanager
def fit_workers(client: Client, function: Any) -> Iterator[dict[str, float]]:
    """The resource that a task must ask for in order to run on a worker that is fit.

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
    plugin = _preflight(name, dumps((check_of(function), software())))
    with connected(client):
        _register(client, plugin, name)
        seen = _answers(client, name)
    left_out = [answer for answer in seen.values() if answer.problems]
    if left_out and len(left_out) == len(seen):
        _forget(client, name)
        raise PlanError(f"no worker can do the work:\n  {_told(left_out)}", "Nothing was begun")
    if left_out:
        log.warning(
            "%d of %d workers are left out:\n  %s", len(left_out), len(seen), _told(left_out)
        )

    def listen(event: tuple[Any, dict[str, Any]]) -> None:
        answer = _Answer(**event[1])
        if answer.worker not in seen and answer.problems:
            log.warning("a worker that joined is left out: %s", answer)

    client.subscribe_topic(name, listen)
    try:
        yield {name: 1.0}
    finally:
        _forget(client, name)


@dataclass(frozen=True)
class _Answer:
    """What a worker says of itself."""

    worker: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.worker}: {'; '.join(self.problems)}"


def _answers(client: Client, name: str) -> dict[str, _Answer]:
    """What the workers have said, by address; the messages of those that have just been looked at
    may still be on their way.
    """
    give_up = time.monotonic() + ON_THEIR_WAY_S
    while True:
        found = {event["worker"]: _Answer(**event) for _, event in client.get_events(name)}
        if not {*client.nthreads()} - {*found} or time.monotonic() > give_up:
            return found
        time.sleep(0.05)


def _told(answers: list[_Answer]) -> str:
    more = f"\n  and {len(answers) - MOST_NAMED} more" * (len(answers) > MOST_NAMED)
    return "\n  ".join(map(str, answers[:MOST_NAMED])) + more


def _register(client: Client, plugin: WorkerPlugin, name: str) -> None:
    """Have every worker looked at; one that hangs or dies meanwhile does not hold up the others."""
    thread = ThreadPoolExecutor(1)
    # a worker that dies meanwhile makes the scheduler's answer an error, and the plugin is there
    with contextlib.suppress(Exception):
        thread.submit(client.register_plugin, plugin, name=name).result(timeout=MOST_S)
    thread.shutdown(wait=False)


def _forget(client: Client, name: str) -> None:
    with contextlib.suppress(Exception):  # with the scheduler it is gone as well
        client.unsubscribe_topic(name)
        client.unregister_worker_plugin(name)


def _preflight(name: str, payload: bytes) -> WorkerPlugin:
    from distributed import WorkerPlugin

    class Preflight(WorkerPlugin):
        async def setup(self, worker: Any) -> None:
            import asyncio

            limit = getattr(worker.memory_manager, "memory_limit", None)

            def look() -> tuple[str, ...]:
                try:
                    import pickle

                    from xpscale.runtime.preflight import misfits

                    check, expected = pickle.loads(payload)
                    return misfits(check, expected, limit)
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    return (f"another version of xpscale, or none ({what})",)

            problems = await asyncio.to_thread(look)
            if not problems:
                await worker.set_resources(**{name: 1e9})
                # a scheduler looks again at tasks that nobody could run when a worker's status
                # changes, but not when its resources do
                for status in ("paused", "running"):
                    worker.batched_send(
                        {"op": "worker-status-change", "status": status, "stimulus_id": name}
                    )
            worker.log_event(name, {"worker": worker.address, "problems": problems})

    return Preflight()
