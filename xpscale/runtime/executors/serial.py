"""One task after the other, in this process: the reference every other executor is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xpscale.runtime.attempt import CatchErrors
from xpscale.runtime.preflight import require_fit_here
from xpscale.types import Executor, TaskReport

__all__ = ["SerialExecutor"]


class SerialExecutor(Executor):
    """A for loop."""

    n_workers = 1

    def require_fit(self, function: Callable[[Any], TaskReport]) -> None:
        """Refuse what this process cannot do."""
        require_fit_here(function)

    def run(
        self,
        function: Callable[[Any], TaskReport],
        tasks: Iterable[Any],
        tell: Callable[[Any], None] = lambda _: None,
    ) -> Iterator[TaskReport]:
        """Reports in the order of the tasks."""
        yield from map(CatchErrors(function), tasks)
