"""Run ``xpscale`` commands in the process of the test, with exit code, output and errors."""

import contextlib
import io
import signal
import sys
from dataclasses import dataclass
from unittest import mock

from xpscale.cli.main import SIGNALS, main


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


class _Stream(io.TextIOWrapper):
    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode()


def xpscale(*arguments: object) -> Result:
    """Run ``xpscale ARGUMENTS...``."""
    out, err, code = _Stream(), _Stream(), 0
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with (
        mock.patch.object(sys, "argv", ["xpscale", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Result(code, out.text(), err.text())


def done(*arguments: object) -> Result:
    """Run ``xpscale ARGUMENTS...``, which must succeed."""
    result = xpscale(*arguments)
    assert result.code == 0, f"xpscale {' '.join(map(str, arguments))}: {result}"
    return result
