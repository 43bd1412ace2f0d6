"""What became of every file and row, kept in the store as ``_xpscale/report.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xpscale.row_rules import DUPLICATE
from xpscale.types import TaskReport

__all__ = ["reconcile"]

OF_GROUPS = ("rejected_in",)
"""What is told of the files of a group, which one task read."""


def reconcile(
    files: Mapping[str, TaskReport],
    partitions: Mapping[str, TaskReport],
    quarantined: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Rows read, written, and rejected by reason: in total and for every file; and the files that
    were set aside.

    Parameters
    ----------
    files, partitions
        Reports of the two stages, by task key; of the first only those that are done.
    quarantined
        ``name`` and ``reason`` of each file that could not be read; none of its rows is in the
        store.
    """
    repeated: Counter[str] = Counter()
    for report in partitions.values():
        repeated.update(report.details["repeated"])
    rows = []
    for key, report in sorted(files.items()):
        rejected = Counter(report.n_rejected)
        if repeated[key]:
            rejected[DUPLICATE] += repeated[key]
        rows.append(
            {
                "name": report.details["name"],
                "n_read": report.n_in,
                "n_written": report.n_out - repeated[key],
                "n_rejected": dict(rejected),
                "n_movers": report.details["n_movers"],
                **{name: report.details[name] for name in OF_GROUPS if name in report.details},
            }
        )
    total: Counter[str] = sum((Counter(row["n_rejected"]) for row in rows), Counter())
    return {
        "n_read": sum(row["n_read"] for row in rows),
        "n_written": sum(row["n_written"] for row in rows),
        "n_rejected": dict(total),
        "n_movers": sum(row["n_movers"] for row in rows),
        "files": rows,
        "quarantined": [dict(file) for file in quarantined],
    }
