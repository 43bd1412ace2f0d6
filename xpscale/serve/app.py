"""The service as an ASGI application: addresses, replies and errors."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from xpscale.errors import (
    InvalidInputError,
    NotFoundError,
    PermanentError,
    TryAgainError,
    XpscaleError,
)
from xpscale.serve import vosi
from xpscale.serve.database import Database, Stop
from xpscale.serve.requests import Parameters, tap_request
from xpscale.serve.service import answer
from xpscale.serve.votable_rows import error_votable

if TYPE_CHECKING:
    from starlette.datastructures import UploadFile
    from starlette.types import Message

    from xpscale.serve.formats import Format

__all__ = ["application"]

VOTABLE = "application/x-votable+xml"
XML = "application/xml"
PIECE_BYTES = 1 << 20
QUEUE = 64
"""Requests that may wait for their turn."""


class TooLargeError(InvalidInputError):
    """A request has more bytes than may be sent."""


class Service:
    """What handles requests.

    Parameters
    ----------
    database
        The catalogue.
    address
        The address that clients see, empty for that of each request.
    """

    def __init__(self, database: Database, address: str = "") -> None:
        self.database, self.limits, self._address = database, database.limits, address
        self._since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._threads = ThreadPoolExecutor(self.limits.queries + QUEUE)

    def close(self) -> None:
        """End; queries that wait are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def url(self, request: Request, path: str) -> str:
        """The address of a path, as clients see it.

        Parameters
        ----------
        request
            The request to answer.
        path
            Without a stroke in front.
        """
        return f"{(self._address or str(request.base_url)).rstrip('/')}/{path}"

    # -- VOSI

    async def capabilities(self, request: Request) -> Response:
        """What TAP can do here."""
        return Response(vosi.capabilities(self.url(request, "tap"), self.limits), media_type=XML)

    async def availability(self, _: Request) -> Response:
        """That it is up."""
        return Response(vosi.availability(self._since), media_type=XML)

    async def tables(self, request: Request) -> Response:
        """All tables, or the one named."""
        name = request.path_params.get("name", "")
        is_short = request.query_params.get("detail", "").lower() == "min"
        try:
            text = vosi.tables(self.database.tables, name, is_short=is_short)
        except NotFoundError as error:
            raise HTTPException(404, str(error)) from error
        return Response(text, media_type=XML)

    # -- queries

    async def sync(self, request: Request) -> Response:
        """A query that the client waits for."""
        parameters, _files = await self.sent(request)
        asked = tap_request(parameters, self.limits)
        stop, file = Stop(), tempfile.TemporaryFile()  # noqa: SIM115, closed when it was sent

        def work() -> None:
            answer(self.database, asked, {}, file, stop, self.limits.sync_s)

        await self.waiting(request, work, stop)
        return _file_response(file, asked.form)

    async def waiting(self, request: Request, work: Callable[[], None], stop: Stop) -> None:
        """Work in a thread, which is stopped when the client goes.

        Parameters
        ----------
        request
            Of the client.
        work
            What to do.
        stop
            Stops it.
        """
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        while not running.done():
            await asyncio.wait([running], timeout=0.25)
            if not running.done() and await request.is_disconnected():
                stop.now("the client has gone")
        running.result()

    async def sent(self, request: Request) -> tuple[Parameters, dict[str, UploadFile]]:
        """The parameters and files of a request, of at most so many bytes.

        Parameters
        ----------
        request
            GET or POST.

        Raises
        ------
        TooLargeError
            It is larger; what is too large is not read.
        """
        if request.method == "GET":
            return Parameters.of(request.query_params.multi_items()), {}
        most, n_bytes = self.limits.upload_bytes, 0
        too_large = TooLargeError(
            f"the request is larger than {most:,} bytes",
            "Send fewer rows and only the columns that the query needs",
        )
        if int(request.headers.get("content-length", 0)) > most:
            raise too_large

        async def counted() -> Message:
            nonlocal n_bytes
            message = await request.receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > most:
                raise too_large
            return message

        form = await Request(request.scope, counted).form()
        items = list(request.query_params.multi_items())
        items += [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        files = {name: value for name, value in form.items() if not isinstance(value, str)}
        return Parameters.of(items), files


def _file_response(file: IO[bytes], form: Format) -> Response:
    n_bytes = file.seek(0, 2)
    file.seek(0)

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    return StreamingResponse(
        iterate_in_threadpool(pieces()),
        media_type=form.media_type,
        headers={"content-length": str(n_bytes)},
    )


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    if isinstance(error, TooLargeError):
        return 413
    if isinstance(error, InvalidInputError | PermanentError):
        return 400
    return 503 if isinstance(error, TryAgainError) else 500


def _explained(handler: Callable[[Request], Awaitable[Response]]) -> Any:
    """A handler whose errors are replies, as DALI wants."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except HTTPException as error:
            return Response(error_votable(error.detail), error.status_code, media_type=VOTABLE)
        except XpscaleError as error:
            status = status_of(error)
            again = {"retry-after": "30"} if status == 503 else {}
            return Response(error_votable(str(error)), status, again, VOTABLE)
        except Exception:
            traceback.print_exc()
            return Response(error_votable("a fault of the service"), 500, media_type=VOTABLE)

    return handle


def application(database: Database, address: str = "") -> Starlette:
    """The ASGI application of a service.

    Parameters
    ----------
    database
        The catalogue.
    address
        The address that clients see, empty for that of each request.
    """
    service = Service(database, address)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        yield
        service.close()
        database.close()

    async def base(request: Request) -> Response:
        return RedirectResponse(service.url(request, ""), 303)

    routes: list[tuple[str, Callable[[Request], Awaitable[Response]], list[str]]] = [
        ("/tap", base, ["GET"]),
        ("/tap/sync", service.sync, ["GET", "POST"]),
        ("/tap/capabilities", service.capabilities, ["GET"]),
        ("/tap/availability", service.availability, ["GET"]),
        ("/tap/tables", service.tables, ["GET"]),
        ("/tap/tables/{name}", service.tables, ["GET"]),
    ]
    return Starlette(
        routes=[Route(path, _explained(handler), methods=how) for path, handler, how in routes],
        lifespan=lifespan,
    )
