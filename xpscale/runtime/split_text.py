"""The split of a run's time for people: one line, or a table with a row for each worker."""

from __future__ import annotations

from xpscale.formatting import format_bytes
from xpscale.runtime.split import TimeSplit, WorkerSplit

__all__ = [
    "SHOWN",
    "describe_bound",
    "describe_split",
    "describe_workers",
    "split_table",
    "stage_label",
]

SHOWN = 0.005
"""Shares below half a per cent are not shown."""

MAX_WORKERS = 16


def stage_label(name: str) -> str:
    """A stage's name in prose: ``to device``."""
    return name.replace("_", " ")


def describe_split(split: TimeSplit) -> str:
    """``read 12%, forward 61%, ... of worker time; bound by forward; 98,000 sources/s, 90 MB/s in,
    85 MB/s out``.

    Empty before the first task has ended.
    """
    total = split.total
    if not total.bound_by:
        return ""
    spent = ", ".join(
        f"{stage_label(name)} {share:.0%}" for name, share in total.shares.items() if share >= SHOWN
    )
    side_by_side = " (stages side by side)" if sum(total.shares.values()) > 1 + SHOWN else ""
    rates = ", ".join((f"{split.sources_per_s:,.0f} sources/s", *_flows(split)))
    return f"{spent} of worker time{side_by_side}; {describe_bound(split)}; {rates}"


def describe_bound(split: TimeSplit) -> str:
    """``bound by write``; ``bound by start up, then by write`` where no stage took most of the
    time.
    """
    total = split.total
    after = f", then by {stage_label(total.busiest_stage)}" * (
        total.busiest_stage not in ("", total.bound_by)
    )
    return f"bound by {stage_label(total.bound_by)}{after}"


def describe_workers(split: TimeSplit) -> list[str]:
    """Lines: the table, and what bounds the run; none before the first task has ended."""
    return [*split_table(split), describe_bound(split)] if split.bound_by else []


def split_table(split: TimeSplit) -> list[str]:
    """Lines of a table: a row for each worker (of many workers, the most idle), and one for all.

    Tasks; sources, bytes in and bytes out a second of the worker's wall time; shares of it in which
    each stage was busy; peak memory.
    """
    total = split.total
    spent = [name for name, share in total.shares.items() if share >= SHOWN]
    idlest = sorted(split.workers, key=lambda worker: worker.idle_s, reverse=True)[:MAX_WORKERS]
    head = ["worker", "tasks", "sources/s", "in", "out", *map(stage_label, spent), "memory"]
    rows = [
        _row(worker, worker, spent) for worker in sorted(idlest, key=lambda worker: worker.worker)
    ]
    if len(split.workers) > 1:
        rows.append(_row(total, split, spent))
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in (head, *rows)]
    hidden = len(split.workers) - len(idlest)
    return [*lines, *([f"{hidden:,} workers that are less idle are not shown"] if hidden else [])]


def _row(worker: WorkerSplit, rates: WorkerSplit | TimeSplit, spent: list[str]) -> list[str]:
    flows = [flow.rpartition(" ")[0] for flow in _flows(rates)]
    shares = [f"{worker.shares[name]:.0%}" for name in spent]
    rate = f"{rates.sources_per_s:,.0f}"
    return [
        worker.worker,
        f"{worker.n_tasks:,}",
        rate,
        *flows,
        *shares,
        format_bytes(worker.peak_memory),
    ]


def _flows(rates: WorkerSplit | TimeSplit) -> tuple[str, str]:
    return (
        f"{format_bytes(rates.bytes_in_per_s)}/s in",
        f"{format_bytes(rates.bytes_out_per_s)}/s out",
    )
