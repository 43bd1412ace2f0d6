"""From source identifiers to the parts that hold them.

A ``source_id`` carries the pixel of an early position, so nearly every source lies in the part
whose pixel contains ``source_id >> 35``.  Movers lie elsewhere: the manifest names them part by
part.  Only a part whose movers it does not name, of an old catalogue or of made-up identifiers, may
hold others: there the statistics of the column ``source_id`` leave few rows to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpscale.query.convert import array
from xpscale.query.engine import connected, put_ids, scan
from xpscale.query.version import CatalogVersion
from xpscale.sky import source_id_index
from xpscale.storage.object_files import duckdb_name
from xpscale.types import Part

__all__ = ["Location", "candidates", "locate"]


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """Where some sources are.

    Parameters
    ----------
    parts
        The latents parts that hold them, sorted by position.
    missing
        Identifiers that are in no part, int64, in the order asked for.
    """

    parts: tuple[Part, ...]
    missing: NDArray[np.int64]


def locate(catalog: CatalogVersion, source_ids: NDArray[np.int64]) -> Location:
    """Find the parts that hold some sources, and the sources that the catalogue does not have.

    Parameters
    ----------
    catalog
        The catalogue.
    source_ids
        Unique Gaia identifiers with shape (N,).
    """
    parts = catalog.manifest.of("latents")
    first = {*candidates(parts, source_ids), *_holders_of_movers(parts, source_ids)}
    found, holders = _search(catalog, sorted(first), source_ids)
    wanted = source_ids[~np.isin(source_ids, found)]
    if len(wanted):
        rest = [part for part in parts if part.movers is None and part not in first]
        more, others = _search(catalog, rest, wanted)
        wanted = wanted[~np.isin(wanted, more)]
        holders |= others
    return Location(tuple(part for part in parts if part.key in holders), wanted)


def candidates(parts: Sequence[Part], source_ids: NDArray[np.int64]) -> list[Part]:
    """The parts whose pixels contain the level-12 pixels that the identifiers carry.

    Parameters
    ----------
    parts
        Parts of one product, sorted by position.
    source_ids
        Gaia identifiers with shape (N,).
    """
    if not parts or not len(source_ids):
        return []
    spans = np.array(
        [part.pixel.index_range for part in parts], np.int64
    )  # (P, 2), sorted, disjoint
    index = np.unique(source_id_index(source_ids))
    row = np.searchsorted(spans[:, 0], index, side="right") - 1
    inside = (row >= 0) & (index < spans[row, 1])
    return [parts[i] for i in np.unique(row[inside])]


def _holders_of_movers(parts: Sequence[Part], source_ids: NDArray[np.int64]) -> list[Part]:
    """The parts that name one of the identifiers among their movers."""
    movers = np.array([(i, mover) for i, part in enumerate(parts) for mover in part.movers or ()])
    if not len(movers):
        return []
    return [parts[i] for i in np.unique(movers[np.isin(movers[:, 1], source_ids), 0])]


def _search(
    catalog: CatalogVersion, parts: Sequence[Part], source_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], set[str]]:
    """The identifiers that are in some parts, and the keys of the parts they are in."""
    if not parts or not len(source_ids):
        return np.empty(0, np.int64), set()
    table = scan(catalog, parts, "latents", filename=True)
    with connected(catalog, parts, "looking up source_id") as connection:
        put_ids(connection, source_ids)
        rows = connection.sql(
            f"SELECT source_id, filename FROM {table} SEMI JOIN _wanted USING (source_id)"
        )
        found = rows.to_arrow_table()
    root = duckdb_name(catalog.storage, "")
    return array(found["source_id"]), {
        name.removeprefix(root) for name in found["filename"].unique().to_pylist()
    }
