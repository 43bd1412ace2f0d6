"""What answers requests that are answered at once: VOSI and queries that the client waits for."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from xpscale.errors import NotFoundError
from xpscale.query.engine import ARRAYS
from xpscale.serve import vosi
from xpscale.serve.cone import cone_request
from xpscale.serve.database import Database, Stop
from xpscale.serve.examples import examples, examples_page
from xpscale.serve.jobs import Jobs
from xpscale.serve.plan import plan
from xpscale.serve.replies import TooLargeError, file_reply, xml_reply
from xpscale.serve.requests import Parameters, TapRequest, tap_request
from xpscale.serve.start_page import start_page
from xpscale.serve.uploads import read_uploads

if TYPE_CHECKING:
    from starlette.types import Message

__all__ = ["Handlers"]

QUEUE = 64
"""Requests that may wait for their turn."""


class Handlers:
    """What answers requests.

    Parameters
    ----------
    database
        The catalogue.
    jobs
        Whose results can be uploaded.
    address
        The address that clients see, empty for that of each request.
    site
        The path of a site with maps, empty for none.
    """

    def __init__(
        self, database: Database, jobs: Jobs, address: str = "", *, site: str = ""
    ) -> None:
        self.database, self.limits, self._address = database, database.limits, address
        self._jobs, self._site = jobs, site
        self._since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._place = _place(database)
        self._arrays = [name for name in ARRAYS if name in database.version.known_columns]
        self.examples = examples(
            *self._place,
            has_spectra=bool(self._arrays),
            has_labels=bool(database.version.labels),
        )
        self._threads = ThreadPoolExecutor(self.limits.queries + QUEUE, "query")

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

    async def capabilities(self, request: Request) -> Response:
        """What TAP can do here."""
        return xml_reply(vosi.capabilities(self.url(request, "tap"), self.limits))

    async def availability(self, _: Request) -> Response:
        """That it is up."""
        return xml_reply(vosi.availability(self._since))

    async def tables(self, request: Request) -> Response:
        """All tables, or the one named."""
        name = request.path_params.get("name", "")
        is_short = request.query_params.get("detail", "").lower() == "min"
        try:
            return xml_reply(vosi.tables(self.database.tables, name, is_short=is_short))
        except NotFoundError as error:
            raise HTTPException(404, str(error)) from error

    async def examples_of_tap(self, _: Request) -> Response:
        """Queries to start with."""
        return Response(examples_page(self.examples), media_type="application/xhtml+xml")

    async def page(self, request: Request) -> Response:
        """The page for people."""
        text = start_page(self.database.version, self.url(request, ""), self.examples, self._site)
        return HTMLResponse(text)

    async def cone_capabilities(self, request: Request) -> Response:
        """What the cone search can do here."""
        url = self.url(request, "scs")
        return xml_reply(vosi.cone_capabilities(url, self.limits, self._place))

    async def sync(self, request: Request) -> Response:
        """A query that the client waits for."""
        parameters, files = await self.sent(request)
        asked = tap_request(parameters, self.limits)
        return await self._answered(request, asked, files)

    async def cone(self, request: Request) -> Response:
        """A cone search."""
        parameters, _ = await self.sent(request)
        asked = cone_request(parameters, self.limits, self._arrays)
        return await self._answered(request, asked, {})

    async def _answered(
        self, request: Request, asked: TapRequest, files: Mapping[str, IO[bytes]]
    ) -> Response:
        stop, limits = Stop(), self.limits
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())

            def work() -> None:
                uploads = read_uploads(asked.uploads, files, self._jobs.result_at, limits)
                self.database.answer(asked, uploads, file, stop, limits.sync_s, limits.queue_s)

            await self.waiting(request, work, stop)
            stack.pop_all()  # the reply closes it
        return file_reply(file, asked.form.media_type)

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

    async def sent(self, request: Request) -> tuple[Parameters, dict[str, IO[bytes]]]:
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
        items = list(request.query_params.multi_items())
        if request.method != "POST":
            return Parameters.of(items), {}
        most, n_bytes = self.limits.upload_bytes, 0
        too_large = TooLargeError(
            f"the request is larger than {most:,} bytes",
            "Send fewer rows and only the columns that the query needs",
        )
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > most:
            raise too_large

        async def counted() -> Message:
            nonlocal n_bytes
            message = await request.receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > most:
                raise too_large
            return message

        form = (await Request(request.scope, counted).form()).multi_items()
        items += [(name, value) for name, value in form if isinstance(value, str)]
        return Parameters.of(items), {
            name: value.file for name, value in form if not isinstance(value, str)
        }


def _place(database: Database) -> tuple[float, float]:
    """Ra and dec of a source, degrees."""
    query = "SELECT TOP 1 ra, dec FROM latents"
    made = plan(query, database.version, database.tables, {}, 1)
    with database.rows(made, Stop(), database.limits.sync_s) as (_, batches):
        row = next(batches).to_pylist()[0]
    return row["ra"], row["dec"]
