"""The place of a store that an ingest makes: claimed before, cleaned up after."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.ingest.plan import IngestPlan
from xpscale.ingest.staged import STAGING
from xpscale.release import require_same_release
from xpscale.storage import Storage
from xpscale.storage.identity import claim
from xpscale.store.layout import FORMAT_VERSION, INGEST
from xpscale.store.reader import SpectraStore, open_store

__all__ = ["STAGED", "begin_store", "clean_up", "finished_store"]

STAGED = f"{STAGING}/archive_digest"
"""Which files the staged rows come from; there once all are staged, so that partitions are never of
two inputs.
"""
STAGED_ENDINGS = (".rows", ".correlations", ".identifiers", ".index.npz", ".json", ".sources")
OWN = ("_xpscale/", "Norder=", "zarr.json#")
"""What an ingest names its objects, of which an unfinished one leaves some behind."""


def begin_store(
    store: Storage, identity: Mapping[str, Any], max_rows: int, *, only_look: bool = False
) -> SpectraStore | None:
    """Claim the place of a store; the finished store if this ingest was finished before.

    Parameters
    ----------
    store
        Where the store will be.
    identity
        What says that two ingests are the same one, be it begun or finished; JSON values.
    max_rows
        Rows of a partition at most.
    only_look
        Whether nothing is written, of a plan.

    Raises
    ------
    ConflictError
        Something else is there.
    """
    identity = {**identity, "max_rows": max_rows, "format_version": FORMAT_VERSION}
    try:
        finished = open_store(store)
    except (NotFoundError, InvalidInputError):
        is_new = claim(store, INGEST, identity, "ingest", only_look=only_look)
        if is_new or not store.exists("zarr.json"):
            return None
        raise
    claim(store, INGEST, identity, "ingest", only_look=only_look)
    if not only_look:
        clean_up(store)
    return finished


def finished_store(plan: IngestPlan, *, only_look: bool = False) -> SpectraStore | None:
    """As `begin_store`, for the store of a plan.

    Parameters
    ----------
    plan
        The ingest.
    only_look
        Whether nothing is written.

    Raises
    ------
    ConflictError
        Something else is there, or the store of files that have changed since.
    """
    done = begin_store(plan.store, plan.identity, plan.max_rows, only_look=only_look)
    if done is None:
        return None
    contents = plan.contents
    if done.attributes.get(contents.digest_name) != contents.digest:
        raise ConflictError(
            f"{done.url} was made of these files, but their sizes or MD5 sums have changed since",
            "A finished store takes no more rows: ingest into a new store",
        )
    if plan.release is not None:
        require_same_release(done.url, done.release, "the input", plan.release)
    if plan.bands not in (None, done.bands):
        raise ConflictError(
            f"{done.url} was made with {done.bands} coefficients, not {plan.bands}",
            "Ingest into a new store",
        )
    return done


def clean_up(store: Storage) -> None:
    """Remove what only an unfinished ingest needs."""
    folders = (STAGING, "_xpscale/ledger", "_xpscale/failed")
    keys = [key for folder in folders for key in store.list(folder)]
    leftovers = [key for key in keys if key == STAGED or key.endswith(STAGED_ENDINGS)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(store.delete, leftovers))
    store.delete(*(key for key in store.unfinished() if key.startswith(OWN)))
