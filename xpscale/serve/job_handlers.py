"""What answers requests about jobs: UWS 1.1 under ``/tap/async``."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.serve import uws
from xpscale.serve.handlers import Handlers
from xpscale.serve.jobs import ENDED, Job, Jobs
from xpscale.serve.replies import VOTABLE, file_reply, xml_reply
from xpscale.serve.requests import Parameters, whole_number
from xpscale.serve.votable_rows import error_votable

__all__ = ["JobHandlers"]

WAIT_S = 60
"""The longest that a client may wait for a change of phase in one request."""


class JobHandlers:
    """What answers requests about jobs.

    Parameters
    ----------
    handlers
        Of the service.
    jobs
        Its jobs.
    list_all
        Whether everybody may see the list of all jobs, and with it delete them.
    """

    def __init__(self, handlers: Handlers, jobs: Jobs, *, list_all: bool) -> None:
        self._handlers, self._jobs, self._list_all = handlers, jobs, list_all

    async def all(self, request: Request) -> Response:
        """The list of jobs, or a new one."""
        url = self._handlers.url(request, "tap/async")
        parameters, files = await self._handlers.sent(request)
        if request.method == "GET":
            return xml_reply(uws.job_list_xml(self._listed(parameters), url))
        run = parameters.pop("PHASE", [""])[-1].upper() == "RUN"
        job = await asyncio.to_thread(self._jobs.create, parameters, files)
        if run:
            self._jobs.start(job)
        return RedirectResponse(f"{url}/{job.name}", 303)

    def _listed(self, parameters: Parameters) -> list[Job]:
        jobs = list(self._jobs) if self._list_all else []
        if phases := parameters.get("PHASE"):
            jobs = [job for job in jobs if job.phase in map(str.upper, phases)]
        if after := parameters.one("AFTER"):
            jobs = [job for job in jobs if job.created > uws.parsed_moment(after)]
        last = whole_number(parameters.one("LAST"), "LAST")
        return jobs if last is None else jobs[-last:] if last else []

    async def one(self, request: Request) -> Response:
        """A job; or it is deleted."""
        job, url = self._job(request)
        parameters, _ = await self._handlers.sent(request)
        if request.method == "DELETE" or parameters.one("ACTION").upper() == "DELETE":
            await asyncio.to_thread(self._jobs.delete, job)
            return RedirectResponse(self._handlers.url(request, "tap/async"), 303)
        if request.method == "POST":
            return self._changed(job, url, parameters)
        if wait := parameters.one("WAIT"):
            seconds = WAIT_S if wait == "-1" else whole_number(wait, "WAIT") or 0
            phase = parameters.one("PHASE").upper() or job.phase
            if phase == job.phase not in ENDED:
                await asyncio.to_thread(job.wait, min(seconds, WAIT_S), phase)
        return xml_reply(uws.job_xml(job, url))

    async def detail(self, request: Request) -> Response:
        """One thing about a job, to be read or changed."""
        job, url = self._job(request)
        what = request.path_params["what"]
        if request.method == "POST":
            parameters, files = await self._handlers.sent(request)
            if files:
                raise InvalidInputError("tables can be sent only with a new job")
            return self._changed(job, url, parameters)
        if what == "results":
            return xml_reply(uws.results_xml(job, url))
        if what == "parameters":
            return xml_reply(uws.parameters_xml(job))
        if what == "error":
            return Response(error_votable(job.error or "no error"), media_type=VOTABLE)
        texts = {
            "phase": job.phase,
            "executionduration": f"{job.duration_s:.0f}",
            "destruction": uws.moment(job.destruction),
            "quote": "",
            "owner": "",
        }
        if what not in texts:
            raise HTTPException(404, f"a job has no {what!r}")
        return PlainTextResponse(texts[what])

    async def result(self, request: Request) -> Response:
        """The result of a job."""
        job, _ = self._job(request)
        if job.phase != "COMPLETED":
            raise HTTPException(404, f"the job is {job.phase}, and has no result")
        return file_reply(job.result.open("rb"), job.media_type)

    def _job(self, request: Request) -> tuple[Job, str]:
        name = request.path_params["name"]
        try:
            return self._jobs[name], self._handlers.url(request, f"tap/async/{name}")
        except NotFoundError as error:
            raise HTTPException(404, str(error)) from error

    def _changed(self, job: Job, url: str, parameters: Parameters) -> Response:
        phase = parameters.one("PHASE").upper()
        if phase not in ("", "RUN", "ABORT"):
            raise InvalidInputError(f"PHASE is {phase!r}", "Give RUN or ABORT")
        duration = parameters.one("EXECUTIONDURATION")
        if (seconds := whole_number(duration, "EXECUTIONDURATION")) is not None:
            job.duration_s = self._jobs.duration(seconds)
        if text := parameters.one("DESTRUCTION"):
            job.destruction = self._jobs.destruction(uws.parsed_moment(text))
        special = ("PHASE", "EXECUTIONDURATION", "DESTRUCTION", "ACTION", "WAIT")
        more = {name: value for name, value in parameters.items() if name not in special}
        if more and job.phase != "PENDING":
            raise InvalidInputError(f"the job is {job.phase}: its parameters stay as they are")
        job.parameters.update(more)
        if phase == "RUN":
            self._jobs.start(job)
        if phase == "ABORT":
            self._jobs.abort(job)
        return RedirectResponse(url, 303)
