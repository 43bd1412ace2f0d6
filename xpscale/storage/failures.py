"""The errors of the libraries below, in our terms: what the reader can do about each."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError, XpscaleError
from xpscale.formatting import first_line
from xpscale.storage.clouds import cloud_of

__all__ = ["PASSING", "Busy", "Refused", "explained"]

MAX_TEXT = 300
"""Characters of a library's message that are shown."""

RENEW = "Renew them (aws sso login, or a new AWS_SESSION_TOKEN), and run the same again: it goes on"
REASONS = {
    "AccessDenied": ("these credentials do not allow that", ""),
    "ExpiredToken": ("the credentials have expired", RENEW),
    "ExpiredTokenException": ("the credentials have expired", RENEW),
    "TokenRefreshRequired": ("the credentials have expired", RENEW),
    "InvalidToken": ("the session token is not valid", RENEW),
    "InvalidAccessKeyId": ("the server does not know the access key", ""),
    "SignatureDoesNotMatch": ("the secret key is not that of the access key", ""),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "Set the clock (chronyc, ntpdate)"),
}
"""What S3's error codes about credentials mean, and what to do if that is not the usual."""
REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
"""S3's error codes that ask for another region."""

NO_BUCKET = {"ContainerNotFound", "NoSuchBucket"}
"""Error codes of a bucket that is not there."""

PASSING = {408, 409, 412, 425, 429, 500, 502, 503, 504}
"""Answers of a server after which the same request may succeed."""


WRONG_PATH = {
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.ENXIO,
    errno.ENODEV,
}
"""Errors of a file system that its next answer will be, too."""


class Refused(InvalidInputError):
    """A server does not let us: the same work is done when the credentials are put right."""


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
    Refused
        It may not be read or written.
    InvalidInputError
        The address is wrong.
    TryAgainError
        The network, the server or the disk failed.
    """
    from obstore import exceptions as obs

    try:
        yield
    except XpscaleError:
        raise
    except (FileNotFoundError, NotADirectoryError, obs.NotFoundError) as error:
        lacks_bucket = _code(str(error)) in NO_BUCKET
        what = ": there is no such bucket" if lacks_bucket else " does not exist"
        raise NotFoundError(f"{where}{what}", "Check the address") from error
    except (obs.PermissionDeniedError, obs.UnauthenticatedError, PermissionError) as error:
        raise _no_permission(getattr(error, "filename", None) or where, str(error)) from error
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
        raise (
            _of_disk(where, error) or _of_server(where, str(error)) or _passing(where, error)
        ) from error


def _of_disk(where: str, error: Exception) -> InvalidInputError | None:
    """What a file system says that trying again does not change; ``None`` for another fault."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    if number == errno.EROFS:
        return _refused(where)
    if number not in WRONG_PATH:
        return None
    return InvalidInputError(f"{where[:MAX_TEXT]}: {os.strerror(number)}", "Check the address")


def _passing(where: str, error: Exception) -> TryAgainError:
    text = first_line(error)[:MAX_TEXT]
    full = "No space left" in text or "quota" in text.lower()
    cloud = cloud_of(where)
    check = "the network" if "://" in where else "the disk"
    check += f" and {cloud.ENDPOINT}" if cloud else ""
    remedy = "Make room" if full else f"If it stays, check {check}"
    return TryAgainError(f"{where}: {text}", f"{remedy}, then try again")


def _no_permission(where: str, text: str) -> InvalidInputError:
    if renewal := re.search(r"credential provider: (.*)", text):
        what = f"the credentials cannot be renewed ({renewal[1]})"
        return Refused(f"no permission for {where}: {what}", RENEW)
    return _refused(where, _code(text))


def _refused(where: str, reason: str = "") -> InvalidInputError:
    """The error of a place that may not be read or written.

    Parameters
    ----------
    where
        The object.
    reason
        The code that the server gives.
    """
    what, remedy = REASONS.get(reason, ("", ""))
    if not remedy and (cloud := cloud_of(where)):
        remedy = cloud.REMEDY
    elif where.startswith("http"):
        remedy = "The server refuses it: check the address"
    remedy = remedy or "Check the owner and the permissions of the file and its folders"
    kind = Refused if "://" in where else InvalidInputError
    return kind(f"no permission for {where}{f': {what} ({reason})' if what else ''}", remedy)


def _code(text: str) -> str:
    """The code of an error of S3, or of Azure; empty if there is none."""
    found = re.search(r"<Code>(\w+)</Code>|\(code: (\w+)\)", text)
    return (found[1] or found[2]) if found else ""


def _of_server(where: str, text: str) -> XpscaleError | None:
    """What a server says that trying again does not change; ``None`` for a fault that may pass."""
    found = re.search(r"non-2xx status code: (\d{3})", text)
    status = int(found[1]) if found else 0
    reason = _code(text)
    if reason in NO_BUCKET or (status == 404 and cloud_of(where)):
        return NotFoundError(f"{where}: there is no such bucket", "Check the address")
    # without credentials the address 169.254.169.254 of a machine in a cloud is asked for some
    if status in (401, 403) or reason in REASONS or "169.254." in text:
        return _refused(where, reason)
    if "redirect without LOCATION" in text or reason in REGION:
        return InvalidInputError(f"{where} lies in another region", "Check AWS_REGION")
    # S3 answers 400 to a request that took too long
    is_web = where.startswith("http")
    if status == 501 or (is_web and 400 <= status < 500 and status not in PASSING):
        line = next(iter(text.splitlines()), "")[:MAX_TEXT]
        return InvalidInputError(f"{where}: {line}", "Check the address")
    return None
