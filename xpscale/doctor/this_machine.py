"""This machine: versions, processors, memory, GPU, room for temporary files."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile

from xpscale.doctor.findings import Diagnosis
from xpscale.errors import PlanError
from xpscale.formatting import format_bytes
from xpscale.runtime.machine import available_memory, n_cpus
from xpscale.runtime.preflight import software

__all__ = ["examine_machine", "look_at_room"]

LEAST_MEMORY = 2 << 30
"""Bytes: a worker at the default partition size needs that."""
LEAST_ROOM = 5 << 30
FULL = 100 << 20
NEEDED = ("dask", "distributed", "hats", "torch", "zarr")
HERE = "this machine"


def examine_machine(found: Diagnosis) -> None:
    """Look at this machine.

    Parameters
    ----------
    found
        Where findings are noted.
    """
    versions = software()
    found.ok(HERE, ", ".join(f"{name} {version}" for name, version in versions.items()))
    if missing := [name for name in NEEDED if not importlib.util.find_spec(name)]:
        found.warn(
            HERE,
            f"not installed: {', '.join(missing)}; catalogues can be queried, but not made",
            "Install them with: pip install 'xpscale[infer]'",
        )
    else:
        memory = available_memory()
        text = f"{n_cpus()} processors, {format_bytes(memory)} of memory for us"
        if memory < LEAST_MEMORY:
            found.warn(HERE, text, "A worker needs 2 GB: allow more, or ingest with --max-rows")
        else:
            found.ok(HERE, text)
        _look_at_gpu(found)
    look_at_room(found, HERE, tempfile.gettempdir())


def _look_at_gpu(found: Diagnosis) -> None:
    import torch

    if names := [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]:
        found.ok(HERE, f"GPU: {', '.join(names)}")
    elif shutil.which("nvidia-smi"):
        found.warn(
            HERE,
            "there is a GPU, and torch cannot use it",
            "Install a build of torch for CUDA, and look at nvidia-smi",
        )
    else:
        found.ok(HERE, "no GPU: --device cpu")


def look_at_room(found: Diagnosis, subject: str, folder: str) -> None:
    """Look how full the disk of a folder is.

    Parameters
    ----------
    found
        Where findings are noted.
    subject
        What is being looked at.
    folder
        A local folder that is there.
    """
    free = shutil.disk_usage(folder).free
    text = f"{format_bytes(free)} free in {folder}"
    if free < FULL:
        found.problem(subject, PlanError(text, "Make room"))
    elif free < LEAST_ROOM:
        found.warn(subject, text, "Make room: DR3's store takes 180 GB, and its latents 22 GB")
    else:
        found.ok(subject, text)
