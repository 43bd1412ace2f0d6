"""Text of others neither moves the cursor nor tells a password."""

import contextlib
import io
import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from xpscale.cli.common import say
from xpscale.cli.error_report import write_error_report
from xpscale.errors import InvalidInputError, TryAgainError, UnexpectedError
from xpscale.runtime.attempt import failure_report
from xpscale.runtime.events import RunStarted, TaskEnded, WorkerChanged
from xpscale.runtime.history import History
from xpscale.runtime.json_log import JsonProgress, end_json_log, start_json_log
from xpscale.runtime.prometheus import metrics_of
from xpscale.safe_text import SafeOutput, has_password, one_line, printable, shown
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

SECRET = "qw3rty-s3cret"
ADDRESSES = (
    f"https://user:{SECRET}@host/a/b",
    f"https://{SECRET}@host/a",
    f"http://user:{SECRET}@host:8080/x?part=2",
    f"s3://key:{SECRET}@bucket/prefix",
    f"https://host/a?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}",
    f"https://host/a?X-Amz-Security-Token={SECRET}",
    f"https://account.blob.core.windows.net/c/a?sv=2024-11-04&sp=r&sig={SECRET}",
    f"https://host/a?access_token={SECRET}",
    f"https://host/a?AWSAccessKeyId={SECRET}&Signature={SECRET}",
)
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@given(st.text())
def test_no_text_moves_the_cursor_or_turns_the_direction(text):
    assert not DANGEROUS.search(printable(text))
    assert "\n" not in one_line(text)
    assert printable(printable(text)) == printable(text)
    printable(text).encode()


@given(st.text(), st.sampled_from([InvalidInputError, TryAgainError, UnexpectedError]))
def test_every_error_is_safe_to_print(text, kind):
    error = kind(f"the column {text} is not known", f"Rename {text}")
    for said in (str(error), repr(error), error.message, error.remedy):
        assert not DANGEROUS.search(said)
    assert "\nxpscale" not in str(kind(f"{text}\nxpscale: sound"))


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_error_tells_a_password(address):
    assert SECRET not in str(InvalidInputError(f"{address} is gone", f"Check {address}"))
    assert has_password(address)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_password_is_refused_and_so_stored_nowhere(address):
    with pytest.raises(InvalidInputError, match=r"password|scheme|has a \?") as caught:
        Storage(address)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["https://host/a@b", "s3://bucket/user@site/x", "https://host/a:b", "s3://bucket/a?key=b%20c"],
)
def test_other_addresses_stay_as_they_are(address):
    assert shown(f"{address.partition('?')[0]} is gone") == f"{address.partition('?')[0]} is gone"
    assert not has_password(address.partition("?")[0])


def test_commands_echo_no_password_and_no_control_character(tmp_path):
    name = f"{tmp_path}/\x1b[2J\u202ename\nxpscale: sound"
    address = f"https://user:{SECRET}@host/a"
    for arguments in (["query", name], ["store", "info", address], ["catalog", "info", address]):
        done = subprocess.run(
            [sys.executable, "-m", "xpscale", *arguments], capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert done.returncode in (2, 3), said
        assert SECRET not in said
        assert not DANGEROUS.search(said)
        assert "\nxpscale: sound" not in said


def test_lines_of_ours_stay_lines(tmp_path, capsys):
    say("first\nsecond \x1b[2J")
    assert capsys.readouterr().err == "first\nsecond \\x1b[2J\n"


PLANTED = (
    *(f"GET {address} failed" for address in ADDRESSES),
    f"config {{'aws_session_token': '{SECRET}'}}",
    f'"AccountKey=\\"{SECRET}\\"" is wrong',
    f"export AWS_SECRET_ACCESS_KEY={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"the key {SECRET} was refused",  # known by the environment alone
)


def in_a_report(text):
    task = SimpleNamespace(key="t")
    return failure_report(task, ValueError(text)).to_json()


def in_the_log(text, form="json"):
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        if form == "json":
            start_json_log()
        else:
            sys.stderr = SafeOutput(sys.stderr, moves=True)
        try:
            JsonProgress()(TaskEnded(TaskReport(text, TaskStatus.FAILED, error=text)))
            logging.getLogger("library").warning("of a library: %s", text)
            print(f"xpscale: {text}", file=sys.stderr)
        finally:
            end_json_log()
    lines = stream.getvalue().splitlines()
    if form == "json":
        assert len([json.loads(line) for line in lines]) == 3
    return "\n".join(lines)


def in_metrics(text):
    history = History()
    history(RunStarted(text, 1, 1))
    return generate_latest(Given(metrics_of(history.record))).decode()


@dataclass
class Given:
    """A registry of given metrics."""

    metrics: object

    def collect(self):
        return self.metrics


PLACES = {
    "report": in_a_report,
    "worker": lambda text: str(WorkerChanged("tcp://w", "left out", text)),
    "json": in_the_log,
    "text": lambda text: in_the_log(text, "text"),
    "metrics": in_metrics,
    "fault": lambda text: write_error_report(text, text).read_text(),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", PLANTED)
def test_a_secret_is_kept_and_shown_nowhere(place, text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if text == PLANTED[-1]:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = PLACES[place](text)
    assert SECRET not in found
    assert "***" in found


@pytest.mark.parametrize(
    "text",
    [
        "s.toml: [credentials] variables: not set: A_TOKEN",
        "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        "export AWS_SECRET_ACCESS_KEY=...",
        "no credentials: make some",
        "/var/run/secrets/token is missing",
        "tokens[3] == 4",
    ],
)
def test_what_only_speaks_of_secrets_stays(text, monkeypatch):
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token")
    assert shown(text) == text
