"""The command itself serves a catalogue of 6,000 made-up sources."""

import contextlib
import re
import signal
import subprocess
import sys

import pytest

from tests.query.conftest import (  # noqa: F401
    example,
    label_models,
    labelled,
    latents_only,
    model,
)

COMMAND = [sys.executable, "-m", "xpscale", "serve"]


@contextlib.contextmanager
def serving(url, *options):
    """The address of a running service."""
    process = subprocess.Popen(
        [*COMMAND, url, "--port", "0", *options], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if address := re.search(r"serving at (http://[^/]+)/", line):
                yield address[1]
                break
        else:
            raise AssertionError("it did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    assert said.endswith("ended\n"), said


@pytest.fixture(scope="session")
def service(labelled):  # noqa: F811
    with serving(labelled) as address:
        yield address
