"""How many processors there are for this process."""

from __future__ import annotations

import os

__all__ = ["n_cpus"]


def n_cpus() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
