"""What the demo prints while it runs."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Story"]

N_STAGES = 7


@dataclass
class Story:
    """What the demo prints about its progress, and how long each stage took.

    Parameters
    ----------
    seconds
        Wall time of every stage so far, by title.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Print one or more lines on standard error."""
        for line in text.splitlines():
            print(f"    {line}", file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, title: str, about_s: float) -> Iterator[None]:
        """Announce a stage, and time it.

        Parameters
        ----------
        title
            What it does.
        about_s
            Its expected wall time in seconds.
        """
        print(
            f"\n[{len(self.seconds) + 1}/{N_STAGES}] {title} (about {about_s:.0f} s)",
            file=sys.stderr,
            flush=True,
        )
        clock = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - clock
        self.say(f"done in {self.seconds[title]:.1f} s")
