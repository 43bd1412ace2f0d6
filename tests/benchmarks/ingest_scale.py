"""A synthetic ingest on two worker processes: its rate, and whether memory stays flat while the
rows go through.

``XPSCALE_BENCH_SOURCES`` says how many sources (200,000 if not set); ``XPSCALE_BENCH_ARCHIVE``
names an archive that is there already.  The files have no correlations text and two GaiaSource rows
for each spectrum, so that a row is a seventh of the real one, on disk, too: this is about memory
and about all that is not gunzip."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.support.archive_bulk import write_bulk_archive
from xpscale.formatting import format_bytes
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.runtime.events import RunStarted, TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.store.check import check_store

N_WORKERS = 2


class Watch:
    """Notes when tasks end, and the peak memory their processes had until then."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.ended: dict[str, list[tuple[float, int, int]]] = {}

    def __call__(self, event: object) -> None:
        """Hear one event."""
        if isinstance(event, RunStarted):
            self.stage = event.stage
            self.started[self.stage], self.ended[self.stage] = time.perf_counter(), []
        elif isinstance(event, TaskEnded):
            now = time.perf_counter() - self.started[self.stage]
            self.ended[self.stage].append((now, event.report.n_in, event.report.peak_memory))


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        archive = os.environ.get("XPSCALE_BENCH_ARCHIVE", "")
        if not archive:
            archive = str(Path(folder) / "archive")
            n_sources = int(os.environ.get("XPSCALE_BENCH_SOURCES", 200_000))
            n_files = max(2, n_sources // 62_500)
            clock = time.perf_counter()
            write_bulk_archive(
                archive, n_sources, n_files=n_files, correlations="none", rows_a_spectrum=2, seed=5
            )
            print(
                f"{n_sources:,} sources in {n_files} file pairs, written in"
                f" {time.perf_counter() - clock:.0f} s"
            )
        watch = Watch()
        with local_cluster(N_WORKERS) as client:
            plan = plan_ingest(archive, str(Path(folder) / "store"))
            store, _ = run_ingest(plan, executor=DaskExecutor(client), callbacks=[watch])
        print(f"{'stage':17} {'sources':>10} {'s':>6} {'sources/s':>10} {'peak of a worker':>17}")
        for stage, ended in watch.ended.items():
            times, rows, peaks = (np.array(column) for column in zip(*ended, strict=True))
            for quarter in range(1, 5):
                last = max(1, len(ended) * quarter // 4)
                n = int(rows[:last].sum())
                peak = format_bytes(float(peaks[:last].max()))
                print(
                    f"{stage:17} {n:10,} {times[last - 1]:6.0f} {n / times[last - 1]:10,.0f}"
                    f" {peak:>17}"
                )
        clock = time.perf_counter()
        found = check_store(store)
        print(
            f"{store}, {format_bytes(found.n_bytes)}, "
            f"{'sound' if found.ok else found.problems[:3]}, ",
            end="",
        )
        print(f"checked in {time.perf_counter() - clock:.0f} s")
        print(
            {name: store.report[name] for name in ("n_read", "n_written", "n_rejected", "n_movers")}
        )
