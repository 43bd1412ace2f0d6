"""What happens to the workers of a cluster while a run goes on, from the scheduler's events."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xpscale.formatting import format_bytes
from xpscale.runtime.events import WorkerChanged
from xpscale.runtime.executors.draining import TOPIC
from xpscale.runtime.executors.fit_workers import Answer, Fit

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["WorkerWatch"]

EVERYTHING = "all"
MEMORY = "worker-restart-memory"
"""Topics of the scheduler: workers that join and leave; of nannies that stop a worker."""

LOST = "it ended without notice, or cannot be reached"


class WorkerWatch:
    """Collects what happens, inside its ``with`` block.

    Parameters
    ----------
    client
        A connected client.
    fit
        The workers that were there before, and the topic under which others answer.
    """

    def __init__(self, client: Client, fit: Fit) -> None:
        self._client, self._fit = client, fit
        self._known = set(fit.answers)
        self._told_to_end: set[str] = set()
        self._oom_kills: dict[str, int] = {}
        self._topics: list[str] = []
        self._events: queue.SimpleQueue[tuple[str, float, dict[str, Any]]] = queue.SimpleQueue()

    def __enter__(self) -> WorkerWatch:
        for answer in self._fit.answers.values():
            self._count_kills(answer)
        for topic in (EVERYTHING, MEMORY, TOPIC, self._fit.name, *self._known):
            self._listen(topic)
        return self

    def __exit__(self, *_: object) -> None:
        for topic in self._topics:
            with contextlib.suppress(Exception):  # with the scheduler they are gone as well
                self._client.unsubscribe_topic(topic)

    def _listen(self, topic: str) -> None:
        self._topics.append(topic)

        def take(event: tuple[float, Any]) -> None:
            self._events.put((topic, event[0], event[1]))

        self._client.subscribe_topic(topic, take)

    def news(self) -> Iterator[WorkerChanged]:
        """What has happened since the last call; first what those that were there said."""
        left_out = [answer for answer in self._fit.answers.values() if answer.problems]
        for answer in left_out:
            if answer.worker in self._known:
                self._known.discard(answer.worker)
                yield WorkerChanged(answer.worker, "left out", "; ".join(answer.problems))
        while True:
            try:
                topic, at, message = self._events.get_nowait()
            except queue.Empty:
                return
            for worker, what, why in self._changes(topic, message):
                yield WorkerChanged(worker, what, why, at)

    def _changes(self, topic: str, message: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        worker = str(message.get("worker", topic))
        if topic == self._fit.name:
            yield from self._answered(Answer(**message))
        elif topic == MEMORY:
            self._told_to_end.add(worker)
            yield worker, "killed for memory", f"its nanny saw {format_bytes(message['rss'])}"
        elif topic == TOPIC:
            n = message["n_running"]
            yield worker, "leaves", f"it was told to end, and finishes {n} task{'s' * (n != 1)}"
        elif message.get("action") == "remove-worker" and topic == EVERYTHING:
            if worker not in self._told_to_end:
                yield worker, *(("left", "") if message["expected"] else ("lost", LOST))
        elif message.get("action") == "worker-status-change":
            is_ours = str(message["stimulus_id"]).startswith("xpscale-")
            words = {"paused": "paused", "running": "resumed"}.get(message["status"])
            if words and not is_ours:
                yield worker, words, "it holds too much memory" * (words == "paused")

    def _answered(self, answer: Answer) -> Iterator[tuple[str, str, str]]:
        """A worker has been looked at: one that joined, or that was not heard of in time."""
        if answer.worker not in self._fit.answers:
            self._listen(answer.worker)
            if n := self._count_kills(answer):
                host = urlsplit(answer.worker).hostname
                text = f"by the kernel, {n} process{'es' * (n > 1)} on this machine"
                yield str(host), "killed for memory", text
            if answer.problems:
                yield answer.worker, "left out", "; ".join(answer.problems)
            else:
                yield answer.worker, "joined", ""

    def _count_kills(self, answer: Answer) -> int:
        """Processes that the kernel has killed since another worker of that place answered."""
        before = self._oom_kills.get(answer.place, answer.oom_kills)
        self._oom_kills[answer.place] = max(before, answer.oom_kills)
        return max(0, answer.oom_kills - before)
