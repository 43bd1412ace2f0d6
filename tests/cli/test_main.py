"""How a command ends when it is stopped at the very last moment."""

import signal
import subprocess
import sys

import pytest

AFTER_THE_APPLICATION = (
    "main._run = lambda stopped: os.kill(os.getpid(), {number}) or time.sleep(10) or 0"
)
WHILE_PYTHON_ENDS = (
    "main._run = lambda stopped: 0; atexit.register(lambda: os.kill(os.getpid(), {number}) or"
    " time.sleep(10))"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", [AFTER_THE_APPLICATION, WHILE_PYTHON_ENDS])
def test_a_stop_when_all_is_done_leaves_no_traceback(number, when):
    script = (
        f"import atexit, os, time; from xpscale.cli import main; {when.format(number=int(number))};"
        " main.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in ended.stderr
    if when is WHILE_PYTHON_ENDS:
        assert (ended.returncode, ended.stderr) == (-number, "")
    else:
        assert ended.returncode == 130
        assert "run the same command again" in ended.stderr
