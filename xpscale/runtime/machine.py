"""What this process may use of its machine: processors and memory."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "n_cpus"]

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def n_cpus() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(groups: Path = CONTROL_GROUPS) -> int:
    """Bytes of memory that the machine can still give, and the control group that we are in (a
    container, a SLURM job), whichever is less.

    Parameters
    ----------
    groups
        Where control groups of version 2 are mounted.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    except OSError:
        return free
    for group in (groups / own, *(groups / own).parents):
        if groups not in (group, *group.parents):
            break
        try:
            limit = (group / "memory.max").read_text().strip()
            used = int((group / "memory.current").read_text())
        except (OSError, ValueError):
            continue
        if limit != "max":
            free = min(free, max(int(limit) - used, 0))
    return free
