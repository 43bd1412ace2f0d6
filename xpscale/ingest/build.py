"""A spectra store of arrays in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xpscale.ingest.parsers import FragmentRows
from xpscale.ingest.place import begin_store
from xpscale.ingest.run import finish_store
from xpscale.ingest.stage import stage_rows
from xpscale.release import release_of
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.store.reader import SpectraStore
from xpscale.types import Executor

__all__ = ["build_store"]


def build_store(
    pieces: Iterable[tuple[str, SpectraBatch]],
    store_url: str,
    *,
    attributes: Mapping[str, Any],
    max_rows: int = DEFAULT_MAX_ROWS,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> SpectraStore:
    """Make a spectra store of spectra in memory.

    Parameters
    ----------
    pieces
        Names and batches, with errors; no two of a name.  A name says where its rows come from in
        the report.
    store_url
        Where the store will be.
    attributes
        Provenance for the store's attributes: ``release``, ``origin``, and what else is worth
        knowing.
    max_rows
        Rows of a partition at most.
    executor, callbacks
        As in `xpscale.run_ingest`; used for writing partitions.

    Raises
    ------
    ConflictError
        Something else is at the store's place.
    InvalidInputError
        No row is usable, or batches are of different bands.
    """
    store = Storage(store_url)
    identity = {"kind": "batches", **{name: str(value) for name, value in attributes.items()}}
    done = begin_store(store, identity, max_rows)
    if done is not None:
        return done
    name = str(attributes.get("release", ""))
    return finish_store(
        store,
        {name: stage_rows(store, name, name, FragmentRows(batch)) for name, batch in pieces},
        max_rows,
        attributes,
        release=release_of(name) if name else None,
        executor=executor or SerialExecutor(),
        callbacks=list(callbacks),
    )
