"""One GPU for each worker process: the processes of a machine, or of a job, take its GPUs in turn.

A *preload* of Dask's workers, which calls `dask_setup` in a new worker process before anything has
looked for GPUs.  The processes of one ``dask worker`` are called ``NAME-0``, ``NAME-1``, and so on.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

__all__ = ["VARIABLE", "dask_setup", "gpu_of"]

VARIABLE = "CUDA_VISIBLE_DEVICES"


def gpu_of(worker: str, visible: str) -> str:
    """The GPU of a worker, as `VARIABLE` names it.

    >>> [gpu_of(f"job-7-{process}", "0,1,3") for process in range(4)]
    ['0', '1', '3', '0']

    Parameters
    ----------
    worker
        Its name, which ends with its number.
    visible
        The GPUs of all, as `VARIABLE` names them; empty if there are none.
    """
    number, gpus = re.search(r"\d+$", worker), [each for each in visible.split(",") if each]
    return gpus[int(number[0]) % len(gpus)] if number and gpus else visible


def dask_setup(worker: Any) -> None:
    """Show this process its own GPU alone.

    Parameters
    ----------
    worker
        The ``distributed.Worker``.
    """
    found = sum(path.name[6:].isdecimal() for path in Path("/dev").glob("nvidia*"))
    visible = os.environ.get(VARIABLE, ",".join(map(str, range(found))))
    if visible:
        os.environ[VARIABLE] = gpu_of(str(worker.name), visible)
