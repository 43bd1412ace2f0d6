"""What this process may use of its machine: processors and memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["available_memory", "memory_here", "memory_limit", "n_cpus"]

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")

FILES = (
    ("memory.max", "memory.current", "inactive_file", "memory.events"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control"),
)
"""Of control groups of version 2 and 1: limit; what is used; of that, files that the kernel can
drop; counters.
"""


def n_cpus() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(groups: Path = CONTROL_GROUPS) -> int:
    """Bytes of memory that the machine can still give, and the control groups that we are in (a
    container, a SLURM job), whichever is least.

    Parameters
    ----------
    groups
        Where control groups are mounted.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    for group in _memory_groups(groups):
        for limit, used, files, _ in FILES:
            try:
                left = int((group / limit).read_text()) - int((group / used).read_text())
                left += _counter(group / "memory.stat", files)
            except (OSError, ValueError):  # not of this version, or without limit
                continue
            free = min(free, max(left, 0))
    return free


def memory_limit(groups: Path = CONTROL_GROUPS) -> int:
    """Bytes of memory that this process can have at most: of the machine, and of the control
    groups that we are in.

    Parameters
    ----------
    groups
        Where control groups are mounted.
    """
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for group in _memory_groups(groups):
        for limit, *_ in FILES:
            try:
                limits.append(int((group / limit).read_text()))
            except (OSError, ValueError):
                continue
    return min(limits)


def memory_here(groups: Path = CONTROL_GROUPS) -> dict[str, Any]:
    """Where this process has its memory: ``place``, the machine and control group that it shares;
    ``free`` bytes there, ``held`` bytes by this process, ``oom_kills`` of processes so far.

    Parameters
    ----------
    groups
        Where control groups are mounted.
    """
    import psutil

    own = _memory_groups(groups)
    kills = (_counter(group / files[3], "oom_kill") for group in own for files in FILES)
    return {
        "place": f"{socket.gethostname()} {own[0] if own else ''}",
        "free": available_memory(groups),
        "held": int(psutil.Process().memory_info().rss),
        "oom_kills": max(kills, default=0),
    }


def _memory_groups(groups: Path) -> list[Path]:
    """Folders of the control group that bounds our memory, and of those above it.

    A container sees its own group as the root, under whatever path.
    """
    return list(dict.fromkeys(_own_groups(groups)))


def _own_groups(groups: Path) -> Iterator[Path]:
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = groups / controllers if controllers else groups
        group = mount / path.strip("/")
        yield from (each for each in (group, *group.parents) if each.is_relative_to(mount))


def _counter(path: Path, name: str) -> int:
    """The number of a name in a file of lines of names and numbers; 0 if it is not there."""
    try:
        values = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if line)
        return int(values.get(name, 0))
    except (OSError, ValueError):
        return 0
