"""The log as JSON: every line on standard error is one object."""

import contextlib
import io
import json
import logging
import sys

import pytest

from tests.commands import xpscale
from xpscale.runtime.events import RunEnded, RunStarted, TaskEnded, WorkerChanged
from xpscale.runtime.json_log import JsonProgress, end_json_log, start_json_log
from xpscale.types import Part, Pixel, TaskReport, TaskStatus


@pytest.fixture
def records():
    """A block in which the log is written; what it has said."""

    @contextlib.contextmanager
    def block():
        with contextlib.redirect_stderr(io.StringIO()) as stream:
            start_json_log()
            said = []
            try:
                yield said
            finally:
                end_json_log()
        said += [json.loads(line) for line in stream.getvalue().splitlines()]

    return block


def test_a_run_is_told_with_its_identifiers(records):
    started, part = RunStarted("infer", 2, 20), Part(Pixel(1, 4), "latents/a", 9, 5, "0" * 64)
    written = TaskReport("Norder=1/Npix=4", TaskStatus.WRITTEN, (part,), n_in=10, n_out=9)
    events = (
        started,
        TaskEnded(written),
        TaskEnded(TaskReport("Norder=1/Npix=5", TaskStatus.FAILED, error="spoilt\nat row 7")),
        WorkerChanged("tcp://10.0.0.1:1", "lost", "it ended"),
        RunEnded("infer", 1, 0, 1.5),
    )
    progress = JsonProgress()
    with records() as said:
        for event in events:
            progress(event)
    first, done, failed, lost, last = said
    assert {each["run"] for each in (first, done, failed, lost, last)} == {started.run}
    assert (done["stage"], done["task"], done["parts"]) == ("infer", written.task, ["latents/a"])
    assert (failed["level"], failed["message"]) == ("error", "task failed: spoilt\nat row 7")
    assert (lost["level"], lost["worker"], lost["change"]) == (
        "warning",
        "tcp://10.0.0.1:1",
        "lost",
    )
    assert (last["n_failed"], last["wall_s"]) == (1, 1.5)


def test_whatever_else_is_said_is_a_record_as_well(records):
    with records() as said:
        print("note: two\nlines", file=sys.stderr)
        print("xpscale: a fault", file=sys.stderr)
        logging.getLogger("another").warning("of a %s", "library")
    assert [(each["level"], each["message"]) for each in said] == [
        ("info", "note: two\nlines"),
        ("error", "xpscale: a fault"),
        ("warning", "of a library"),
    ]


def test_errors_of_commands_are_records(tmp_path):
    gone = tmp_path / "gone"
    refused = xpscale("infer", gone, gone, tmp_path / "c", "--log-format", "json")
    (record,) = [json.loads(line) for line in refused.err.splitlines()]
    assert (refused.code, record["level"]) == (3, "error")
    assert str(gone) in record["message"]
    assert xpscale("infer", gone, gone, gone, "--log-format", "xml").code == 2
    assert not xpscale("status", gone).err.startswith("{")
