"""Processes that can be killed and started again, and free ports for them.

A process that runs a Python module can be *warm*: forked from a server that has everything
imported, so that thousands of them can be killed in one campaign of tests.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xpscale.errors import NotFoundError, TryAgainError

__all__ = ["HOST", "PORT_OFFSET", "Process", "free_ports", "is_free"]

ROOT = str(Path(__file__).resolve().parents[2])
HOST = "127.0.0.1"
PRELOADED = [
    "xpscale.cli.infer",
    "xpscale.inference.run",
    "xpscale.inference.encoder",
    "xpscale.catalog.hats",
    "xpscale.runtime.executors.dask",
    "distributed.cli.dask_worker",
    "distributed.cli.dask_scheduler",
    "s3fs",
]
"""Modules that warm processes find imported."""


PORT_OFFSET = 10_000  # SeaweedFS opens a second port, for gRPC, this far above each


@dataclass(slots=True)
class Process:
    """One process in its own process group, with its output in a file.

    Parameters
    ----------
    command
        Program and arguments.
    log
        File for its output; the process runs in the folder of this file.
    environment
        Variables in addition to this process's.
    is_warm
        Whether to fork it; ``command`` is then ``[python, "-m", MODULE, ...]``.
    popen
        The process while it runs.
    """

    command: list[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    is_warm: bool = False
    popen: subprocess.Popen[bytes] | _Forked | None = None

    def start(self) -> None:
        """Stop the process if it runs, and start it; its output is appended to the log."""
        self.stop()
        environment = {**os.environ, **self.environment}
        # so that the modules of the tests can be imported there, after those that the caller names
        path = filter(None, (environment.get("PYTHONPATH"), ROOT))
        environment["PYTHONPATH"] = os.pathsep.join(path)
        self.log.touch()
        if self.is_warm:
            self.popen = _Forked(self.command, self.log, environment)
            return
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Send SIGKILL to the group; an orderly stop of SeaweedFS would take seconds."""
        if self.popen is not None:
            for kill in (os.killpg, os.kill):  # a group is made a moment after its process
                with contextlib.suppress(ProcessLookupError):
                    kill(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
            self.popen = None

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self.popen is not None and self.popen.poll() is None

    def wait(self, timeout_s: float = 120.0) -> int:
        """Wait for the end of the process; return its exit code, negative for a signal.

        Raises
        ------
        TryAgainError
            If it has not ended after ``timeout_s``; it is killed then.
        """
        give_up = time.monotonic() + timeout_s
        while self.is_running and time.monotonic() < give_up:
            time.sleep(0.01)
        code = self.popen.poll() if self.popen else None
        self.stop()
        if code is None:
            raise TryAgainError(
                f"{' '.join(self.command)} did not end within {timeout_s:g} s: {self.log}"
            )
        return code

    def signal(self, number: int) -> None:
        """Send a signal to this process only, not to its group."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        """Process id, also that of the group."""
        if self.popen is None:
            raise NotFoundError(f"{self.command[0]} is not running", "Start it first")
        return self.popen.pid

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until the service answers.

        Parameters
        ----------
        ready
            Whether it answers.
        timeout_s
            Longest time to wait, in seconds.

        Raises
        ------
        TryAgainError
            With the end of its log, if it ends or does not answer in time.
        """
        give_up = time.monotonic() + timeout_s
        while not ready():
            ended = self.popen is None or self.popen.poll() is not None
            if ended or time.monotonic() > give_up:
                self.stop()
                tail = self.log.read_text(errors="replace")[-1_000:]
                what = "ended" if ended else f"did not answer within {timeout_s:g} s"
                raise TryAgainError(
                    f"{' '.join(self.command[:4])} {what}; {self.log} ends with:\n{tail}"
                )
            time.sleep(0.05)


class _Forked:
    """A process forked from the server, with the used part of the interface of ``Popen``."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self._process = _fork_server().Process(
            target=_run_module, args=(command[2:], str(log), environment)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


@functools.cache
def _fork_server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run_module(command: list[str], log: str, environment: dict[str, str]) -> None:
    """Become ``python -m MODULE ARGUMENTS``."""
    import dask

    os.setsid()
    os.chdir(Path(log).parent)
    for number, file in (
        (0, os.open(os.devnull, os.O_RDONLY)),
        (1, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)),
    ):
        os.dup2(file, number)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(environment)
    dask.config.refresh()  # dask has read the environment of the fork server
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def free_ports(number: int) -> list[int]:
    """Free ports for which the port `PORT_OFFSET` above is free, too."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 2_000):
        if is_free(port) and is_free(port + PORT_OFFSET):
            found.append(port)
        if len(found) == number:
            return found
    raise TryAgainError(f"no {number} free pairs of ports on {HOST}")


def is_free(port: int) -> bool:
    """Whether a port on the loopback interface is free; does not disturb a server that starts."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
