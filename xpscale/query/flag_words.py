"""Quality bits as words, for people who look at rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.flags import Flag
from xpscale.query.frames import SHOWN_ROWS, Result, Rows, column_of, require_names

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["WORDS_COLUMN", "FlagsInWords", "flags_in_words"]

WORDS_COLUMN = "flags_in_words"

GOOD = "good"
"""In the place of no words: file formats take an empty text for a missing one."""


class FlagsInWords(Rows):
    """Rows with one column more, ``flags_in_words``: ``poor fit; partly seen``, or ``good``.

    Parameters
    ----------
    rows
        Rows with the column ``flags``: a selection, or another result.

    Raises
    ------
    InvalidInputError
        They have no such column, or have one with the name of the new one.
    """

    def __init__(self, rows: Rows) -> None:
        names = rows.schema.names
        if "flags" not in names or WORDS_COLUMN in names:
            problem = f"already a column {WORDS_COLUMN}" if "flags" in names else "no column flags"
            raise InvalidInputError(
                f"the rows have {problem}", "Choose the column 'flags' as well, and no other such"
            )
        self._rows = rows

    @property
    def schema(self) -> pa.Schema:
        """That of the rows, with the new column behind."""
        import pyarrow as pa

        meta: Mapping[Any, Any] = {
            "unit": "",
            "ucd": "meta.code.qual",
            "description": "The bits of flags that are set, in words",
        }
        return self._rows.schema.append(pa.field(WORDS_COLUMN, pa.string(), metadata=meta))

    @property
    def provenance(self) -> dict[str, str]:
        """Where the rows come from."""
        return self._rows.provenance

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, piece by piece."""
        import pyarrow as pa

        for batch in self._rows.batches():
            bits, place = np.unique(np.asarray(batch["flags"]), return_inverse=True)
            words = pa.array([Flag(int(each)).words or GOOD for each in bits], pa.string())
            column = words.take(pa.array(place))
            yield pa.RecordBatch.from_arrays([*batch.columns, column], schema=self.schema)

    def count(self) -> int:
        """Number of rows."""
        return self._rows.count()

    def head(self, n: int = SHOWN_ROWS) -> FlagsInWords:
        """The first rows.

        Parameters
        ----------
        n
            How many at most.
        """
        return FlagsInWords(self._rows.head(n))

    def __getitem__(self, names: str | tuple[str, ...] | list[str]) -> Any:
        require_names(names)
        if isinstance(names, str):
            return column_of(self.to_table(), names)
        return Result(self.to_table().select([*names]), self.provenance)


def flags_in_words(rows: Rows) -> Rows:
    """Rows with the quality bits as words, too.

    >>> flags_in_words(cat.where("flags > 0")).to_pandas()  # doctest: +SKIP

    Parameters
    ----------
    rows
        As of `FlagsInWords`.

    Raises
    ------
    InvalidInputError
        As of `FlagsInWords`.
    """
    return FlagsInWords(rows)
