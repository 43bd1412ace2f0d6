"""Two billion sources in about 8,000 partitions, with stand-in work: time and memory of everything
that one process does for all partitions.

Every step is a process of its own; what is done is kept in ``$XPSCALE_BENCH_PLACE``
(``/tmp/xpscale-billion``), and the same command goes on where it was interrupted.
``$XPSCALE_BENCH_SHARE`` (1): of the sources and so of the partitions; two shares tell what grows
faster than the number of partitions.  ``$XPSCALE_BENCH_WORKERS`` (64): processes of the run; fewer
of them work so much faster that tasks end as often.

What is real: the partitions of a sky of 2.0 billion sources, plan, ledger, scheduler, workers,
reports, manifest, commit, HATS files, statistics, margin, index, and every object's key.  What
stands in: a task sleeps for as long as its sources would take; the files of a part hold a few rows,
and their reports, manifest and cell counts state as many as the partition would have; the store
lists objects that do not exist.  The 10,000 partitions of the ingested store are real, with 20 rows
each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks._billion import STEPS
from xpscale.formatting import format_bytes

PLACE = os.environ.get("XPSCALE_BENCH_PLACE", "/tmp/xpscale-billion")
SHARE = os.environ.get("XPSCALE_BENCH_SHARE", "1")


def main() -> None:
    """Print the table."""
    place = Path(f"{PLACE}-{SHARE}")
    place.mkdir(parents=True, exist_ok=True)
    print("| step | time | CPU | peak memory | bound | |\n|---|---:|---:|---:|---|---|")
    for name, step in STEPS.items():
        record = place / f"{name}.json"
        if not record.exists():
            command = [sys.executable, "-m", "tests.benchmarks._billion", name, str(place), SHARE]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            record.write_text(done.stdout.splitlines()[-1])
        found = json.loads(record.read_text())
        print(
            f"| {step.title} | {found['wall_s']:.1f} s | {found['cpu_s']:.1f} s"
            f" | {format_bytes(found['peak_memory'])} | {step.bound} | {found['said']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
