"""The errors of the libraries below, in our terms: what the reader can do about each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError, XpscaleError
from xpscale.formatting import first_line

__all__ = ["PASSING", "Busy", "explained"]

MAX_TEXT = 300
"""Characters of a library's message that are shown."""

PASSING = {408, 409, 412, 425, 429, 500, 502, 503, 504}
"""Answers of a server after which the same request may succeed."""


class Busy(TryAgainError):
    """The server asks to come back later.

    Parameters
    ----------
    message
        What is wrong, where.
    wait_s
        Seconds that it asks for; 0 if it does not say.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message, "Try again later")
        self.wait_s = wait_s


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise errors of the libraries as ours.

    Parameters
    ----------
    where
        The object, for the message.

    Raises
    ------
    NotFoundError
        It does not exist.
    InvalidInputError
        It may not be read or written, or the address is wrong.
    TryAgainError
        The network, the server or the disk failed.
    """
    from obstore import exceptions as obs

    try:
        yield
    except XpscaleError:
        raise
    except (FileNotFoundError, NotADirectoryError, obs.NotFoundError) as error:
        raise NotFoundError(f"{where} does not exist", "Check the address") from error
    except (obs.PermissionDeniedError, obs.UnauthenticatedError, PermissionError) as error:
        raise InvalidInputError(
            f"no permission for {where}",
            "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the file's owner",
        ) from error
    except (
        IsADirectoryError,
        obs.InvalidPathError,
        obs.NotSupportedError,
        obs.UnknownConfigurationKeyError,
    ) as error:
        raise InvalidInputError(
            f"{where}: {first_line(error)[:MAX_TEXT]}", "Check the address"
        ) from error
    except (obs.BaseError, OSError) as error:
        text = first_line(error)[:MAX_TEXT]
        if _is_refused_by_web(text):
            raise InvalidInputError(f"{where}: {text}", "Check the address") from error
        full = "No space left" in text or "quota" in text.lower()
        remedy = "Make room" if full else "If it stays, check the network and AWS_ENDPOINT_URL"
        raise TryAgainError(f"{where}: {text}", f"{remedy}, then try again") from error


def _is_refused_by_web(text: str) -> bool:
    """Whether a web server said that this request can never succeed; S3 uses 400 for timeouts."""
    status = re.search(r"^Generic HTTP error.*non-2xx status code: (4\d\d)", text)
    return status is not None and int(status[1]) not in PASSING
