"""Labels that are published in a catalogue, read part by part next to its rows, and how the page is
told of them.

A part of the labels has the rows of the part of the latents with the same pixel, in the same order:
they are put side by side by their number, and compared by ``source_id``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.derived_tables import MADE_OF
from xpscale.errors import ConflictError, PermanentError
from xpscale.flags import LabelFlag
from xpscale.formatting import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xpscale.query.catalog import Catalog
    from xpscale.schema import Column
    from xpscale.types import Part

__all__ = ["FLAGS", "LabelRows", "describe_labels", "label_columns"]

ERROR, FLAGS = "_error", "_flags"
"""What follows the name of a label in those of its error and of its flags."""

REMEDY = "Publish them again: xpscale labels apply --publish"


def label_columns(catalog: Catalog) -> tuple[Column, ...]:
    """The columns of the labels; none if nobody has published any.

    Parameters
    ----------
    catalog
        The catalogue.
    """
    return tuple(catalog.label_columns.values())


def describe_labels(catalog: Catalog) -> dict[str, Any] | None:
    """What the page is told of the labels, or ``None`` if there are none: how their files say what
    they are made of, the columns of each label, and the flags in words.

    Parameters
    ----------
    catalog
        The catalogue.
    """
    if catalog.labels is None:
        return None
    names = list(catalog.label_columns)
    extra = {name + end for name in names for end in (ERROR, FLAGS)}
    labels = [
        {"name": name}
        | {
            key: name + end
            for key, end in (("error", ERROR), ("flags", FLAGS))
            if name + end in names
        }
        for name in names
        if name not in extra
    ]
    return {
        "made_of": _made_of(catalog),
        "of": labels,
        "flags": {flag.value: flag.words for flag in LabelFlag},
    }


def _made_of(catalog: Catalog) -> str:
    """What the files of the labels say that they are made of."""
    return f"{catalog.manifest.digest} {catalog.labels.source}" if catalog.labels else ""


class LabelRows:
    """Columns of the labels, put behind rows of the latents.

    Parameters
    ----------
    catalog
        The catalogue.
    names
        Columns of its labels; if there are none, nothing is read.
    """

    def __init__(self, catalog: Catalog, names: Sequence[str]) -> None:
        self._catalog, self._names = catalog, list(names)
        self._parts = {part.pixel: part for part in catalog.label_parts} if names else {}
        self._rows: pa.Table | None = None

    def open(self, part: Part) -> None:
        """Read the labels of a part of the latents.

        Parameters
        ----------
        part
            Of the latents.

        Raises
        ------
        ConflictError
            Other labels were published meanwhile.
        PermanentError
            They do not have a row for each row of the part, or cannot be read.
        """
        if not self._names:
            return
        storage = self._catalog.storage
        mine = self._parts.get(part.pixel)
        if mine is None or mine.n_rows != part.n_rows:
            raise self._mismatch(part)
        try:
            with storage.open(mine.key) as handle:
                file = pq.ParquetFile(handle, **storage.parquet_options)
                self._require_mine(file)
                self._rows = file.read(["source_id", *self._names])
        except pa.ArrowException as error:
            raise PermanentError(
                f"{storage.url_of(mine.key)} is damaged ({first_line(error)})", REMEDY
            ) from error

    def behind(self, rows: pa.Table, first: int, part: Part) -> pa.Table:
        """Rows of the latents with the labels behind.

        Parameters
        ----------
        rows
            Some rows of the part that is open, with ``source_id``.
        first
            The number of the first one in its part.
        part
            Which part.

        Raises
        ------
        PermanentError
            The labels are those of other sources.
        """
        if self._rows is None:
            return rows
        labels = self._rows.slice(first, len(rows))
        if not labels["source_id"].equals(rows["source_id"]):
            raise self._mismatch(part)
        for name in self._names:
            rows = rows.append_column(name, labels[name])
        return rows

    def _require_mine(self, file: pq.ParquetFile) -> None:
        stated = (file.metadata.metadata or {}).get(MADE_OF, b"")
        if stated.decode(errors="replace") != _made_of(self._catalog):
            raise ConflictError(
                f"other labels are being published in {self._catalog.storage.url}",
                "Run the same command again once they are",
            )

    def _mismatch(self, part: Part) -> PermanentError:
        url = self._catalog.storage.url
        return PermanentError(f"the labels in {url} are not of the sources of {part.key}", REMEDY)
