"""A progress bar on the terminal: tasks, rows, rows per second, time left."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from xpscale.runtime.events import Event, RunEnded, RunStarted, TaskEnded

__all__ = ["TerminalProgress"]


class TerminalProgress:
    """A callback that draws a bar on a terminal, or prints a line now and then elsewhere.

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
        self._started: RunStarted | None = None

    def __call__(self, event: Event) -> None:
        """Draw what the event changes."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, TaskEnded):
            self._update(event)
        else:
            self._end(event)

    def _start(self, event: RunStarted) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._started, self._clock, self._printed = event, time.perf_counter(), time.perf_counter()
        self._n_done, self._n_rows = event.n_done, 0
        console = Console(file=self._stream)
        if event.n_done:
            console.print(
                f"{event.stage}: {event.n_done:,} of {event.n_tasks:,} tasks were done before", highlight=False
            )
        self._bar = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
            self._task = self._bar.add_task(event.stage, total=event.n_tasks, completed=event.n_done, rate="")
            self._bar.start()

    def _update(self, event: TaskEnded) -> None:
        report = event.report
        self._n_done += 1
        self._n_rows += report.n_in
        if not report.status.is_done:
            self._say(f"{report.task} {report.status}: {report.error}")
        if self._bar is not None:
            self._bar.update(self._task, advance=1, rate=self._rate())
        elif time.perf_counter() - self._printed > self._every_s:
            self._printed = time.perf_counter()
            self._say(f"{self._n_done:,} of {self._of:,} tasks, {self._rate()}, {self._left()} left")

    def _end(self, event: RunEnded) -> None:
        if self._bar is not None:
            self._bar.stop()
        failed = f", {event.n_failed:,} failed" * bool(event.n_failed)
        left = f", {event.n_left:,} left" * bool(event.n_left)
        if self._n_rows or failed or left:
            self._say(f"{self._n_done:,} of {self._of:,} tasks in {event.wall_s:.1f} s, {self._rate()}{failed}{left}")

    @property
    def _of(self) -> int:
        return self._started.n_tasks if self._started else 0

    def _rate(self) -> str:
        return f"{self._n_rows / max(time.perf_counter() - self._clock, 1e-9):,.0f} sources/s"

    def _left(self) -> str:
        done_now = self._n_done - (self._started.n_done if self._started else 0)
        seconds = (time.perf_counter() - self._clock) / max(done_now, 1) * (self._of - self._n_done)
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

    def _say(self, text: str) -> None:
        stage = self._started.stage if self._started else ""
        line = f"{stage}: {text}"
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self._stream, flush=True)
