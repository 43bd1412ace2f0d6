"""Whether a spectra store is undamaged: objects' bytes, partitions' rows, the report's sums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from xpscale.errors import XpscaleError
from xpscale.json_files import parse_json
from xpscale.sky import healpix_29
from xpscale.store.layout import PARTITIONS, REPORT
from xpscale.store.reader import SpectraStore
from xpscale.store.writer import table_digest
from xpscale.types import Partition

__all__ = ["StoreCheck", "check_store"]


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """What was found in a store.

    Parameters
    ----------
    url
        Where it is.
    n_read, n_written, n_rejected
        Rows that its ingest read, wrote, and rejected by reason.
    n_partitions, n_objects, n_bytes
        Partitions, the objects that they are made of, and their bytes.
    problems
        Every object or partition that is not as it should be, one sentence each.
    quarantined
        Names and reasons of the files that could not be read when it was made.
    """

    url: str
    n_read: int
    n_written: int
    n_rejected: Mapping[str, int]
    n_partitions: int
    n_objects: int
    n_bytes: int
    problems: tuple[str, ...] = field(default=())
    quarantined: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps({**asdict(self), "ok": self.ok}, indent=1)


def check_store(store: SpectraStore) -> StoreCheck:
    """Read a whole store and verify it.

    The table of partitions must be the sealed one; every object it lists must be there with its
    size and sha256, and none else; every partition must have its rows, sorted by position and
    inside its pixel; no ``source_id`` may stand twice in a partition; and the ingest report must
    reconcile: read = written + rejected, in total and for every file.
    """
    table = parse_json(store.storage.read(PARTITIONS))
    listed: dict[str, list[Any]] = {}
    for row in table:
        listed.update(row["objects"])
    report = _report(store)
    problems = (
        list(_reconcile(store, report)) if report else [f"{REPORT} is missing or is not JSON"]
    )
    if table_digest(table) != store.digest:
        problems.append(
            f"{PARTITIONS} is not the table that zarr.json was sealed with (digest differs)"
        )
    problems += _strays(store, listed)
    with ThreadPoolExecutor(8) as threads:
        problems += [
            p for p in threads.map(lambda item: _object_problem(store, *item), listed.items()) if p
        ]
    for partition in store.partitions:
        problems += _partition_problems(store, partition)
    return StoreCheck(
        store.url,
        report.get("n_read", 0),
        store.n_rows,
        report.get("n_rejected", {}),
        len(store.partitions),
        len(listed),
        sum(n_bytes for n_bytes, _ in listed.values()),
        tuple(problems),
        tuple(report.get("quarantined", ())),
    )


def _report(store: SpectraStore) -> dict[str, Any]:
    try:
        return store.report
    except (XpscaleError, ValueError):
        return {}


def _reconcile(store: SpectraStore, report: Mapping[str, Any]) -> Iterable[str]:
    for name, row in [
        ("the report", report),
        *((f"file {f['name']}", f) for f in report.get("files", [])),
    ]:
        if row["n_read"] != row["n_written"] + sum(row["n_rejected"].values()):
            yield (
                f"{name} does not reconcile: {row['n_read']} read, {row['n_written']} written, "
                f"{sum(row['n_rejected'].values())} rejected"
            )
    for name in ("n_read", "n_written", "n_movers"):
        in_files = sum(file[name] for file in report.get("files", []))
        if in_files != report[name]:
            yield f"the report has {name} {report[name]}, its files sum to {in_files}"
    if len(report.get("quarantined", [])) != store.attributes.get("n_quarantined", 0):
        yield (
            f"{len(report.get('quarantined', []))} files are set aside in the report, zarr.json"
            " says otherwise"
        )
    sealed = store.attributes["n_rows"]
    if not store.n_rows == sealed == report["n_written"]:
        yield (
            f"{store.n_rows} rows in partitions, {sealed} in zarr.json, {report['n_written']} in"
            " the report"
        )


def _strays(store: SpectraStore, listed: Mapping[str, Any]) -> list[str]:
    own = {
        "zarr.json",
        *(f"Norder={partition.pixel.order}/zarr.json" for partition in store.partitions),
    }
    return [
        f"{key} is in the store, but the store does not list it"
        for key in store.storage.list()
        if key not in listed and key not in own and not key.startswith("_xpscale/")
    ]


def _object_problem(store: SpectraStore, key: str, expected: list[Any]) -> str:
    n_bytes, sha256 = expected
    try:
        data = store.storage.read(key)
    except XpscaleError as error:
        return f"{key}: {error.message}"
    if len(data) != n_bytes:
        return f"{key} has {len(data)} bytes, the store lists {n_bytes}"
    if hashlib.sha256(data).hexdigest() != sha256:
        return f"{key} has other bytes than were written (sha256 differs)"
    return ""


def _partition_problems(store: SpectraStore, partition: Partition) -> list[str]:
    try:
        batch = store.read(partition)
        correlations = store.read_correlations(partition) if store.has_correlations else ()
    except Exception as error:  # whatever a damaged object makes zarr raise is the finding
        return [f"{partition.key} cannot be read: {type(error).__name__}: {error}"]
    problems = []
    index = healpix_29(batch.ra, batch.dec)
    low, high = partition.pixel.index_range
    outside = int(((index < low) | (index >= high)).sum())
    if outside:
        problems.append(f"{partition.key} has {outside} sources outside its pixel")
    if np.any(np.diff(index) < 0):
        problems.append(f"{partition.key} is not sorted by position")
    if len(np.unique(batch.source_id)) != len(batch):
        problems.append(f"{partition.key} has a source_id twice")
    if not all(np.isfinite(band).all() for band in correlations):
        problems.append(f"{partition.key} has correlations that are not finite")
    return problems
