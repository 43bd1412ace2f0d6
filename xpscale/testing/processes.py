"""Processes on loopback that can be killed and started again, and free ports for them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xpscale.errors import NotFoundError, TryAgainError

__all__ = ["HOST", "PORT_OFFSET", "Process", "free_ports", "is_free"]

HOST = "127.0.0.1"
PORT_OFFSET = 10_000  # SeaweedFS opens a second port, for gRPC, this far above each


@dataclass(slots=True)
class Process:
    """One process in a group of its own, its output in a file."""

    command: list[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, after stopping it if it runs; its output goes to the end of the log."""
        self.stop()
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                cwd=self.log.parent,
                start_new_session=True,
            )

    def stop(self) -> None:
        """SIGKILL the group: a polite stop of SeaweedFS takes seconds, and a fault is not polite."""
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
            self.popen = None

    @property
    def pid(self) -> int:
        """Process id, also that of the group."""
        if self.popen is None:
            raise NotFoundError(f"{self.command[0]} is not running", "Start it first")
        return self.popen.pid

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait for the service to answer; say what its log ends with if it does not."""
        give_up = time.monotonic() + timeout_s
        while not ready():
            ended = self.popen is None or self.popen.poll() is not None
            if ended or time.monotonic() > give_up:
                self.stop()
                tail = self.log.read_text(errors="replace")[-1_000:]
                what = "ended" if ended else f"did not answer within {timeout_s:g} s"
                raise TryAgainError(f"{' '.join(self.command[:4])} {what}; {self.log} ends with:\n{tail}")
            time.sleep(0.05)


def free_ports(number: int) -> list[int]:
    """Ports of which nobody uses either one or the one `PORT_OFFSET` above."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 2_000):
        if is_free(port) and is_free(port + PORT_OFFSET):
            found.append(port)
        if len(found) == number:
            return found
    raise TryAgainError(f"no {number} free pairs of ports on {HOST}")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine's loopback."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
