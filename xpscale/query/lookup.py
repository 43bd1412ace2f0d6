"""From source identifiers to the parts that hold them.

A ``source_id`` carries the pixel of an early position, so nearly every source lies in the part
whose pixel contains ``source_id >> 35``; that part is opened first.  Movers lie elsewhere:
identifiers not found at first are looked for in all other parts, where the statistics of the column
``source_id`` leave few rows to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.convert import array
from xpscale.query.engine import connected, put_ids, scan
from xpscale.sky import MAX_ORDER, Pixel, source_id_pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from xpscale.query.catalog import Catalog
    from xpscale.types import Part

__all__ = ["Location", "candidates", "locate", "parse_ids"]

PREFIX = re.compile(r"^Gaia\s+DR3\s+", re.IGNORECASE)


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


def locate(catalog: Catalog, source_ids: NDArray[np.int64]) -> Location:
    """Find the parts that hold some sources, and the sources that the catalogue does not have.

    Parameters
    ----------
    catalog
        The catalogue.
    source_ids
        Unique Gaia DR3 identifiers with shape (N,).
    """
    parts = catalog.manifest.of("latents")
    first = candidates(parts, source_ids)
    found, holders = _search(catalog, first, source_ids)
    wanted = source_ids[~np.isin(source_ids, found)]
    if len(wanted):
        opened = set(first)
        more, others = _search(catalog, [part for part in parts if part not in opened], wanted)
        wanted = wanted[~np.isin(wanted, more)]
        holders |= others
    return Location(tuple(part for part in parts if part.key in holders), wanted)


def candidates(parts: Sequence[Part], source_ids: NDArray[np.int64]) -> list[Part]:
    """The parts whose pixels contain the level-12 pixels that the identifiers carry."""
    if not parts or not len(source_ids):
        return []
    spans = np.array(
        [part.pixel.index_range for part in parts], np.int64
    )  # (P, 2), sorted, disjoint
    index = np.unique(source_id_pixel(source_ids, MAX_ORDER)) * Pixel(MAX_ORDER, 0).index_range[1]
    row = np.searchsorted(spans[:, 0], index, side="right") - 1
    inside = (row >= 0) & (index < spans[row, 1])
    return [parts[i] for i in np.unique(row[inside])]


def _search(
    catalog: Catalog, parts: Sequence[Part], source_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], set[str]]:
    """The identifiers that are in some parts, and the keys of the parts they are in."""
    if not parts or not len(source_ids):
        return np.empty(0, np.int64), set()
    table = scan(catalog.storage, parts, catalog.manifest.identity, "latents", filename=True)
    with connected(
        catalog.storage, parts, catalog.column_names, "looking up source_id"
    ) as connection:
        put_ids(connection, source_ids)
        rows = connection.sql(
            f"SELECT source_id, filename FROM {table} SEMI JOIN _wanted USING (source_id)"
        )
        found = rows.to_arrow_table()
    root = f"{catalog.storage.url}/"
    return array(found["source_id"]), {
        name.removeprefix(root) for name in found["filename"].unique().to_pylist()
    }


def parse_ids(text: str) -> NDArray[np.int64]:
    """The identifiers that ``ID[,ID..]`` or ``@FILE`` spells, int64, with shape (N,), repeats
    removed.

    A file has one identifier a line; blank lines and what follows a ``#`` are ignored.  ``Gaia
    DR3`` may stand before a number.

    Raises
    ------
    InvalidInputError
        If an entry is no identifier (the message names the line or the field), or there is none at
        all.
    NotFoundError
        If the file does not exist.
    """
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}", "Give @FILE with one source_id a line")
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{path} is not a text file", "Give one source_id a line"
            ) from error
        entries = [(f"{path}, line {i}", line.partition("#")[0]) for i, line in enumerate(lines, 1)]
    else:
        entries = [(f"entry {i}", field) for i, field in enumerate(text.split(","), 1)]
    ids = [_parse_id(where, entry) for where, entry in entries if entry.strip()]
    if not ids:
        raise InvalidInputError(
            f"{text!r} holds no source_id", "Give ID[,ID..] or @FILE with one source_id a line"
        )
    return np.array(list(dict.fromkeys(ids)), np.int64)


def _parse_id(where: str, text: str) -> int:
    digits = PREFIX.sub("", text.strip())
    if not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 2**63:
        raise InvalidInputError(
            f"{where}: {text.strip()!r} is no Gaia source_id",
            "A source_id is a whole number, like 4295806720",
        )
    return int(digits)
