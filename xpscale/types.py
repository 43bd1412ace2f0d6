"""The values that cross from one room to the next, and the protocols that join them.

Letters in shapes: N sources, C coefficients (BP, then RP; see `xpscale.bands`), L latents.
All values are frozen; they are checked where they are made.
"""

from __future__ import annotations

import contextlib
import enum
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from xpscale.json_files import from_fields, parse_json
from xpscale.sky import Pixel

if TYPE_CHECKING:
    pass

__all__ = [
    "Executor",
    "Part",
    "Partition",
    "Pixel",
    "Stopwatch",
    "Task",
    "TaskReport",
    "TaskStatus",
]


@dataclass(frozen=True, order=True, slots=True)
class Partition:
    """One HEALPix pixel's share of a spectra store: the unit of work and of the catalogue.

    Parameters
    ----------
    pixel
        The pixel that holds all its rows, by position.
    n_rows
        Number of sources.
    key
        Where the store keeps it, relative to the store.
    """

    pixel: Pixel
    n_rows: int
    key: str


@dataclass(frozen=True, order=True, slots=True)
class Part:
    """One object written by one task.

    Parameters
    ----------
    pixel
        The pixel whose rows it holds.
    key
        Object key relative to the catalogue (or store).
    n_rows, n_bytes
        Rows inside, size of the object in bytes.
    sha256
        Hex digest of the object's bytes.
    footer_bytes, packed_footer_bytes
        Of the object's end, see `xpscale.catalog.footer`; 0 if there is no packed footer.
    movers
        Sources in it whose identifier carries another pixel, sorted; ``None`` if nobody has looked,
        or they are too many to name.
    """

    pixel: Pixel
    key: str
    n_rows: int
    n_bytes: int
    sha256: str
    footer_bytes: int = 0
    packed_footer_bytes: int = 0
    movers: tuple[int, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them, without those that say nothing."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["pixel"] = {"order": self.pixel.order, "number": self.pixel.number}
        return {
            name: value
            for name, value in values.items()
            if name not in _OPTIONAL or value != _OPTIONAL[name]
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Part:
        """The part that `to_dict` wrote."""
        return from_fields(Part, values)


_OPTIONAL = {each.name: each.default for each in fields(Part) if each.default is not MISSING}


class TaskStatus(enum.StrEnum):
    """How one task ended."""

    WRITTEN = "written"
    """Its parts were written by this attempt."""
    ALREADY_WRITTEN = "already_written"
    """An earlier attempt had written them; nothing was done."""
    EMPTY = "empty"
    """It had no rows to write (none came in, or all were rejected): no part, not an error."""
    FAILED = "failed"
    """It raised; nothing of it is published.  ``error`` says why."""
    QUARANTINED = "quarantined"
    """Its input cannot be processed and trying again will not help; the rest went on."""

    @property
    def is_done(self) -> bool:
        """Whether the task needs no further attempt."""
        return self in (TaskStatus.WRITTEN, TaskStatus.ALREADY_WRITTEN, TaskStatus.EMPTY)


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What became of one task.  ``n_in = n_out + sum(n_rejected.values())`` unless it failed.

    Times are seconds of wall time inside the task; ``peak_memory`` is the worker process's peak
    resident set in bytes; ``started`` is seconds since 1970 (UTC); ``worker`` names the process,
    and ``software`` what computed there (`xpscale.runtime.preflight.software`), with the device.
    """

    task: str
    status: TaskStatus
    parts: tuple[Part, ...] = ()
    n_in: int = 0
    n_out: int = 0
    n_rejected: Mapping[str, int] = field(default_factory=dict)
    read_s: float = 0.0
    decode_s: float = 0.0
    to_device_s: float = 0.0
    forward_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    started: float = 0.0
    wall_s: float = 0.0
    peak_memory: int = 0
    worker: str = ""
    error: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as one JSON object."""
        parts = [part.to_dict() for part in self.parts]
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**values, "parts": parts}, sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> TaskReport:
        """The report that `to_json` wrote."""
        return from_fields(TaskReport, parse_json(text))

    @staticmethod
    def of(task: str, text: str | bytes) -> TaskReport | None:
        """The report of a task, or ``None`` if an object is something else, such as a copy of
        another report.

        Parameters
        ----------
        task
            Its key.
        text
            What the object holds.
        """
        try:
            report = TaskReport.from_json(text)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return report if report.task == task else None

    def as_already_written(self) -> TaskReport:
        """The same report, as seen by a later attempt that found the work done."""
        return (
            replace(self, status=TaskStatus.ALREADY_WRITTEN)
            if self.status is TaskStatus.WRITTEN
            else self
        )


class Stopwatch:
    """Seconds by name, and bytes read: what the rooms that one task goes through have spent.  For
    one thread.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.n_bytes = 0

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the wall time of a ``with`` block to ``name``, one of the times of `TaskReport`."""
        clock = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - clock


class Task(Protocol):
    """Anything an executor can run: it has a key that names it for good."""

    @property
    def key(self) -> str:
        """Stable name of the task, the same in every attempt."""
        ...


class Executor(Protocol):
    """Runs a function over tasks and yields their reports as they come, in any order.

    ``tests/support/executor_contract.py`` holds what every implementation must do.
    """

    @property
    def n_workers(self) -> int:
        """Worker processes."""
        ...

    def require_fit(self, function: Callable[[Any], TaskReport]) -> None:
        """Refuse work that no worker can do (`xpscale.runtime.preflight`), before it begins.

        Parameters
        ----------
        function
            Function of a task.

        Raises
        ------
        PlanError
            Names each worker, and says why.
        """
        ...

    def run(
        self,
        function: Callable[[Any], TaskReport],
        tasks: Iterable[Any],
        tell: Callable[[Any], None] = ...,
    ) -> Iterator[TaskReport]:
        """Reports, one a task; a function that raises makes a report of a failure, not an
        exception.

        Parameters
        ----------
        function
            Function of a task.
        tasks
            Taken as workers become free, not all in advance.
        tell
            Called in this thread with each `xpscale.runtime.events.WorkerChanged`.
        """
        ...
