"""Jobs as XML (UWS 1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from xpscale.errors import InvalidInputError
from xpscale.serve.jobs import Job

__all__ = ["job_list_xml", "job_xml", "moment", "parameters_xml", "parsed_moment", "results_xml"]

START = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACES = (
    'xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


def moment(when: datetime | None) -> str:
    """A time as UWS writes it, empty for none."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")[:-5] + "Z" if when else ""


def parsed_moment(text: str) -> datetime:
    """The time that ISO 8601 text says; UTC if it names no zone.

    Raises
    ------
    InvalidInputError
        It says none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} is no time", "Give one such as 2026-01-31T12:00:00Z"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def job_xml(job: Job, url: str) -> str:
    """One job.

    Parameters
    ----------
    job
        The job.
    url
        Its address.
    """
    error = ""
    if job.error:
        error = (
            '<uws:errorSummary type="fatal" hasDetail="true"><uws:message>'
            f"{escape(job.error)}</uws:message></uws:errorSummary>\n"
        )
    run = job.parameters.one("RUNID")
    return f"""{START}<uws:job {NAMESPACES} version="1.1">
<uws:jobId>{job.name}</uws:jobId>
{f"<uws:runId>{escape(run)}</uws:runId>" if run else ""}
<uws:ownerId xsi:nil="true"/>
<uws:phase>{job.phase}</uws:phase>
<uws:quote xsi:nil="true"/>
<uws:creationTime>{moment(job.created)}</uws:creationTime>
{_time("startTime", job.started)}
{_time("endTime", job.ended)}
<uws:executionDuration>{job.duration_s:.0f}</uws:executionDuration>
<uws:destruction>{moment(job.destruction)}</uws:destruction>
{_parameters(job)}{_results(job, url)}{error}</uws:job>
"""


def parameters_xml(job: Job) -> str:
    """The parameters of a job."""
    return START + _parameters(job).replace("parameters>", f"parameters {NAMESPACES}>", 1)


def results_xml(job: Job, url: str) -> str:
    """The results of a job.

    Parameters
    ----------
    job
        The job.
    url
        Its address.
    """
    return START + _results(job, url).replace("results>", f"results {NAMESPACES}>", 1)


def job_list_xml(jobs: Iterable[Job], url: str) -> str:
    """Some jobs.

    Parameters
    ----------
    jobs
        The jobs.
    url
        The address of all jobs.
    """
    lines = "".join(
        f'<uws:jobref id="{job.name}" xlink:href={quoteattr(f"{url}/{job.name}")}>'
        f"<uws:phase>{job.phase}</uws:phase>"
        f"<uws:creationTime>{moment(job.created)}</uws:creationTime></uws:jobref>\n"
        for job in jobs
    )
    return f'{START}<uws:jobs {NAMESPACES} version="1.1">\n{lines}</uws:jobs>\n'


def _time(name: str, when: datetime | None) -> str:
    return f"<uws:{name}>{moment(when)}</uws:{name}>" if when else f'<uws:{name} xsi:nil="true"/>'


def _parameters(job: Job) -> str:
    lines = "".join(
        f"<uws:parameter id={quoteattr(name.lower())}>{escape(value)}</uws:parameter>\n"
        for name, values in job.parameters.items()
        for value in values
    )
    return f"<uws:parameters>\n{lines}</uws:parameters>\n"


def _results(job: Job, url: str) -> str:
    if job.phase != "COMPLETED":
        return "<uws:results/>\n"
    size = job.result.stat().st_size if job.result.exists() else 0
    return (
        f'<uws:results>\n<uws:result id="result" mime-type={quoteattr(job.media_type)}'
        f' size="{size}" xlink:href={quoteattr(f"{url}/results/result")}/>\n</uws:results>\n'
    )
