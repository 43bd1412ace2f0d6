"""What several commands share: options, executors, output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from xpscale.errors import InvalidInputError, PermanentError
from xpscale.runtime.machine import n_cpus
from xpscale.safe_text import shown

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.types import Executor

__all__ = [
    "Json",
    "Output",
    "Overwrite",
    "Patience",
    "Resources",
    "RowsOutput",
    "Scheduler",
    "SnapshotNumber",
    "Workers",
    "conclude",
    "executor",
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
Workers = Annotated[
    int, typer.Option(help="Worker processes on this machine; 0 runs in this process.", min=0)
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

N_CPUS = n_cpus()


@contextlib.contextmanager
def executor(
    scheduler: str,
    workers: int,
    resources: str = "",
    tasks_per_worker: int = 1,
    patience_s: float = PATIENCE_S,
) -> Iterator[Executor]:
    """The executor that the options ask for: a cluster, processes on this machine, or this process.

    Parameters
    ----------
    scheduler
        Address of a running Dask scheduler; empty for this machine.
    workers
        Processes on this machine; 0 for this process.
    resources
        What a task needs of a cluster's worker: ``NAME=NUMBER``, separated by commas.
    tasks_per_worker
        Tasks that a process on this machine does at the same time; a cluster's workers have as many
        threads as they were started with.
    patience_s
        Seconds before a task can have stalled; see `xpscale.runtime.stall`.
    """
    if scheduler:
        from xpscale.runtime.executors.dask import DaskExecutor, connect

        with connect(scheduler) as client:
            cluster = DaskExecutor(client, _parse_resources(resources), patience_s)
            for remark in cluster.remarks():
                say(f"note: {remark}")
            yield cluster
    elif workers:
        from xpscale.runtime.executors.dask import DaskExecutor, local_cluster

        with local_cluster(workers, tasks_per_worker) as client:
            yield DaskExecutor(client, patience_s=patience_s)
    elif tasks_per_worker > 1:
        from xpscale.runtime.executors.threads import ThreadsExecutor

        yield ThreadsExecutor(tasks_per_worker)
    else:
        from xpscale.runtime.executors.serial import SerialExecutor

        yield SerialExecutor()


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
    """Print a line on standard error; standard output is for data."""
    print(shown(text), file=sys.stderr, flush=True)


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
