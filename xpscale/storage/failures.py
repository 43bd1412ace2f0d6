"""The errors of the libraries below, in our terms: what the reader can do about each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError, XpscaleError
from xpscale.formatting import first_line
from xpscale.storage.clouds import cloud_of

__all__ = ["PASSING", "Busy", "explained"]

MAX_TEXT = 300
"""Characters of a library's message that are shown."""

CREDENTIALS = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
"""S3's error codes that ask for other credentials, and for another region."""

NO_BUCKET = {"ContainerNotFound", "NoSuchBucket"}
"""Error codes of a bucket that is not there."""

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
        raise _refused(getattr(error, "filename", None) or where) from error
    except (
        IsADirectoryError,
        obs.InvalidPathError,
        obs.NotSupportedError,
        obs.UnknownConfigurationKeyError,
    ) as error:
        if "Range request not supported" in str(error):
            raise InvalidInputError(
                f"{where}: the server sends whole files only, and no ranges of bytes",
                "Copy it to a local folder, or to a server with ranges (Accept-Ranges: bytes)",
            ) from error
        raise InvalidInputError(
            f"{where}: {first_line(error)[:MAX_TEXT]}", "Check the address"
        ) from error
    except (obs.BaseError, OSError) as error:
        raise _of_server(where, str(error)) or _passing(where, error) from error


def _passing(where: str, error: Exception) -> TryAgainError:
    text = first_line(error)[:MAX_TEXT]
    full = "No space left" in text or "quota" in text.lower()
    remedy = "Make room" if full else "If it stays, check the network and AWS_ENDPOINT_URL"
    return TryAgainError(f"{where}: {text}", f"{remedy}, then try again")


def _refused(where: str) -> InvalidInputError:
    remedy = "Check the owner and the permissions of the file and its folders"
    if cloud := cloud_of(where):
        remedy = cloud.REMEDY
    elif where.startswith("http"):
        remedy = "The server refuses it: check the address"
    return InvalidInputError(f"no permission for {where}", remedy)


def _of_server(where: str, text: str) -> XpscaleError | None:
    """What a server says that trying again does not change; ``None`` for a fault that may pass."""
    found = re.search(r"non-2xx status code: (\d{3})", text)
    status = int(found[1]) if found else 0
    code = re.search(r"<Code>(\w+)</Code>", text)
    reason = code[1] if code else ""
    if reason in NO_BUCKET or (status == 404 and cloud_of(where)):
        return NotFoundError(f"{where}: there is no such bucket", "Check the address")
    # without credentials the address 169.254.169.254 of a machine in a cloud is asked for some
    if status in (401, 403) or reason in CREDENTIALS or "169.254." in text:
        return _refused(f"{where} ({reason})" if reason in CREDENTIALS else where)
    if "redirect without LOCATION" in text or reason in REGION:
        return InvalidInputError(f"{where} lies in another region", "Check AWS_REGION")
    # S3 answers 400 to a request that took too long
    is_web = where.startswith("http")
    if status == 501 or (is_web and 400 <= status < 500 and status not in PASSING):
        line = next(iter(text.splitlines()), "")[:MAX_TEXT]
        return InvalidInputError(f"{where}: {line}", "Check the address")
    return None
