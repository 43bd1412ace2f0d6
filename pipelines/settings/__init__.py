"""Settings that differ between machines: addresses, sizes, resources. One TOML file for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from xpscale.toml_files import read_toml, require_keys
from xpscale.types import Executor

__all__ = ["Settings", "load"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one machine or cluster.

    Parameters
    ----------
    archive, store, sample, model, catalog
        Folders or ``s3://`` URLs of each product.
    scheduler
        Address of a running Dask scheduler; empty for worker processes on this machine.
    workers
        Number of these processes; 0 runs everything in this process.
    resources
        Resources of a worker that a task needs, as the workers declare them: ``{GPU = 1}``.
    device
        Where workers compute: ``auto``, ``cpu`` or ``cuda``.
    max_rows
        Most rows of a partition.
    outputs
        Which outputs to compute: latents, reconstruction, scatter.
    sample_size, sample_rule
        Number of training objects to draw, and the rule: ``density``, ``flattened``, ``uniform``.
    training
        Path of a TOML file with a ``[training]`` table; empty for the defaults.
    """

    archive: str
    store: str
    sample: str
    model: str
    catalog: str
    scheduler: str
    workers: int
    resources: dict[str, float]
    device: str
    max_rows: int
    outputs: list[str]
    sample_size: int
    sample_rule: str
    training: str

    @contextlib.contextmanager
    def executor(self) -> Iterator[Executor]:
        """The executor that runs the tasks."""
        from xpscale import DaskExecutor, SerialExecutor
        from xpscale.runtime.executors.dask import connect, local_cluster

        if not self.scheduler and not self.workers:
            yield SerialExecutor()
            return
        with connect(self.scheduler) if self.scheduler else local_cluster(self.workers) as client:
            yield DaskExecutor(client, self.resources)


def load(path: str | Path) -> Settings:
    """Settings from a TOML file with exactly the fields of `Settings`."""
    values = read_toml(path, example="pipelines/settings/laptop.toml")
    require_keys(values, {each.name for each in fields(Settings)}, str(path))
    return Settings(**values)
