"""A run on the terminal: tasks, rows, rate, time left; where the time goes, worker by worker; what
bounds it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from xpscale.formatting import format_duration
from xpscale.runtime.events import Event, RunEnded, RunStarted, TaskEnded, WorkerChanged
from xpscale.runtime.history import History
from xpscale.runtime.split_text import describe_split, describe_workers

if TYPE_CHECKING:
    from rich.console import RenderableType

    from xpscale.types import TaskReport

__all__ = ["TerminalProgress"]

REFRESHES_PER_S = 2


class TerminalProgress:
    """A callback that draws a bar and a table on a terminal; elsewhere it prints a line every few
    seconds.

    Parameters
    ----------
    stream
        Where to draw; standard error, so that data on standard output stays clean.
    every_s
        Seconds between lines where there is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = 10.0) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._history = History()
        self._started = RunStarted("", 0, 0)

    def __call__(self, event: Event) -> None:
        """Draw what the event changes."""
        self._history(event)
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, TaskEnded):
            self._update(event.report)
        elif isinstance(event, WorkerChanged):
            self._say(str(event))
        elif isinstance(event, RunEnded):
            self._end(event)

    def _start(self, event: RunStarted) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._started, self._clock, self._printed = event, time.perf_counter(), time.perf_counter()
        self._n_done, self._n_rows = event.n_done, 0
        console = Console(file=self._stream)
        if event.n_done:
            console.print(
                f"{event.stage}: {event.n_done:,} of {event.n_tasks:,} tasks were done before",
                highlight=False,
            )
        self._live = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
            )
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(
                event.stage, total=event.n_tasks, completed=event.n_done, rate=""
            )
            self._live = Live(
                console=console, get_renderable=self._draw, refresh_per_second=REFRESHES_PER_S
            )
            self._live.start()

    def _update(self, report: TaskReport) -> None:
        self._n_done += 1
        self._n_rows += report.n_in
        if not report.status.is_done:
            self._say(f"{report.task} {report.status}: {report.error}")
        if self._live is None and time.perf_counter() - self._printed > self._every_s:
            self._printed = time.perf_counter()
            split = describe_split(self._history.record.split)
            line = (
                f"{self._n_done:,} of {self._started.n_tasks:,} tasks, {self._rate()},"
                f" {self._left()} left"
            )
            self._say("; ".join(filter(None, (line, split))))

    def _end(self, event: RunEnded) -> None:
        if self._live is not None:
            self._live.stop()  # the last table stays
            self._live = None
        else:
            for line in describe_workers(self._history.record.split):
                print(line, file=self._stream, flush=True)
        failed = f", {event.n_failed:,} failed" * bool(event.n_failed)
        left = f", {event.n_left:,} left" * bool(event.n_left)
        if self._n_rows or failed or left:
            self._say(
                f"{self._n_done:,} of {self._started.n_tasks:,} tasks in {event.wall_s:.1f} s,"
                f" {self._rate()}{failed}{left}"
            )

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        # not at every task: a record of thousands of tasks takes milliseconds to sum up
        lines = describe_workers(self._history.record.split)
        self._bar.update(
            self._task, completed=self._n_done, rate=f"{self._rate()}, {self._left()} left"
        )
        return Group(
            self._bar,
            *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines),
        )

    def _rate(self) -> str:
        return f"{self._n_rows / max(time.perf_counter() - self._clock, 1e-9):,.0f} sources/s"

    def _left(self) -> str:
        left_s = self._history.record.left_s if self._started.n_rows else None
        if left_s is None:
            done_now = self._n_done - self._started.n_done
            left_s = (
                (time.perf_counter() - self._clock)
                / max(done_now, 1)
                * (self._started.n_tasks - self._n_done)
            )
        return format_duration(left_s)

    def _say(self, text: str) -> None:
        line = f"{self._started.stage}: {text}"
        if self._live is not None:
            self._live.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self._stream, flush=True)
