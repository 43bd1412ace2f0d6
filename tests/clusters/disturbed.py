"""What SLURM says; and an executor whose tasks take a while, so that a test can disturb them."""

import subprocess
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slowly:
    """A function of a task, after some seconds."""

    function: Any
    seconds: float

    def __call__(self, task):
        time.sleep(self.seconds)
        return self.function(task)


@dataclass(frozen=True)
class SlowExecutor:
    """Another executor, slower; calls ``during`` after some reports."""

    executor: Any
    seconds: float
    during: Any = None
    n_before: int = 3

    @property
    def n_workers(self):
        return self.executor.n_workers

    def require_fit(self, function):
        self.executor.require_fit(function)

    def run(self, function, tasks, tell):
        reports = self.executor.run(Slowly(function, self.seconds), tasks, tell)
        for number, report in enumerate(reports, 1):
            yield report
            if number == self.n_before and self.during:
                self.during()


def slurm_says(*command):
    """What a command of SLURM prints."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
