"""Every error xpscale raises, grouped by what the reader does next.

::

    XpscaleError
    ├── InvalidInputError   (ValueError)          exit  2   correct the input or the arguments
    │   └── PlanError                             exit  4   the plan cannot fit: change it
    ├── NotFoundError       (FileNotFoundError)   exit  3   check the name or the address
    ├── ConflictError       (FileExistsError)     exit  5   choose another place
    ├── PermanentError      (RuntimeError)        exit 20   trying again will not help
    │   └── IncompleteError                       exit 20   part of the work failed
    │       └── UnexpectedError                   exit 70   a fault of xpscale: report it
    └── TryAgainError       (OSError)             exit 75   the same call may succeed later

Each message names the file, row or key, the cause, and the remedy; what others wrote in it is
escaped, and passwords are left out (`xpscale.safe_text`). Each class also inherits from a
built-in exception, so that code that catches ``ValueError`` or ``FileNotFoundError`` works.
"""

from __future__ import annotations

from xpscale.safe_text import shown

__all__ = [
    "ConflictError",
    "IncompleteError",
    "InvalidInputError",
    "NotFoundError",
    "PermanentError",
    "PlanError",
    "TryAgainError",
    "UnexpectedError",
    "XpscaleError",
]


class XpscaleError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message
        What is wrong, where.
    remedy
        What the reader can do about it; the command line prints it on a line of its own.

    Both may hold text of others, such as names in files: it is made safe to show.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message, self.remedy = shown(message), shown(remedy)
        super().__init__(self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class InvalidInputError(XpscaleError, ValueError):
    """The input or an argument is not valid."""

    exit_code = 2


class PlanError(InvalidInputError):
    """The plan does not fit into the resources; nothing was started."""

    exit_code = 4


class NotFoundError(XpscaleError, FileNotFoundError):
    """Nothing is stored under that name."""

    exit_code = 3


class ConflictError(XpscaleError, FileExistsError):
    """Something else is already there, and it will not be overwritten."""

    exit_code = 5


class PermanentError(XpscaleError, RuntimeError):
    """The work failed in a way that trying again does not change."""

    exit_code = 20


class IncompleteError(PermanentError):
    """Some tasks failed; everything that succeeded is kept."""


class UnexpectedError(IncompleteError):
    """A task met an error that nobody foresaw.

    Parameters
    ----------
    message, remedy
        As `XpscaleError`.
    trace
        The traceback, from the worker that met it.
    """

    exit_code = 70

    def __init__(self, message: str, remedy: str = "", trace: str = "") -> None:
        super().__init__(message, remedy)
        self.trace = trace


class TryAgainError(XpscaleError, OSError):
    """A temporary failure: the network, the server, a lost worker."""

    exit_code = 75
