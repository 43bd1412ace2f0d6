"""The service as an ASGI application: which address is answered by what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from xpscale.serve.database import Database
from xpscale.serve.handlers import Handlers
from xpscale.serve.job_handlers import JobHandlers
from xpscale.serve.jobs import Jobs
from xpscale.serve.replies import Handler, saying_errors

__all__ = ["application"]

GET, BOTH = ["GET"], ["GET", "POST"]


def application(
    database: Database,
    address: str = "",
    *,
    list_jobs: bool = False,
    folders: Mapping[str, Path] = MappingProxyType({}),
) -> Starlette:
    """The ASGI application of a service.

    Parameters
    ----------
    database
        The catalogue; it is closed in the end.
    address
        The address that clients see, empty for that of each request.
    list_jobs
        Whether everybody may see the list of all jobs, and with it delete them.
    folders
        Folders to show as files, by their paths: a page and its catalogue.
    """
    jobs = Jobs(database)
    handlers = Handlers(database, jobs, address, site=next(iter(folders), ""))
    of_jobs = JobHandlers(handlers, jobs, list_all=list_jobs)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        jobs.close()
        handlers.close()
        database.close()

    async def start(request: Request) -> Response:
        return RedirectResponse(handlers.url(request, ""), 303)

    routes: list[tuple[str, Handler, list[str]]] = [
        ("/", handlers.page, GET),
        ("/scs", handlers.cone, BOTH),
        ("/scs/capabilities", handlers.cone_capabilities, GET),
        ("/tap", start, GET),
        ("/tap/sync", handlers.sync, BOTH),
        ("/tap/capabilities", handlers.capabilities, GET),
        ("/tap/availability", handlers.availability, GET),
        ("/tap/examples", handlers.examples_of_tap, GET),
        ("/tap/tables", handlers.tables, GET),
        ("/tap/tables/{name}", handlers.tables, GET),
        ("/tap/async", of_jobs.all, BOTH),
        ("/tap/async/{name}", of_jobs.one, [*BOTH, "DELETE"]),
        ("/tap/async/{name}/{what}", of_jobs.detail, BOTH),
        ("/tap/async/{name}/results/result", of_jobs.result, GET),
    ]
    services = [Route(path, saying_errors(handler), methods=how) for path, handler, how in routes]
    files = [Mount(at, StaticFiles(directory=place, html=True)) for at, place in folders.items()]
    return Starlette(routes=[*services, *files], lifespan=lifespan)
