"""Replies: files, XML, and errors as DALI wants them."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any

from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from xpscale.errors import InvalidInputError, PermanentError, TryAgainError, XpscaleError
from xpscale.serve.votable_rows import error_votable

__all__ = ["VOTABLE", "Handler", "TooLargeError", "file_reply", "saying_errors", "xml_reply"]

VOTABLE = "application/x-votable+xml"
PIECE_BYTES = 1 << 20

Handler = Callable[[Request], Awaitable[Response]]


class TooLargeError(InvalidInputError):
    """A request has more bytes than may be sent."""


def xml_reply(text: str) -> Response:
    """A document in XML."""
    return Response(text, media_type="application/xml")


def file_reply(file: IO[bytes], media_type: str) -> Response:
    """All of a file, which is closed then.

    Parameters
    ----------
    file
        The file.
    media_type
        What it is.
    """
    n_bytes = file.seek(0, 2)
    file.seek(0)

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    return StreamingResponse(
        iterate_in_threadpool(pieces()),
        media_type=media_type,
        headers={"content-length": str(n_bytes)},
    )


def saying_errors(handler: Handler) -> Any:
    """A handler whose errors are VOTables with the status that they deserve.

    Parameters
    ----------
    handler
        Any.
    """

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except HTTPException as error:
            return _error_reply(error.detail, error.status_code)
        except XpscaleError as error:
            return _error_reply(str(error), _status(error))
        except Exception:
            traceback.print_exc()
            return _error_reply("a fault of the service", 500)

    return handle


def _error_reply(message: str, status: int) -> Response:
    # a client may still be sending what nobody will read
    headers = {"connection": "close"} | ({"retry-after": "30"} if status == 503 else {})
    # as DALI wants it, and as Simple Cone Search does
    return Response(error_votable(message, {"Error": message}), status, headers, VOTABLE)


def _status(error: XpscaleError) -> int:
    if isinstance(error, TooLargeError):
        return 413
    if isinstance(error, InvalidInputError | PermanentError):
        return 400
    return 503 if isinstance(error, TryAgainError) else 500
