"""What several commands share: options, executors, output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from xpscale.errors import InvalidInputError, PermanentError
from xpscale.safe_text import printable, without_secrets

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.settings.cluster import Cluster
    from xpscale.types import Executor

__all__ = [
    "ClusterChoice",
    "DryRun",
    "Json",
    "Output",
    "Overwrite",
    "Patience",
    "Resources",
    "RowsOutput",
    "Scheduler",
    "SettingsFile",
    "SnapshotNumber",
    "Workers",
    "at_most",
    "chosen_cluster",
    "conclude",
    "executor",
    "print_jobs",
    "print_json",
    "print_table",
    "save_figure",
    "say",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Output = Annotated[str, typer.Option("-o", "--output", help="Where to write.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output file if it is there.")
]
RowsOutput = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="A .parquet, .csv, .fits, .vot or .ecsv file; else CSV on stdout.",
    ),
]
SnapshotNumber = Annotated[
    int | None, typer.Option("--snapshot", metavar="N", help="An older version of the catalogue.")
]
Scheduler = Annotated[
    str, typer.Option(help="Address of a running Dask scheduler, tcp://HOST:8786.")
]
ClusterChoice = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="FILE.toml",
        help="Who works: a file with a table [cluster], a name of [clusters.NAME], or local.",
        show_default=False,
    ),
]
SettingsFile = Annotated[str, typer.Option(help="See `xpscale.cli.with_settings`.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and the cluster's jobs, and do nothing.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Worker processes, by default one for each processor; 0 runs in this process.",
        min=0,
        show_default=False,
    ),
]
Resources = Annotated[
    str, typer.Option(help="What a task needs of a worker, as the workers declare it: GPU=1.")
]
Patience = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        help="Run a task again that takes longer than this and five times as long as the others.",
        min=0,
    ),
]

PATIENCE_S = 60.0


def chosen_cluster(
    cluster: str, scheduler: str = "", workers: int | None = None, resources: str = ""
) -> Cluster:
    """The cluster that the options ask for.

    Parameters
    ----------
    cluster
        ``local``, or where a table describes it; empty for this machine.
    scheduler
        Address of a running Dask scheduler, instead.
    workers
        Processes; 0 for this process, ``None`` for as many as the settings say.
    resources
        What a task needs of a worker that others have started: ``NAME=NUMBER``, separated by
        commas.
    """
    from xpscale.settings.cluster import Kubernetes, Running, with_workers
    from xpscale.settings.file import load_cluster

    if scheduler:
        return Running(scheduler, _parse_resources(resources))
    found = with_workers(load_cluster(cluster), workers)
    if resources and isinstance(found, Running | Kubernetes):
        return replace(found, resources=_parse_resources(resources))
    return found


def at_most(cluster: Cluster, n_tasks: int) -> Cluster:
    """The same cluster with no more workers than tasks; this process for a single task.

    Parameters
    ----------
    cluster
        From `chosen_cluster`.
    n_tasks
        How many there will be.
    """
    from xpscale.clusters.start import most_workers
    from xpscale.settings.cluster import Local, with_workers

    if isinstance(cluster, Local) and n_tasks <= 1:
        return Local(0)
    most = most_workers(cluster)
    return cluster if most is None else with_workers(cluster, min(most, max(n_tasks, 1)))


@contextlib.contextmanager
def executor(
    cluster: Cluster, tasks_per_worker: int = 1, patience_s: float = PATIENCE_S
) -> Iterator[Executor]:
    """What runs tasks on a cluster, which starts with the first of them and says what it does.

    Parameters
    ----------
    cluster
        From `chosen_cluster`.
    tasks_per_worker, patience_s
        As in `xpscale.clusters.start.executor`.
    """
    from xpscale.clusters.start import StartedOnUse
    from xpscale.clusters.start import executor as start

    with contextlib.ExitStack() as stack:
        yield StartedOnUse(
            lambda: start(cluster, say, tasks_per_worker=tasks_per_worker, patience_s=patience_s),
            stack,
        )


def print_jobs(cluster: Cluster, work: str = "") -> None:
    """For ``--dry-run``: the work, and the jobs that a cluster would queue, as SLURM gets them.

    Parameters
    ----------
    cluster
        From `chosen_cluster`.
    work
        What would be done, in words.
    """
    if work:
        print(work)
    from xpscale.settings.slurm import Slurm

    if isinstance(cluster, Slurm):
        from xpscale.clusters.job_scripts import client_script, worker_script

        arguments = [each for each in sys.argv[1:] if each != "--dry-run"]
        print(f"# {cluster.n_jobs} jobs of workers:\n{worker_script(cluster)}")
        print(f"# with --submit, the command:\n{client_script(cluster, arguments, Path.cwd())}")


def _parse_resources(text: str) -> dict[str, float]:
    found = {}
    for item in filter(None, text.split(",")):
        name, _, amount = item.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            raise InvalidInputError(
                f"--resources {text!r} cannot be read", "Give NAME=NUMBER, for instance GPU=1"
            ) from None
    return found


def say(text: str) -> None:
    """Print lines on standard error, safe to show; standard output is for data."""
    print(without_secrets(printable(text)), file=sys.stderr, flush=True)


def save_figure(figure: Any, output: str, *, overwrite: bool) -> None:
    """Write a figure, and say so.

    Parameters
    ----------
    figure
        A matplotlib figure.
    output
        Path or URL of the file; its ending says the format.
    overwrite
        Replace what is there.
    """
    from xpscale.plots.style import save

    save(figure, output, overwrite=overwrite)
    say(f"drawn: {output}")


def print_json(value: Mapping[str, Any] | str) -> None:
    """One JSON object on standard output."""
    print(value if isinstance(value, str) else json.dumps(value, indent=1))


class Check(Protocol):
    """What a verification found."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Each names its object; none if all is well."""
        ...

    def to_json(self) -> str:
        """All of it as one JSON object."""
        ...


def conclude(found: Check, place: str, numbers: str, *, json: bool, remedy: str) -> None:
    """Print what a verification found, and fail if it found something.

    Parameters
    ----------
    found
        What it found.
    place
        What was verified.
    numbers
        What was looked at, in one line.
    json
        Print one JSON object instead.
    remedy
        What to do about problems.

    Raises
    ------
    PermanentError
        There are problems.
    """
    if json:
        print_json(found.to_json())
    else:
        print(numbers)
        print("\n".join(found.problems) or "sound")
    if n := len(found.problems):
        raise PermanentError(f"{place} has {n:,} problem{'s' * (n > 1)}", remedy)


def print_table(table: pa.Table) -> None:
    """A table as CSV on standard output, as `xpscale.query.write.write_csv` writes it."""
    from xpscale.query.write import write_csv

    sys.stdout.flush()
    write_csv(sys.stdout.buffer, table.schema, iter(table.to_batches()))
    sys.stdout.flush()
