"""However a command ends, no traceback: one line, and a file to send if nobody foresaw it."""

import builtins
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from tests.commands import xpscale
from xpscale.cli import main
from xpscale.cli.error_report import without_credentials
from xpscale.cli.main import app
from xpscale.errors import IncompleteError, TryAgainError, UnexpectedError
from xpscale.runtime.attempt import failure_report, run_error
from xpscale.types import TaskReport, TaskStatus

CLI = Path(main.__file__).parent
HANDLERS = {f"xpscale.cli.{name}" for name in ("main", "error_report", "with_settings")}
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCY"


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reports(folder):
    return [*folder.glob("xpscale-error-*.txt")]


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), AssertionError(), MemoryError(), RecursionError("deep"), OSError("odd"),
     TypeError("a\nb"), AttributeError(f"secret={SECRET}")],
)  # fmt: skip
def test_the_unforeseen_is_one_line_and_a_file(folder, monkeypatch, error):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr("xpscale.inference.status.run_status", raising(error))
    result = xpscale("status", folder)
    assert (result.code, result.out) == (70, "")
    assert "Traceback" not in result.err
    (report,) = reports(folder)
    assert len(result.err.splitlines()) == 2
    assert str(report) in result.err
    text = report.read_text()
    assert f"xpscale status {folder}" in text
    assert "Traceback" in text
    assert type(error).__name__ in text
    assert SECRET not in text


def leaves(command, path=()):
    """All commands by their words, with what reads their arguments."""
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from leaves(one, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(leaves(get_command(app)))
MORE = {"certificates": (), "settings show": ()}
"""What a command needs besides what it requires, to come so far."""


def required(command):
    """A value for each argument and option that a command requires."""
    for parameter in command.params:
        if parameter.required:
            value = "1" if parameter.bare_type in (int, float) else "x"
            is_option = parameter.param_type_name == "option"
            yield from (parameter.opts[0], value) if is_option else (value,)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_lets_the_unforeseen_through(folder, monkeypatch, name):
    """Each imports what it needs when it runs: the first import fails in a way nobody foresaw."""
    imported = builtins.__import__
    modules = {f"xpscale.cli.{path.stem}" for path in CLI.glob("*.py")} - HANDLERS

    def fail(what, scope=None, *rest, **more):
        if scope and scope.get("__name__") in modules:
            raise ZeroDivisionError(f"secret={SECRET}")
        return imported(what, scope, *rest, **more)

    words = [*name.split(), *required(COMMANDS[name]), *MORE.get(name, ())]
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", fail)
        result = xpscale(*words)
    assert (result.code, result.out) == (70, ""), result
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) == 2
    (report,) = reports(folder)
    assert "ZeroDivisionError" in report.read_text()
    assert SECRET not in report.read_text() + result.err


def test_a_folder_that_cannot_be_written_is_no_hindrance(folder, monkeypatch):
    monkeypatch.setattr("xpscale.inference.status.run_status", raising(KeyError("x")))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with pytest.MonkeyPatch.context() as patch:
        missing = folder / "gone"
        missing.mkdir()
        patch.chdir(missing)
        missing.rmdir()
        result = xpscale("status", folder)
    assert result.code == 70
    assert str(reports(folder)[0]) in result.err


def test_a_worker_that_meets_the_unforeseen_sends_its_trace():
    class Task:
        key = "partition 7"

    def fail():
        raise ZeroDivisionError("by design")

    try:
        fail()
    except ZeroDivisionError as error:
        failed = failure_report(Task, error)
    assert failed.status is TaskStatus.FAILED
    raised = run_error(IncompleteError("1 of 2 tasks failed", "Repair it"), [failed])
    assert isinstance(raised, UnexpectedError)
    assert (raised.exit_code, raised.message) == (70, "1 of 2 tasks failed")
    assert "by design" in raised.trace
    assert "in fail" in raised.trace
    known = failure_report(Task, TryAgainError("the network"))
    plain = IncompleteError("1 of 2 tasks failed")
    assert run_error(plain, [known, TaskReport("x", TaskStatus.FAILED)]) is plain


def test_a_report_of_a_worker_is_written_by_the_command(folder, monkeypatch):
    error = UnexpectedError("1 of 2 tasks failed", "Repair it", "Traceback of the worker")
    monkeypatch.setattr("xpscale.inference.status.run_status", raising(error))
    result = xpscale("status", folder)
    assert result.code == 70
    assert "Traceback" not in result.err
    assert "Traceback of the worker" in reports(folder)[0].read_text()


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIAIOSFODNN7EXAMPLE:{}@bucket/x",
        "https://me:{}@host/x failed",
        "GET https://b.s3.amazonaws.com/k?X-Amz-Signature={}&X-Amz-Date=1",
        "aws_secret_access_key = {}",
        '{{"secretAccessKey": "{}", "region": "x"}}',
        "config {{'aws_session_token': '{}'}}",
        "Authorization: Bearer {}",
        "--password={}",
        "token {}",
    ],
)
def test_credentials_are_left_out(text, monkeypatch, tmp_path):
    if text.startswith("token"):  # known from where clients find it only
        (tmp_path / "credentials").write_text(f"[default]\naws_session_token = {SECRET}\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    shown = without_credentials(text.format(SECRET))
    assert SECRET not in shown
    assert "AKIAIOSFODNN7EXAMPLE" not in shown
    assert "***" in shown


def test_other_text_is_left_alone():
    text = 'File "a.py", line 7, in read\n    s3://bucket/key = 4295806720 tokens[3] KeyError'
    assert without_credentials(text) == text


def shell(line, folder):
    script = "from xpscale.cli.main import main; import sys; sys.argv[0] = 'xpscale'; main()"
    line = line.replace("XPSCALE", f'"{sys.executable}" -c "{script}"')
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("XPSCALE --help | head -1", 0),
        ("XPSCALE store info --help | true", 0),
        ("XPSCALE --help >&-", 0),
        ("XPSCALE --help 2>&-", 0),
        ("XPSCALE status nowhere >&- 2>&-", 3),
        ("XPSCALE --help > /dev/full", 75),
        ("PYTHONIOENCODING=ascii XPSCALE status näwhere", 3),
    ],
)
def test_streams_that_are_closed_full_or_of_few_letters(tmp_path, line, code):
    ended = shell(line, tmp_path)
    assert ended.returncode == code, ended
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert not reports(tmp_path)


def test_what_is_said_on_a_closed_stream_does_not_end_up_in_the_data(tmp_path):
    ended = shell("XPSCALE status nowhere 2>&-", tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "")
