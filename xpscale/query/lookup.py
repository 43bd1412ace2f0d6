"""From source identifiers to the parts that hold them.

A ``source_id`` carries the pixel of an early position, so nearly every source lies in the part
whose pixel contains ``source_id >> 35``; that part is opened first.  Movers lie elsewhere:
identifiers not found at first are looked for in all other parts, where the statistics of the column
``source_id`` leave few rows to read.
"""

from __future__ import annotations

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

    from xpscale.query.version import CatalogVersion
    from xpscale.release import Release
    from xpscale.types import Part

__all__ = ["Location", "candidates", "locate", "parse_ids"]


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
    index = np.unique(source_id_pixel(source_ids, MAX_ORDER)) * Pixel(MAX_ORDER, 0).index_range[1]
    row = np.searchsorted(spans[:, 0], index, side="right") - 1
    inside = (row >= 0) & (index < spans[row, 1])
    return [parts[i] for i in np.unique(row[inside])]


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
    root = f"{catalog.storage.url}/"
    return array(found["source_id"]), {
        name.removeprefix(root) for name in found["filename"].unique().to_pylist()
    }


def parse_ids(text: str, release: Release) -> NDArray[np.int64]:
    """The identifiers that ``ID[,ID..]`` or ``@FILE`` spells, int64, with shape (N,), repeats
    removed.

    A file has one identifier a line; blank lines and what follows a ``#`` are ignored.  The name
    of the release may stand before a number: ``Gaia DR3 4295806720``.

    Parameters
    ----------
    text
        Identifiers, or ``@`` and the path of a file of them.
    release
        The release whose identifiers they are.

    Raises
    ------
    InvalidInputError
        If an entry is no identifier or one of another release (the message names the line or the
        field), or there is none at all.
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
    ids = [_parse_id(where, entry.strip(), release) for where, entry in entries if entry.strip()]
    if not ids:
        raise InvalidInputError(
            f"{text!r} holds no source_id", "Give ID[,ID..] or @FILE with one source_id a line"
        )
    return np.array(list(dict.fromkeys(ids)), np.int64)


def _parse_id(where: str, text: str, release: Release) -> int:
    *prefix, digits = text.split()
    if prefix and not _is_number(prefix[-1]) and _is_number(digits):
        named = " ".join(prefix)
        if named.casefold() != release.name.casefold():
            raise InvalidInputError(
                f"{where}: {text!r} is an identifier of {named}, the catalogue is of {release}",
                f"Give identifiers of {release}: those of another release are other sources",
            )
    elif prefix or not _is_number(digits):
        raise InvalidInputError(
            f"{where}: {text!r} is no Gaia source_id",
            "A source_id is a whole number, like 4295806720",
        )
    return int(digits)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 2**63
