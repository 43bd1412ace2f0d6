"""What a person sees of a training run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from xpscale.formatting import format_duration

if TYPE_CHECKING:
    from typing import TextIO

    from xpscale.training.loop import Progress
    from xpscale.training.metrics import EpochMetrics

__all__ = ["TrainingPrinter"]


class TrainingPrinter:
    """Shows a run: on a terminal one line that changes, elsewhere a line now and then; loss and
    time left.

    Parameters
    ----------
    n_epochs
        Epochs of the whole run.
    stream
        Where; standard error if not given.
    every_s
        Seconds after which a line is printed where there is no terminal, even in the middle of an
        epoch.
    """

    def __init__(self, n_epochs: int, stream: TextIO | None = None, every_s: float = 30.0) -> None:
        self.n_epochs = n_epochs
        self.stream = stream or sys.stderr
        self.every = max(1, n_epochs // 20)
        self.every_s = every_s
        self.began = self.printed = time.monotonic()
        self.first: float | None = None
        self.is_open = False

    def on_step(self, progress: Progress) -> None:
        """Show how far the epoch is."""
        done = progress.epoch - 1 + progress.batch / progress.n_batches
        left = self._left(done)
        is_due = time.monotonic() - self.printed >= self.every_s
        if self.stream.isatty() or is_due:
            self._show(
                f"epoch {progress.epoch:>4}/{self.n_epochs}  batch"
                f" {progress.batch:>5}/{progress.n_batches}  loss {progress.loss:8.2f}  {left}",
                keep=not self.stream.isatty(),
            )

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Print a line for the first epochs, then about twenty more."""
        left = self._left(metrics.epoch)
        is_due = (
            metrics.epoch == 1 or metrics.epoch % self.every == 0 or metrics.epoch == self.n_epochs
        )
        if is_due or time.monotonic() - self.printed >= self.every_s:
            self._show(
                f"epoch {metrics.epoch:>4}/{self.n_epochs}  loss {metrics.loss:8.2f}  held out"
                f" {metrics.held_out.loss:8.2f}  kl {metrics.kl:6.2f} "
                f" {metrics.held_out.active_units} latents active  {metrics.spectra_per_s:,.0f}"
                f" spectra/s  {left}",
                keep=True,
            )

    def on_message(self, text: str) -> None:
        """Print a line of its own."""
        if self.is_open:
            print(file=self.stream, flush=True)
            self.is_open = False
        print(text, file=self.stream, flush=True)

    def _left(self, done: float) -> str:
        """From the epochs done since the first call, which may be in the middle of a resumed
        run.
        """
        if done >= self.n_epochs:
            return ""
        if self.first is None or done <= self.first:
            self.first, self.began = done, time.monotonic()
            return ""
        pace = (time.monotonic() - self.began) / (done - self.first)
        return f"{format_duration(pace * (self.n_epochs - done))} left"

    def _show(self, line: str, keep: bool) -> None:
        if self.stream.isatty():
            print(f"\r\033[K{line}", end="\n" if keep else "", file=self.stream, flush=True)
            self.is_open = not keep
        else:
            print(line.rstrip(), file=self.stream, flush=True)
        self.printed = time.monotonic()
