"""What a command says, as one JSON object a line, for programs that collect logs.

    {"time": "2026-11-30T02:00:00.123Z", "level": "info", "logger": "xpscale", "message": "...",
     "run": "20261130T020000.000-HOST-PID", "stage": "infer", "task": "Norder=5/Npix=1", ...}

Everything goes through `logging`: what happens in a run with its identifiers, warnings of
libraries, and every other line that is written to standard error.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from xpscale.runtime.events import Event, RunEnded, RunStarted, TaskEnded
from xpscale.safe_text import SafeOutput, without_secrets

__all__ = ["JsonProgress", "end_json_log", "start_json_log"]

ERROR = "xpscale: "
"""What the command line begins its errors with."""

log = logging.getLogger("xpscale")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["trace"] = self.formatException(record.exc_info)
        return json.dumps(_clean(values))


def _clean(value: object) -> object:
    """Without secrets, which cannot be found any more when quotes are escaped."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list) else value


class _Lines(io.TextIOBase):
    """A standard error whose lines become records; a text that is printed at once is one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self._begun = stream, ""

    def write(self, text: str) -> int:
        self._begun += text
        if self._begun.endswith("\n"):
            message, self._begun = self._begun.strip(), ""
            if message:
                is_error = message.startswith(ERROR)
                log.log(logging.ERROR if is_error else logging.INFO, "%s", message)
        return len(text)


class _Handler(logging.StreamHandler[TextIO]):
    pass


def start_json_log() -> None:
    """Write all that this process says from now on as JSON."""
    end_json_log()
    handler = _Handler(sys.stderr.stream if isinstance(sys.stderr, SafeOutput) else sys.stderr)
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    log.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    sys.stderr = _Lines(sys.stderr)


def end_json_log() -> None:
    """Go back to text."""
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, _Handler):
            logging.getLogger().removeHandler(handler)
            log.setLevel(logging.NOTSET)
            logging.captureWarnings(capture=False)
    if isinstance(sys.stderr, _Lines):
        sys.stderr = sys.stderr.stream


class JsonProgress:
    """A callback that logs a record for each event, with the run's name and what it is about."""

    def __init__(self) -> None:
        self._run: dict[str, object] = {}

    def __call__(self, event: Event) -> None:
        """Log what happened."""
        if isinstance(event, RunStarted):
            self._run = {"run": event.run, "stage": event.stage}
            n = {"n_tasks": event.n_tasks, "n_rows": event.n_rows, "n_done": event.n_done}
            self._log("run started", **n, n_workers=event.n_workers)
        elif isinstance(event, RunEnded):
            n = {"n_failed": event.n_failed, "n_left": event.n_left}
            self._log("run ended", **n, wall_s=event.wall_s)
        elif isinstance(event, TaskEnded):
            report = event.report
            self._log(
                f"task {report.status}" + f": {report.error}" * bool(report.error),
                level=logging.INFO if report.status.is_done else logging.ERROR,
                task=report.task,
                parts=[part.key for part in report.parts],
                status=str(report.status),
                n_in=report.n_in,
                n_out=report.n_out,
                wall_s=report.wall_s,
                worker=report.worker,
            )
        else:
            fields = {"worker": event.worker, "change": event.what, "why": event.why}
            self._log(str(event), level=logging.WARNING, **fields)

    def _log(self, message: str, *, level: int = logging.INFO, **fields: object) -> None:
        log.log(level, "%s", message, extra={"fields": {**self._run, **fields}})
