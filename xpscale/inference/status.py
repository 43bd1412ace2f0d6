"""How far a run is, seen from any machine that reaches the catalogue."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from xpscale.catalog.commit import snapshots
from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import LEDGER
from xpscale.runtime.ledger import Ledger
from xpscale.storage import Storage

__all__ = ["RunStatus", "run_status"]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Counts of a run; ``errors`` maps the tasks that failed last to why; ``sources_per_s`` is per worker."""

    url: str
    n_tasks: int
    n_done: int
    n_failed: int
    n_in: int
    n_out: int
    n_rejected: Mapping[str, int]
    sources_per_s: float
    snapshot: int
    errors: Mapping[str, str]

    @property
    def n_left(self) -> int:
        """Tasks still to do."""
        return self.n_tasks - self.n_done

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps({**asdict(self), "n_left": self.n_left}, indent=1)

    def __str__(self) -> str:
        rejected = ", ".join(f"{n:,} {reason}" for reason, n in self.n_rejected.items()) or "none"
        published = f"published as snapshot {self.snapshot}" if self.snapshot else "not published yet"
        lines = [
            f"{self.n_done:,} of {self.n_tasks:,} tasks done, {self.n_left:,} left, {self.n_failed:,} failed; {published}",
            f"{self.n_in:,} sources read, {self.n_out:,} written, rejected: {rejected}",
            f"{self.sources_per_s:,.0f} sources/s a worker",
        ]
        return "\n".join([*lines, *(f"failed {task}: {error}" for task, error in self.errors.items())])


def run_status(catalog: str | Storage) -> RunStatus:
    """Read a run's ledger.

    Raises
    ------
    NotFoundError
        There is no catalogue, finished or begun.
    """
    storage = catalog if isinstance(catalog, Storage) else Storage(catalog)
    identity = read_identity(storage)
    ledger = Ledger(storage / LEDGER)
    done, failed = ledger.finished(), ledger.failed()
    rejected: Counter[str] = sum((Counter(report.n_rejected) for report in done.values()), Counter())
    published = snapshots(storage)
    return RunStatus(
        storage.url,
        identity.n_tasks,
        len(done),
        len(failed),
        sum(report.n_in for report in done.values()),
        sum(report.n_out for report in done.values()),
        dict(rejected),
        sum(report.n_in for report in done.values()) / max(sum(report.wall_s for report in done.values()), 1e-9),
        published[-1].number if published else 0,
        {task: report.error for task, report in failed.items()},
    )
