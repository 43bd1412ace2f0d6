"""``xpscale``: the application, its commands and its exit codes.

Data go to standard output, talk to standard error.  Exit codes follow `xpscale.errors`; 130 is an
interruption by the user.  Every command imports what it needs when it runs, so ``--help`` is
instant.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, TextIO, cast

import typer

from xpscale import __version__
from xpscale.cli import (
    archive,
    catalog,
    certificates,
    crossmatch,
    demo,
    doctor,
    download,
    evaluate,
    infer,
    labels,
    model,
    plot,
    query,
    sample,
    serve,
    settings,
    site,
    store,
    train,
    with_settings,
)
from xpscale.errors import InvalidInputError, TryAgainError, UnexpectedError, XpscaleError
from xpscale.extras import naming_extras
from xpscale.formatting import first_line
from xpscale.safe_text import SafeOutput, one_line, shown, without_secrets

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["app", "main"]

FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
REFUSED |= {errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV}
"""What a file system answers to a path that it does not take."""

INTERRUPTED = 130  # what the command line library makes of a KeyboardInterrupt
SIGNALS = (signal.SIGINT, signal.SIGTERM)

app = typer.Typer(
    name="xpscale",
    help=(
        "Scatter-VAE inference over every Gaia XP spectrum: archive files to a queryable derived"
        " catalogue."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        print(f"xpscale {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for noun in (
    *(archive, store, sample, train, model, evaluate, infer, catalog),
    *(query, crossmatch, download, labels, plot, serve, site, demo, doctor, settings),
    certificates,
):
    noun.register(app)
with_settings.install(app)


def _command() -> str:
    return without_secrets(one_line(shlex.join(["xpscale", *sys.argv[1:]])))


def main() -> None:
    """Entry point: run the application and turn errors into one clear message and an exit code."""
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    # a preempted job ends like an interrupted one: the same command resumes it
    for number in SIGNALS:
        signal.signal(number, stop)
    _open_streams()
    try:
        code = _run(stopped)
    except KeyboardInterrupt:  # it came when the application had ended
        code = INTERRUPTED
    for number in SIGNALS:  # nothing is left to save: from here on they end the process
        signal.signal(number, signal.SIG_DFL)
    if stopped or code == INTERRUPTED:
        print(
            f"xpscale: interrupted; run the same command again to go on from here:\n  {_command()}",
            file=sys.stderr,
        )
        code = INTERRUPTED
    if json_log := sys.modules.get("xpscale.runtime.json_log"):  # a command has begun with it
        json_log.end_json_log()
    sys.exit(code)


def _open_streams() -> None:
    """Make the standard streams take any text, also where the shell has closed them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # print(file=None) would go to the other one
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = cast(TextIO, SafeOutput(sys.stdout))
    sys.stderr = cast(TextIO, SafeOutput(sys.stderr, moves=True))


def _give_up_output() -> int:
    """Send what Python still flushes at its end nowhere: nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _ask_for_report(trace: str) -> None:
    from xpscale.cli.error_report import write_error_report

    path = write_error_report(trace, _command())
    print(f"  This is a fault of xpscale: please send {path}.", file=sys.stderr)


def _run(stopped: list[int]) -> int:
    """Run the application: its exit code, after its errors were printed."""
    try:
        with naming_extras():
            code = app(prog_name="xpscale", standalone_mode=False)
        sys.stdout.flush()
    except XpscaleError as error:
        lines = [f"xpscale: {error.message}", f"  {error.remedy}." if error.remedy else ""]
        lines.append(f"  {_command()}" if isinstance(error, TryAgainError) else "")
        print("\n".join(filter(None, lines)), file=sys.stderr)
        if isinstance(error, UnexpectedError):
            _ask_for_report(error.trace)
        code = error.exit_code
    except (BrokenPipeError, SystemExit):  # which the library makes of it: our reader has gone
        code = _give_up_output()
    except Exception as error:
        if hasattr(error, "show"):  # wrong usage: the command line library explains it
            error.show()
            code = error.exit_code  # type: ignore[attr-defined]
        elif stopped:  # a cluster was stopped while it started
            code = INTERRUPTED
        elif isinstance(error, OSError) and error.errno in FULL:
            place = error.filename or "standard output"
            print(shown(f"xpscale: {place}: {error.strerror}\n  Make room."), file=sys.stderr)
            _give_up_output()
            code = TryAgainError.exit_code
        elif isinstance(error, OSError) and error.filename and error.errno in REFUSED:
            said = f"xpscale: {error.filename}: {error.strerror}"
            print(f"{shown(said)}\n  Check the path, and who may write there.", file=sys.stderr)
            code = InvalidInputError.exit_code
        else:
            from xpscale.cli.error_report import without_credentials

            said = without_credentials(f"{type(error).__name__}: {first_line(error)}")
            print(f"xpscale: unexpected {shown(said)}", file=sys.stderr)
            _ask_for_report("".join(traceback.format_exception(error)))
            code = UnexpectedError.exit_code
    return code if isinstance(code, int) else 0
